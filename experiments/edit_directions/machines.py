"""How cleanly do directions of linear machines edit an attribute of the procedural faces, all others held?

    python -m stylegan_jax.main --mode=directions --network=NET --find=svm_layers --attributes=faces --seeds=0-23999 \
        --out=FILE
    python -m experiments.edit_directions.machines --network=NET --directions=FILE

For each attribute, faces that the machines have not seen decide the strength, and yet other ones are in the table.
"""

import argparse

import numpy as np

import stylegan_jax
from experiments.edit_directions.__main__ import EDITED, TEST, VALIDATION, faces, line, margin, shares
from stylegan_jax.images import direction_files, directions
from stylegan_jax.metrics import attributes

ATTRIBUTES = (*EDITED, "looking_up")
STRENGTHS = np.arange(2, 6.5, 0.5)  # Either way.
NUM_VALIDATION = 400  # Faces that decide the strength.


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", required=True, help="network of faces: whatever stylegan_jax.load opens")
    parser.add_argument("--directions", required=True, help="file of the machines' directions")
    parser.add_argument("--attributes", nargs="*", default=ATTRIBUTES, help="attributes to edit")
    arguments = parser.parse_args()
    network, asked, num_clean = stylegan_jax.load(arguments.network), attributes.faces(), 0
    found = {each.name: each for each in direction_files.load(arguments.directions, network)}
    validation, test = (faces(network, asked, seeds) for seeds in (VALIDATION[:NUM_VALIDATION], TEST))
    for name in arguments.attributes:
        k = asked.names.index(name)
        vector = directions.held(found[name], [*found.values()]).vector
        tried = {
            strength: margin(shares(network, asked, validation, np.float32(strength * vector)), k)
            for strength in (*STRENGTHS, *-STRENGTHS)
        }
        best = max(tried, key=lambda strength: tried[strength])
        result = shares(network, asked, test, np.float32(best * vector)) | {"deviations": f"{best:+g}"}
        num_clean += margin(result, k) >= 0
        print(line(name, result, asked.names), flush=True)
    print(f"{num_clean} of {len(arguments.attributes)} are clean")


if __name__ == "__main__":
    main()
