#!/bin/bash
# Trains with each remedy on 1,000 of the pictures, and measures against the others: run.sh FILE.zip FOLDER, from the
# repository's root. The same command goes on where it stopped.
set -euo pipefail
pictures=$1 out=$2
python=${PYTHON:-python}
config=experiments/few_pictures/config.py
main=("$python" -m stylegan_jax.main)
evaluate=("${main[@]}" --mode=evaluate --reals="$out/others.zip")
evaluate+=(--metrics=fd_faces10k:2583,pr_faces10k:2583,swd16k:2583)

"$python" -m experiments.few_pictures.split --source="$pictures" --out="$out"
# Whether a folder has all numbers: swd is the last of them.
is_measured() { grep -qs '"metric": "swd16k:2583"' "$1/metrics.jsonl"; }

is_measured "$out/chosen" ||
  "${evaluate[@]}" --config=$config:none --fakes="$out/chosen.zip" --workdir="$out/chosen"
for remedy in none diffaugment ada pairing; do
  run="$out/$remedy"
  "${main[@]}" --config=$config:$remedy --config.data.source="$out/chosen.zip" --workdir="$run"
  for checkpoint in "$run"/checkpoints/[0-9]*; do
    at="$run/at/$(basename "$checkpoint")"
    is_measured "$at" || "${evaluate[@]}" --network="$checkpoint" --workdir="$at"
  done
done
"$python" -m experiments.few_pictures --runs="$out"
