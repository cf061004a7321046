# shellcheck shell=bash disable=SC2034
# What the other scripts of this folder share; change it, or set a variable before the call: TYPE=v5p-8 bash create.sh

: "${NAME:=stylegan}"           # Name of the slice and of its queued resource.
: "${ZONE:=us-west4-a}"         # One that has TYPE: Cloud TPU documentation, "TPU regions and zones".
: "${TYPE:=v5litepod-16}"       # 16 chips on 4 hosts; v5p-8 is 4 chips on 1 host.
: "${SPOT:=yes}"                # "no" is on demand: dearer, and not preempted.
: "${REPOSITORY:?set it to the git URL of stylegan_jax}"
: "${REVISION:=origin/HEAD}"    # Commit or branch, as in origin/BRANCH.
: "${BUCKET:?set it to the name of the bucket with the prepared pictures}"
: "${FILESTORE:?set it to IP:/SHARE of the folder that all hosts write to}"
: "${RUN:=ffhq}"                # Name of the run's folder.

case "$TYPE" in
v5litepod-*) RUNTIME=v2-alpha-tpuv5-lite ;;
v5p-*) RUNTIME=v2-alpha-tpuv5 ;;
*) echo "error: TYPE is $TYPE; use v5litepod-N or v5p-N, or add its runtime version to settings.sh." >&2 && exit 1 ;;
esac

CODE=/opt/stylegan_jax # On each host, like the following ones.
PICTURES=/mnt/pictures
SHARE=/mnt/share
WORKDIR="$SHARE/$RUN"
FLAGS=(
    --config=configs/ffhq.py:8
    --workdir="$WORKDIR"
    --config.data.source="$PICTURES/ffhq"
    --config.data.num_workers=16
    --config.model.compute_dtype=bfloat16
    --config.report.checkpoint_ticks=2
)

# Runs a command on hosts: on_hosts all COMMAND, on_hosts 0 COMMAND.
on_hosts() {
    gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker="$1" --quiet --command="$2"
}

# Prints the state of the slice: READY, PREEMPTED, ...; nothing where there is none.
slice_state() {
    gcloud compute tpus tpu-vm describe "$NAME" --zone="$ZONE" --format="value(state)" 2>/dev/null || true
}

# Prints the state of the request for it: WAITING_FOR_RESOURCES, ACTIVE, SUSPENDED, ...
request_state() {
    gcloud compute tpus queued-resources describe "$NAME" --zone="$ZONE" --format="value(state.state)" \
        2>/dev/null || true
}
