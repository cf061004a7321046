#!/bin/bash
# Mounts the folders and installs stylegan_jax on all hosts.
set -euo pipefail
source "$(dirname "$0")/settings.sh"

gcloud compute tpus tpu-vm scp "$(dirname "$0")/host.sh" "$NAME:host.sh" --zone="$ZONE" --worker=all --quiet
printf -v arguments "%q " "$REPOSITORY" "$REVISION" "$CODE" "$BUCKET" "$PICTURES" "$FILESTORE" "$SHARE"
on_hosts all "bash host.sh $arguments"
