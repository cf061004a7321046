#!/bin/bash
# Deletes the slice and its request. The bucket and the Filestore instance stay, and so does what they cost.
set -euo pipefail
source "$(dirname "$0")/settings.sh"

gcloud compute tpus queued-resources delete "$NAME" --zone="$ZONE" --force --quiet
