#!/bin/bash
# Trains to the end of the schedule: makes the slice anew whenever it is gone, and gives the same command again.
set -euo pipefail
here=$(dirname "$0")
source "$here/settings.sh"

MAX_SHORT_STARTS=3 # In a row, of under SHORT_SEC, before it gives up: then the settings are wrong, not the machines.
SHORT_SEC=900

is_running() {
    # Of the first host: where any process ends, all do within a minute. Asked twice, for lost connections.
    local question="systemctl is-active --quiet stylegan"
    on_hosts 0 "$question" || { sleep 30 && on_hosts 0 "$question"; }
}

is_complete() {
    on_hosts 0 "cd $CODE && sudo .venv/bin/python -m experiments.cloud_tpu.is_complete $WORKDIR"
}

short_starts=0
while true; do
    bash "$here/create.sh"
    started_sec=$SECONDS
    if bash "$here/install.sh" && ! is_complete && bash "$here/train.sh"; then
        while is_running; do
            sleep 60
        done
    fi
    if is_complete; then
        echo "the run is complete: $WORKDIR"
        break
    fi
    echo "$(date +%T) stopped, and not complete; the slice is $(slice_state)"
    if ((SECONDS - started_sec >= SHORT_SEC)); then
        short_starts=0
    elif ((++short_starts >= MAX_SHORT_STARTS)); then
        echo "error: $short_starts starts in a row were short. The last lines of the first host:" >&2
        on_hosts 0 "sudo journalctl --unit=stylegan --lines=30 --no-pager" >&2
        exit 1
    fi
    sleep 60 # What has been preempted is not called so at once.
done
