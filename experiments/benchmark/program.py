"""Lists the kernels of the training step, compiled for a GPU: python -m experiments.benchmark.program [--flags].

The kernels, their bytes and a floor of the step's time are read from the compiled program. The GPU need not be here:
then nothing runs, and XLA makes no choices by trying. On a device that is here, the programs are timed as well.
"""

import collections
import dataclasses
import math
import sys

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from experiments.benchmark import calls, measure, options, summary
from stylegan_jax.config import Config, from_dict
from stylegan_jax.devices import mesh, topology
from stylegan_jax.training import estimate, programs, state

TOPOLOGY = flags.DEFINE_string(
    "topology",
    "h100:1",
    'GPUs to compile for and their number: v100, a100, h100, h200 or b200; "here": the first device of this machine.',
)
CONFIG = config_flags.DEFINE_config_file("config", "configs/ffhq.py:1", "File of settings.", lock_config=True)
TRAIN = flags.DEFINE_string("train", "8:128,64:32,256:16,1024:4", "Resolutions, and batches of all devices together.")
FADE = flags.DEFINE_bool("fade", False, "Compile the program of a resolution that fades in.")
TOP = flags.DEFINE_integer("top", 0, "Number of kernels to list, those that move most.", lower_bound=0)

HEADER = (
    "px", "batch", "every", "kernels", "GB", "TFLOP", "unrecognized", "floor ms", "arithmetic ms", "memory ms",
    "measured ms", "temp GB",
)  # fmt: skip
HERE = "here"
REPEATS = 5  # Timings of a program; their median counts.


def measured(
    program: jax.stages.Compiled, config: Config, device: jax.Device, each: int, num_steps: int, seconds: float
) -> list[float]:
    """Returns a step's numbers under HEADER, from "kernels" on; prints the kernels that --top asks for.

    Args:
        program: the compiled program.
        config: settings.
        device: device that it is for.
        each: images of a step on one device.
        num_steps: steps of a call.
        seconds: time of a call; NaN if it did not run.
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
    num_kernels, num_unrecognized = sum(k.count for k in of_step), sum(not k.is_recognized for k in of_step)
    return [
        num_kernels if of_step else math.nan,  # They are known of GPUs alone.
        each * work.num_bytes / 1e9,
        each * work.flops / 1e12,
        num_unrecognized if of_step else math.nan,
        *(1000 * each * of_image for of_image in least),
        1000 * seconds / num_steps,
        program.memory_analysis().temp_size_in_bytes / 1e9,
    ]


def seconds_of(
    made: programs.Programs, config: Config, devices: jax.sharding.Mesh, resolution: int, batch: int
) -> list[float]:
    """Returns the time of a call of each program, the training step first, on random images."""
    program = calls.train_program(config, calls.new_state(config), resolution, batch)
    train_state, images, labels, _, lr = jax.device_put(program.args, mesh.replicated(devices))
    args, found = (images, labels, np.float32(1) if FADE.value else None, lr), []
    for compiled in (made.train, *(compiled for _, compiled in made.lazy)):
        call_fn = calls.caller(compiled, program._replace(args=(train_state, *args)))
        found.append(measure.seconds_per_call(call_fn, REPEATS))
        print(f"  a call of the program takes {1000 * found[-1]:.2f} ms", flush=True)
        train_state = call_fn()[0]
    return found


def report(config: Config, devices: jax.sharding.Mesh, is_here: bool, resolution: int, batch: int) -> list[list[str]]:
    """Returns rows under HEADER: of each program, and of a mean iteration if there are lazy regularizations.

    Where the devices are here, the programs are timed.
    """
    abstract, num_steps = state.abstract(config, mesh.replicated(devices)), programs.steps_per_call(config, devices)
    made = programs.make(config, abstract, devices, resolution, batch, resolution, num_steps, FADE.value)
    device, each = devices.devices.flat[0], batch // devices.devices.size
    if is_here:
        seconds = seconds_of(made, config, devices, resolution, batch)
    else:
        seconds = [math.nan] * (1 + len(made.lazy))
    found = {"1": measured(made.train, config, device, each, num_steps, seconds[0])}
    for (interval, program), of_call in zip(made.lazy, seconds[1:], strict=True):
        if TOP.value:
            print(f"in every {interval}th iteration:")
        found[str(interval)] = measured(program, config, device, each, 1, of_call)
    if made.lazy:
        table, shares = np.array(list(found.values())), [1 / int(interval) for interval in found]
        found["mean"] = [*(shares @ table)[:-1], max(table[:, -1])]
    formats = ".0f", ".2f", ".2f", ".0f", ".1f", ".1f", ".1f", ".2f", ".2f"
    return [[str(resolution), str(batch), every, *map(_cell, values, formats)] for every, values in found.items()]


def _cell(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else format(value, spec)


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
        wanted, first = options.training_pairs(config, TRAIN.value), config.schedule.initial_resolution
        if FADE.value and any(r == first for r, _ in wanted):
            raise ValueError(f"--fade: {first} px does not fade in; it is the first resolution of these settings")
        is_here = TOPOLOGY.value.strip().lower() == HERE
        devices = mesh.make_mesh(jax.devices()[:1] if is_here else topology.devices(TOPOLOGY.value))
        for _, batch in wanted:
            if batch % devices.devices.size:
                raise ValueError(f"--train: a batch of {batch} does not divide among {devices.devices.size} devices")
    except ValueError as error:
        sys.exit(f"error: {error}")
    rows, name = [], devices.devices.flat[0].device_kind if is_here else TOPOLOGY.value
    for resolution, batch in wanted:
        print(f"compiling {resolution} px for {name}", flush=True)
        rows += report(config, devices, is_here, resolution, batch)
    how = config.model.compute_dtype + ", fading in" * FADE.value
    print(f"a device's iteration on {name}, {how}\n" + summary.aligned([HEADER, *rows]))


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
