#!/bin/bash
# Asks for a slice, and waits until it is there; one that is gone is deleted first.
set -euo pipefail
source "$(dirname "$0")/settings.sh"

if [[ "$(slice_state)" == READY ]]; then
    exit 0
fi
if [[ "$(request_state)" =~ ^(FAILED|SUSPENDING|SUSPENDED)$ || "$(slice_state)" == PREEMPTED ]]; then
    bash "$(dirname "$0")/delete.sh"
fi
if [[ -z "$(request_state)" ]]; then
    options=()
    if [[ "$SPOT" == yes ]]; then
        options+=(--spot)
    fi
    gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" --zone="$ZONE" \
        --accelerator-type="$TYPE" --runtime-version="$RUNTIME" "${options[@]}"
fi
until [[ "$(slice_state)" == READY ]]; do
    state=$(request_state)
    if [[ "$state" == FAILED ]]; then
        echo "error: the request for $TYPE in $ZONE has failed; why: gcloud compute tpus queued-resources describe" \
            "$NAME --zone=$ZONE" >&2
        exit 1
    elif [[ "$state" =~ ^(SUSPENDING|SUSPENDED)$ ]]; then # Preempted at once.
        exec bash "$0"
    fi
    echo "$(date +%T) $TYPE in $ZONE: ${state:-unknown}"
    sleep 60
done
