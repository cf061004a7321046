"""Ends with 0 if the run in a folder is complete, else with 1; a run itself ends with 0 also where it was stopped.

python -m experiments.cloud_tpu.is_complete WORKDIR
"""

import json
import pathlib
import sys


def is_complete(workdir: pathlib.Path) -> bool:
    """Returns whether the newest checkpoint of a run is that of its last image."""
    file, checkpoints = workdir / "config.json", workdir / "checkpoints"
    if not (file.exists() and checkpoints.exists()):
        return False
    saved = (int(place.name) for place in checkpoints.iterdir() if place.name.isdigit() and place.is_dir())
    newest = max(saved, default=0)
    return newest >= round(1000 * json.loads(file.read_text())["schedule"]["total_kimg"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: give one argument, the run's --workdir.")
    sys.exit(not is_complete(pathlib.Path(sys.argv[1])))
