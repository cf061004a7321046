#!/bin/bash
# Starts the same command on all hosts, as a service of each: it outlives this connection, and gets SIGTERM when its
# host is shut down, while the folders are still mounted.
set -euo pipefail
source "$(dirname "$0")/settings.sh"

printf -v flags "%q " "${FLAGS[@]}"
on_hosts all "sudo systemctl stop stylegan 2>/dev/null; sudo systemctl reset-failed stylegan 2>/dev/null
sudo systemd-run --unit=stylegan --working-directory=$CODE --setenv=JAX_COMPILATION_CACHE_DIR=$SHARE/xla \
--property=RequiresMountsFor=$SHARE --property=RequiresMountsFor=$PICTURES --property=TimeoutStopSec=300 \
$CODE/.venv/bin/python -m stylegan_jax.main $flags"
