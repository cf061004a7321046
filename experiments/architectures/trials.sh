#!/bin/bash
# Tries the same learning rates on StyleGAN and StyleGAN2: trials.sh FOLDER, from the repository's root. Four for 8,000
# images, and two of them to the end. It ends with the last distances. The same command goes on where it stopped.
set -euo pipefail
out=$1
config=experiments/architectures/config.py
main=("${PYTHON:-python}" -m stylegan_jax.main)

train() {  # lr, thousands of images
  for architecture in stylegan stylegan2; do
    "${main[@]}" --config=$config:$architecture --config.seed=100 --config.schedule.lr="$1" \
      --config.schedule.total_kimg="$2" --config.report.metric_ticks=4 --workdir="$out/trial-$architecture-$1"
  done
}
for lr in 0.0015 0.003 0.006 0.012; do train $lr 8; done
for lr in 0.003 0.006; do train $lr 40; done
tail -n 1 "$out"/trial-*/scalars.jsonl
