#!/bin/bash
# Trains to the end of the schedule: makes the slice anew whenever it is gone, and gives the same command again.
set -euo pipefail
here=$(dirname "$0")
source "$here/settings.sh"

MAX_SHORT_STARTS=3 # Starts in a row that end within SHORT_SEC: then the settings are wrong, not the machines.
SHORT_SEC=900

is_running() {
    # The first host alone is asked: where any process ends, all do within a minute. It is asked twice, since
    # connections get lost.
    local question="systemctl is-active --quiet stylegan"
    on_hosts 0 "$question" || { sleep 30 && on_hosts 0 "$question"; }
}

is_complete() {
    on_hosts 0 "cd $CODE && sudo .venv/bin/python -m experiments.cloud_tpu.is_complete $WORKDIR"
}

short_starts=0
while true; do
    started_sec=$SECONDS
    # A failure of gcloud, which may have its bad days, counts as a short start.
    if bash "$here/create.sh" && started_sec=$SECONDS && bash "$here/install.sh" && ! is_complete &&
        bash "$here/train.sh"; then
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
        on_hosts 0 "sudo journalctl --unit=stylegan --lines=30 --no-pager" >&2 || true
        exit 1
    fi
    sleep 60 # A slice that was preempted is not shown as such at once.
done
