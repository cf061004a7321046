"""Lists what devices exchange in a training step; the compiled program tells.

python -m experiments.collectives
"""

import collections
import re
from collections.abc import Sequence

import jax
from absl import app, flags

from stylegan_jax.config import Config, from_dict
from stylegan_jax.devices import gpu_program, mesh, topology
from stylegan_jax.training import programs, state

DEVICES = flags.DEFINE_list("devices", ["1", "2", "4", "8"], "Numbers of devices: simulated, or a topology's first.")
TOPOLOGY = flags.DEFINE_string("topology", None, "Devices to compile for, which need not be attached: v5e:4x4, h100:8.")
RESOLUTION = flags.DEFINE_integer("resolution", 16, "Resolution of the training step, px.")
FMAP_MAX = flags.DEFINE_integer("fmap_max", 64, "Largest number of feature maps; the paper's is 512.")
BATCH = flags.DEFINE_integer("batch", 4, "Images per device.")
VERBOSE = flags.DEFINE_bool("verbose", False, "List each operation with the line of JAX that it comes from.")

_OPERATION = re.compile(
    r" = (?P<shape>\(?[a-z0-9]+\[.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-start)?\("
)


def collectives(text: str) -> list[tuple[str, int, str]]:
    """Returns (kind, bytes of the result, source in JAX) of each collective operation of a compiled program.

    Args:
        text: HLO, as `jax.stages.Compiled.as_text` returns it.
    """
    found = []
    for line in text.splitlines():
        match = _OPERATION.search(line)
        if match:
            size = gpu_program.shape_bytes(match["shape"])
            name = re.search(r'op_name="([^"]*)"', line)
            found.append((match["kind"], size, name[1] if name else ""))
    return found


def settings() -> Config:
    """Returns the paper's model, with fewer feature maps and layers."""
    most = FMAP_MAX.value
    model = {"resolution": RESOLUTION.value, "fmap_max": most, "fmap_base": 16 * most}
    model |= {"z_size": most, "w_size": most, "mapping_fmaps": most}
    return from_dict({"model": model})


def find_devices() -> Sequence[jax.Device]:
    """Returns the simulated devices, or those that the topology describes."""
    if TOPOLOGY.value:
        return topology.devices(TOPOLOGY.value)
    return jax.devices()


def step_text(config: Config, num_devices: int) -> tuple[str, int]:
    """Returns the compiled step of one batch on `num_devices`, as HLO, and the bytes of both networks' gradients."""
    devices = mesh.make_mesh(find_devices()[:num_devices])
    abstract = state.abstract(config, mesh.replicated(devices))
    batch, r = num_devices * BATCH.value, config.model.resolution
    program = programs.train_program(config, abstract, devices, resolution=r, batch=batch, size=r, num_steps=1)
    gradients = jax.tree.leaves((abstract.g_params, abstract.d_params))
    return program.as_text(), sum(4 * leaf.size for leaf in gradients)


def main(argv: list[str]) -> None:
    """Prints a table."""
    del argv
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(map(int, DEVICES.value)))
    config = settings()
    print("| devices | batch | operation | number | bytes a device and step | of the gradients |")
    print("| --- | --- | --- | --- | --- | --- |")
    for num_devices in map(int, DEVICES.value):
        text, gradient_bytes = step_text(config, num_devices)
        by_kind = collections.defaultdict(list)
        for kind, size, name in collectives(text):
            by_kind[kind].append((size, name))
        for kind, rows in sorted(by_kind.items()) or [("none", [])]:
            total = sum(size for size, _ in rows)
            share = f"{total / gradient_bytes:.2f}"
            print(
                f"| {num_devices} | {num_devices * BATCH.value} | {kind} | {len(rows)} | {total:,} | {share} |",
                flush=True,
            )
            if VERBOSE.value:
                for size, name in sorted(rows, reverse=True):
                    print(f"    {size:>12,}  {name}")


if __name__ == "__main__":
    app.run(main)
