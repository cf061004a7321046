#!/bin/bash
# Tries the same learning rates on StyleGAN and StyleGAN2: trials.sh FOLDER, from the repository's root. It ends with the
# distances after 8,000 images. The same command goes on where it stopped.
set -euo pipefail
out=$1
config=experiments/architectures/config.py
main=("${PYTHON:-python}" -m stylegan_jax.main)

for architecture in stylegan stylegan2; do
  for lr in 0.0015 0.003 0.006 0.012; do
    run="$out/trial-$architecture-$lr"
    "${main[@]}" --config=$config:$architecture --config.seed=100 --config.schedule.lr=$lr \
      --config.schedule.total_kimg=8 --config.report.metric_ticks=4 --workdir="$run"
  done
done
tail -n 1 "$out"/trial-*/scalars.jsonl
