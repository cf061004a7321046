#!/bin/bash
# Trains StyleGAN and StyleGAN2 with three seeds each, and measures them: run.sh FOLDER, from the repository's root.
# The same command goes on where it stopped.
set -euo pipefail
out=$1
config=experiments/architectures/config.py
main=("${PYTHON:-python}" -m stylegan_jax.main)

for seed in 0 1 2; do
  for architecture in stylegan stylegan2; do
    run="$out/$architecture-$seed"
    "${main[@]}" --config=$config:$architecture --config.seed=$seed --workdir="$run"
    grep -qs '"metric": "swd16k:4096"' "$run/metrics.jsonl" || # It is measured last.
      "${main[@]}" --mode=evaluate --workdir="$run" --metrics=fd_faces10k,swd16k:4096
  done
done
"${PYTHON:-python}" -m experiments.architectures --runs="$out"
