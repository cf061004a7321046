"""Compares training programs on this device with the same ones on the CPU: python -m experiments.benchmark.agreement.

Each runs once in float32, with the most precise products, from the same state and images. The kernels for GPUs, which
the tests run in an interpreter, run on the device here. It ends with an error if a network's gradients differ.
"""

import dataclasses
import sys

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from experiments.benchmark import gradients, options, summary
from stylegan_jax.config import from_dict

CONFIG = config_flags.DEFINE_config_file("config", "configs/ffhq.py:1", "File of settings.", lock_config=True)
TRAIN = flags.DEFINE_string("train", "32:8", "Resolutions and batches.")

HEADER = ("px", "batch", "every", "arrays", "median error", "largest error", "of")
MAX_ERROR = 1e-2  # Of an array's squared gradients. Rounding makes far less of it, a wrong kernel far more.


def main(argv: list[str]) -> None:
    """Compares as the flags say, and prints a table."""
    logging.set_verbosity(logging.WARNING)
    try:
        options.check_no_arguments(argv)
        config = from_dict(CONFIG.value.to_dict())
        wanted = options.training_pairs(config, TRAIN.value)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {str(error).splitlines()[-1].strip()}")
    model = dataclasses.replace(config.model, compute_dtype="float32", matmul_precision="highest")
    config, device, rows, differ = dataclasses.replace(config, model=model), jax.devices()[0], [], []
    start = gradients.start_of(config)
    for resolution, batch in wanted:
        expected, found = (
            gradients.squared_gradients(config, start, where, resolution, batch)
            for where in (jax.devices("cpu")[0], device)
        )
        for every, arrays in found.items():
            each = gradients.errors(arrays, expected[every])
            worst = max(each, key=lambda name: (np.isnan(each[name]), each[name]))
            values = f"{np.median([*each.values()]):.1e}", f"{each[worst]:.1e}", worst
            rows.append((str(resolution), str(batch), every, str(len(each)), *values))
            print("  ".join(rows[-1]), flush=True)
            differ += [worst] * (not each[worst] <= MAX_ERROR)
    print(f"\n{device.device_kind}, against the CPU\n" + summary.aligned([HEADER, *rows]))
    if differ:
        sys.exit(f"error: gradients differ by more than {MAX_ERROR:g}: {', '.join(differ)}")


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
