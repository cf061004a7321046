"""Lists the kernels of the training step, compiled for a GPU: python -m experiments.benchmark.program [--flags].

Nothing runs, and the GPU need not be here: the kernels, their bytes and a floor of the step's time are read from the
compiled program. XLA makes no choices by trying here.
"""

import collections
import dataclasses
import sys

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from experiments.benchmark import options, summary
from stylegan_jax.config import Config, from_dict
from stylegan_jax.devices import mesh, topology
from stylegan_jax.training import estimate, programs, state

TOPOLOGY = flags.DEFINE_string(
    "topology", "h100:1", "GPUs to compile for and their number: v100, a100, h100, h200 or b200."
)
CONFIG = config_flags.DEFINE_config_file("config", "configs/ffhq.py:1", "File of settings.", lock_config=True)
TRAIN = flags.DEFINE_string("train", "8:128,64:32,256:16,1024:4", "Resolutions, and batches of all devices together.")
FADE = flags.DEFINE_bool("fade", False, "Compile the program of a resolution that fades in.")
TOP = flags.DEFINE_integer("top", 0, "Number of kernels to list, those that move most.", lower_bound=0)

HEADER = (
    "px", "batch", "every", "kernels", "GB", "TFLOP", "unrecognized", "floor ms", "arithmetic ms", "memory ms",
    "temp GB",
)  # fmt: skip


def measured(
    program: jax.stages.Compiled, config: Config, device: jax.Device, each: int, num_steps: int
) -> list[float]:
    """Returns a step's numbers under HEADER, from "kernels" on; prints the kernels that --top asks for.

    Args:
        program: the compiled program.
        config: settings.
        device: device that it is for.
        each: images of a step on one device.
        num_steps: steps of a call.
    """
    work = estimate.program_work(program, device, each * num_steps, num_steps)
    least = estimate.floor(work, config.model, device)
    of_step = [dataclasses.replace(k, count=k.count // num_steps) for k in work.kernels if k.count >= num_steps]
    convolutions = collections.Counter()
    for k in of_step:
        if k.window:
            convolutions[f"{k.call} {k.window}"] += k.count
    for name, count in convolutions.most_common() if TOP.value else ():
        print(f"  {count:3d} {name}")
    for k in sorted(of_step, key=lambda k: -k.num_bytes)[: TOP.value]:
        print(f"  {k.num_bytes / 1e6:8.1f} MB {k.call} {k.name} {k.source[-70:]}")
    return [
        sum(k.count for k in of_step),
        each * work.num_bytes / 1e9,
        each * work.flops / 1e12,
        sum(not k.is_recognized for k in of_step),
        *(1000 * each * seconds for seconds in dataclasses.astuple(least)),
        program.memory_analysis().temp_size_in_bytes / 1e9,
    ]


def report(config: Config, devices: jax.sharding.Mesh, resolution: int, batch: int) -> list[list[str]]:
    """Returns rows under HEADER: of each program, and of a mean iteration if there are lazy regularizations."""
    abstract, num_steps = state.abstract(config, mesh.replicated(devices)), programs.steps_per_call(config, devices)
    made = programs.make(config, abstract, devices, resolution, batch, resolution, num_steps, FADE.value)
    device, each = devices.devices.flat[0], batch // devices.devices.size
    found = {"1": measured(made.train, config, device, each, num_steps)}
    for interval, program in made.lazy:
        print(f"in every {interval}th iteration:")
        found[str(interval)] = measured(program, config, device, each, 1)
    if made.lazy:
        table, shares = np.array(list(found.values())), [1 / int(interval) for interval in found]
        found["mean"] = [*(shares @ table)[:-1], max(table[:, -1])]
    formats = ".0f", ".2f", ".2f", ".0f", ".1f", ".1f", ".1f", ".2f"
    return [[str(resolution), str(batch), every, *map(format, values, formats)] for every, values in found.items()]


def main(argv: list[str]) -> None:
    """Compiles as the flags say, and prints a table."""
    logging.set_verbosity(logging.WARNING)
    try:
        settings = CONFIG.value.to_dict()
    except OSError as error:  # The file could not be read; the last line of the message says why.
        sys.exit(f"error: {str(error).splitlines()[-1].strip()}")
    try:
        options.check_no_arguments(argv)
        config = from_dict(settings)
        trained = [r for r in config.model.resolutions if r >= config.schedule.initial_resolution]
        wanted = options.pairs("train", TRAIN.value, trained)
        if not wanted:
            raise ValueError("--train names nothing; give resolutions and batches, such as 64:32")
        devices = mesh.make_mesh(topology.devices(TOPOLOGY.value))
        for _, batch in wanted:
            options.check_group("train", batch, config.model.stddev_group)
            if batch % devices.devices.size:
                raise ValueError(f"--train: a batch of {batch} does not divide among {devices.devices.size} devices")
    except ValueError as error:
        sys.exit(f"error: {error}")
    rows = []
    for resolution, batch in wanted:
        print(f"compiling {resolution} px for {TOPOLOGY.value}", flush=True)
        rows += report(config, devices, resolution, batch)
    print(
        f"a device's iteration on {TOPOLOGY.value}, {config.model.compute_dtype}\n" + summary.aligned([HEADER, *rows])
    )


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
