"""Lists the kernels of the training step, compiled for a GPU: python -m experiments.benchmark.program [--flags].

Nothing runs, and the GPU need not be here: the kernels, their bytes and a floor of the step's time are read from the
compiled program. XLA makes no choices by trying here.
"""

import collections
import dataclasses
import sys

import jax
from absl import app, flags, logging

from experiments.benchmark import measure, options, summary
from stylegan_jax.config import Config, from_dict
from stylegan_jax.devices import mesh, topology
from stylegan_jax.training import estimate, programs, state

TOPOLOGY = flags.DEFINE_string(
    "topology", "h100:1", "GPUs to compile for and their number: v100, a100, h100, h200 or b200."
)
TRAIN = flags.DEFINE_string("train", "8:128,64:32,256:16,1024:4", "Resolutions, and batches of all devices together.")
PRECISION = flags.DEFINE_enum(
    "precision", "bfloat16", list(measure.PRECISIONS), "Precision of features and convolutions."
)
FADE = flags.DEFINE_bool("fade", False, "Compile the program of a resolution that fades in.")
TOP = flags.DEFINE_integer("top", 0, "Number of kernels to list, those that move most.", lower_bound=0)

HEADER = ("px", "batch", "kernels", "GB", "TFLOP", "unrecognized", "floor ms", "arithmetic ms", "memory ms", "temp GB")


def compiled(config: Config, devices: jax.sharding.Mesh, resolution: int, batch: int) -> jax.stages.Compiled:
    """Returns the program that trains at `resolution` px, for devices that need not be attached."""
    abstract, num_steps = state.abstract(config, mesh.replicated(devices)), programs.steps_per_call(config, devices)
    return programs.train_program(config, abstract, devices, resolution, batch, resolution, num_steps, FADE.value)


def report(config: Config, devices: jax.sharding.Mesh, resolution: int, batch: int) -> list[str]:
    """Returns a step's row under HEADER; prints the kernels that --top asks for."""
    program, device = compiled(config, devices, resolution, batch), devices.devices.flat[0]
    num_steps, each = programs.steps_per_call(config, devices), batch // devices.devices.size
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
    ms = [1000 * each * s for s in dataclasses.astuple(least)]
    return [
        *map(str, (resolution, batch, sum(k.count for k in of_step))),
        f"{each * work.num_bytes / 1e9:.2f}",
        f"{each * work.flops / 1e12:.2f}",
        str(sum(not k.is_recognized for k in of_step)),
        *(f"{value:.1f}" for value in ms),
        f"{program.memory_analysis().temp_size_in_bytes / 1e9:.2f}",
    ]


def main(argv: list[str]) -> None:
    """Compiles as the flags say, and prints a table."""
    logging.set_verbosity(logging.WARNING)
    config = from_dict({"model": {"compute_dtype": PRECISION.value}})
    try:
        options.check_no_arguments(argv)
        wanted = options.pairs("train", TRAIN.value, config.model.resolutions[1:])
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
        rows.append(report(config, devices, resolution, batch))
    print(
        f"a device's step on {TOPOLOGY.value}, {PRECISION.value}, R1 in every step\n" + summary.aligned([HEADER, *rows])
    )


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
