#!/bin/bash
# On a host: mounts the folders and installs stylegan_jax. A second time it changes only what is missing.
# Arguments: REPOSITORY REVISION CODE BUCKET PICTURES FILESTORE SHARE
set -euo pipefail
repository=$1 revision=$2 code=$3 bucket=$4 pictures=$5 filestore=$6 share=$7

if ! command -v gcsfuse >/dev/null || ! command -v mount.nfs >/dev/null; then
    key=/usr/share/keyrings/cloud.google.asc
    curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee "$key" >/dev/null
    echo "deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -c -s) main" |
        sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
    sudo apt-get -o DPkg::Lock::Timeout=300 update
    sudo apt-get -o DPkg::Lock::Timeout=300 install --yes gcsfuse nfs-common
fi
sudo mkdir -p "$pictures" "$share"
if ! mountpoint -q "$pictures"; then
    sudo gcsfuse --implicit-dirs -o ro "$bucket" "$pictures"
fi
if ! mountpoint -q "$share"; then
    sudo mount -t nfs -o rw,hard "$filestore" "$share"
fi

if ! command -v uv >/dev/null; then
    curl -LsSf https://astral.sh/uv/install.sh | sudo env UV_INSTALL_DIR=/usr/local/bin UV_NO_MODIFY_PATH=1 sh
fi
if [[ ! -d "$code" ]]; then
    sudo git clone "$repository" "$code"
fi
sudo git -C "$code" fetch --quiet origin
sudo git -C "$code" checkout --quiet --detach "$revision"
if [[ ! -d "$code/.venv" ]]; then
    sudo /usr/local/bin/uv venv --python 3.12 "$code/.venv" # The image's own Python is older than 3.11.
fi
sudo /usr/local/bin/uv pip install --quiet --python "$code/.venv/bin/python" -e "$code" "jax[tpu]"
