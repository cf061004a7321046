"""What FFHQ at 1024x1024 would take on machines that we have not measured: estimates, printed as a table.

python -m experiments.cloud_tpu.cost
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from experiments.benchmark import work
from stylegan_jax.config import Config, schedule

FLOAT32_BYTES, BFLOAT16_BYTES = 4, 2
SEC_PER_HOUR = 3600


@dataclasses.dataclass(frozen=True)
class Machine:
    """Chips that train together, each with its published limits and its price."""

    name: str
    num_chips: int
    flops_per_sec: float  # Peak of a chip in the precision trained in, without sparsity.
    bytes_per_sec: float  # Bandwidth of a chip's memory.
    dollars: float  # Price of a chip for an hour, on demand.


class Shares(NamedTuple):
    """How much of its limits a machine reaches, 0..1."""

    flops: float
    num_bytes: float


# Limits: Cloud TPU documentation, "TPU v5e" and "TPU v5p"; NVIDIA's data sheets "H100" and "H200" (SXM).
# Prices, as of mid-2025, US regions, not looked up since: Cloud TPU pricing; Amazon EC2 on-demand pricing after the
# reduction of June 2025, an eighth of p5.48xlarge and of p5en.48xlarge. They change: look them up.
MACHINES = (
    Machine("v5e-16", 16, 197e12, 819e9, 1.20),
    Machine("v5p-8", 4, 459e12, 2765e9, 4.20),  # 8 is the number of cores, two a chip.
    Machine("8x H100", 8, 989e12, 3350e9, 6.88),
    Machine("8x H200", 8, 989e12, 4800e9, 7.91),
)

# The authors' machine and time: README of github.com/NVlabs/stylegan, "Training networks", FFHQ at 1024x1024, eight
# V100 (DGX-1), in float32. NVIDIA's data sheet "V100" (SXM2).
AUTHORS = Machine("8x V100", 8, 15.7e12, 900e9, float("nan"))
AUTHORS_HOURS = 6 * 24 + 14

# Our step's smallest share of what a matrix product reaches on the same CPU: experiments/benchmark/README.md, 8 px.
CPU_SHARE = 0.64


def _per_chip(config: Config, resolution: int, num_chips: int, element_bytes: int) -> work.Work:
    """Returns the work of a step for one chip, which takes its part of the batch and updates all parameters."""
    return work.step_work(config, resolution, config.schedule.batch_at(resolution) // num_chips, element_bytes)


def run_work(
    config: Config, stages: Sequence[schedule.Stage], num_chips: int, element_bytes: int = BFLOAT16_BYTES
) -> work.Work:
    """Returns the work of a whole run for one of its chips; a fade is taken to cost what its resolution does.

    Args:
        config: settings.
        stages: stages of its schedule.
        num_chips: number of chips that share each batch.
        element_bytes: size of an element of a feature, bytes.
    """
    flops = num_bytes = 0.0
    for stage in stages:
        steps = (stage.end_nimg - stage.start_nimg) / stage.batch
        step = _per_chip(config, stage.resolution, num_chips, element_bytes)
        flops, num_bytes = flops + steps * step.flops, num_bytes + steps * step.num_bytes
    return work.Work(flops, num_bytes)


def reached(done: work.Work, machine: Machine, hours: float) -> Shares:
    """Returns the shares of its limits that each chip of `machine` reached, if it did `done` in so many hours."""
    sec = hours * SEC_PER_HOUR
    return Shares(done.flops / (sec * machine.flops_per_sec), done.num_bytes / (sec * machine.bytes_per_sec))


def hours(todo: work.Work, machine: Machine, shares: Shares) -> tuple[float, float]:
    """Returns how long `todo` takes each chip of `machine`: if arithmetic alone binds, and if memory alone does."""
    flops_per_hour = SEC_PER_HOUR * machine.flops_per_sec * shares.flops
    bytes_per_hour = SEC_PER_HOUR * machine.bytes_per_sec * shares.num_bytes
    return todo.flops / flops_per_hour, todo.num_bytes / bytes_per_hour


def dollars(machine: Machine, num_hours: float) -> float:
    """Returns what all chips of `machine` cost for so many hours."""
    return machine.num_chips * machine.dollars * num_hours


def table() -> str:
    """Returns the estimates as a table in Markdown, with the shares that they assume above it."""
    config = Config()
    stages = schedule.stages(schedule.chunks(config.schedule, config.model.resolution))
    authors_work = run_work(config, stages, AUTHORS.num_chips, FLOAT32_BYTES)
    shares, best = reached(authors_work, AUTHORS, AUTHORS_HOURS), Shares(CPU_SHARE, CPU_SHARE)
    lines = [
        f"{AUTHORS.num_chips * authors_work.flops:.3g} operations in all. {AUTHORS.name}, {AUTHORS_HOURS} hours: "
        f"{shares.flops:.1%} of their peak, {shares.num_bytes:.1%} of their bandwidth. All below are estimates.",
        "",
        "| machine | chips | $ a chip-hour | h, arithmetic | h, memory | estimate, h | estimate, $ "
        "| images/s at 1024 px | best case, h | best case, $ |",
        "| --- " * 10 + "|",
    ]
    for machine in MACHINES:
        todo = run_work(config, stages, machine.num_chips)
        arithmetic, memory = hours(todo, machine, shares)
        estimate, least = max(arithmetic, memory), max(hours(todo, machine, best))
        step_hours = max(hours(_per_chip(config, 1024, machine.num_chips, BFLOAT16_BYTES), machine, shares))
        speed = config.schedule.batch_at(1024) / (step_hours * SEC_PER_HOUR)
        lines.append(
            f"| {machine.name} | {machine.num_chips} | {machine.dollars:.2f} | {arithmetic:.1f} | {memory:.0f} "
            f"| {estimate:.0f} | {dollars(machine, estimate):,.0f} | {speed:.0f} "
            f"| {least:.1f} | {dollars(machine, least):,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
