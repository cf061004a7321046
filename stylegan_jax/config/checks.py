"""What settings must be like: each that cannot be is refused by name, with what to use in its place."""

import functools
import math
from typing import Any


def _require(holds: bool, path: str, value: Any, rule: str) -> None:
    if not holds:
        raise ValueError(f"{path} is {value!r}; {rule}.")


def check(c: Any) -> None:
    """Raises ValueError, naming field and remedy, if the config.Config `c` cannot be trained."""
    _check_model(c.model)
    _check_ranges(c)
    _check_schedule(c)
    t = c.train
    _require(t.d_loss != "hinge" or t.g_loss == "wgan", "train.g_loss", t.g_loss, "with d_loss 'hinge' use 'wgan'")
    _require((t.d_loss == "wgan") <= (t.g_loss == "wgan"), "train.g_loss", t.g_loss, "with d_loss 'wgan' use 'wgan'")
    _require(
        not c.report.keep_best or c.report.metric_ticks,
        "report.keep_best",
        c.report.keep_best,
        "with metric_ticks 0 use 0",
    )
    _require(t.r1_interval == 1 or t.r1_gamma > 0, "train.r1_interval", t.r1_interval, "with r1_gamma 0 use 1")
    steps = c.schedule.refresh_steps
    _require(
        t.r1_interval == 1 or t.r1_interval % steps == 0,
        "train.r1_interval",
        t.r1_interval,
        f"use 1, or a multiple of schedule.refresh_steps (={steps})",
    )


def _check_model(m: Any) -> None:
    is_power = m.resolution & (m.resolution - 1) == 0
    _require(8 <= m.resolution <= 1024 and is_power, "model.resolution", m.resolution, "use 8, 16, ... 1024")
    _require(1 <= m.channels <= 8, "model.channels", m.channels, "use 1 to 8")
    _require(0 <= m.mapping_layers <= 8, "model.mapping_layers", m.mapping_layers, "use 0 to 8")
    w_size = m.z_size + (m.z_size if m.embed_labels else m.num_labels) * (m.num_labels > 0)
    _require(
        m.mapping_layers > 0 or m.w_size == w_size,
        "model.w_size",
        m.w_size,
        f"without mapping layers the latent and its label are w: use {w_size}",
    )
    sizes = ("z_size", "w_size", "mapping_fmaps", "fmap_base", "fmap_max", "mapping_lr_multiplier", "stddev_features")
    for name in sizes:
        _require(getattr(m, name) > 0, f"model.{name}", getattr(m, name), "use more than 0")
    _require(m.num_labels >= 0, "model.num_labels", m.num_labels, "use 0 or more")
    _require(m.stddev_group >= 0, "model.stddev_group", m.stddev_group, "use 0 or more")
    _require(m.fmaps(m.resolution) >= 1, "model.fmap_base", m.fmap_base, f"use at least {m.resolution // 2}")
    features = m.fmaps(4)
    _require(
        not m.stddev_group or features % m.stddev_features == 0,
        "model.stddev_features",
        m.stddev_features,
        f"it must divide the {features} feature maps at 4x4",
    )
    if m.blur_filter is not None:
        _require(sum(m.blur_filter) != 0, "model.blur_filter", m.blur_filter, "its sum divides it and cannot be 0")


# Fields with a range that is theirs alone: (path, least, most).
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("model.fmap_decay", 0, 8),
    ("seed", 0, 2**31 - 1),
    ("data.num_faces", 1, 10**9),
    ("data.min_side_px", 0, 10**6),
    ("data.num_heldout", 2, 10**7),
    ("data.num_workers", 1, 1024),
    ("data.cache_gib", 0, 1e9),
    ("schedule.stable_kimg", 0, 1e9),
    ("schedule.fade_kimg", 0, 1e9),
    ("schedule.total_kimg", 1e-3, 2**31 / 1000 - 1000),  # nimg is an int32.
    ("schedule.lr", 0, 1),
    ("schedule.lr_rampup_kimg", 0, 1e9),
    ("schedule.refresh_steps", 1, 1024),
    ("schedule.tick_kimg", 1e-3, 1e9),
    ("train.r1_gamma", 0, 1e9),
    ("train.r1_interval", 1, 10**6),
    ("train.r2_gamma", 0, 1e9),
    ("train.gp_lambda", 0, 1e9),
    ("train.gp_target", 1e-6, 1e9),
    ("train.wgan_drift", 0, 1e9),
    ("train.adam_beta2", 0, 1 - 1e-9),
    ("train.adam_eps", 0, 1),
    ("train.style_mixing_prob", 0, 1),
    ("train.w_avg_beta", 0, 1),
    ("train.ema_halflife_kimg", 0, 1e9),
    ("report.image_ticks", 1, 1e9),
    ("report.checkpoint_ticks", 1, 1e9),
    ("report.metric_ticks", 0, 1e9),
    ("report.grid_columns", 1, 64),
    ("report.grid_rows", 1, 64),
    ("report.keep_checkpoints", 1, 10**6),
    ("report.keep_every_kimg", 0, 1e9),
    ("report.keep_best", 0, 10**6),
)


def _check_ranges(c: Any) -> None:
    for path, least, most in _RANGES:
        value: Any = functools.reduce(getattr, path.split("."), c)
        _require(least <= value <= most, path, value, f"use {least:g} to {most:g}")
    r = c.report
    _require(
        not r.keep_best or (r.metric_ticks and r.checkpoint_ticks % r.metric_ticks == 0),
        "report.keep_best",
        r.keep_best,
        f"use 0, or a report.checkpoint_ticks (={r.checkpoint_ticks}) that is a multiple of report.metric_ticks "
        f"(={r.metric_ticks}), so that each checkpoint is measured",
    )
    color = c.data.background
    _require(len(color) == 3 and all(0 <= v <= 255 for v in color), "data.background", color, "use three of 0..255")


def _check_schedule(c: Any) -> None:
    s, m = c.schedule, c.model
    r = s.initial_resolution
    _require(r in m.resolutions, "schedule.initial_resolution", r, f"use one of {m.resolutions}")
    pairs = {
        "accumulation_by_resolution": s.accumulation,
        "batch_by_resolution": s.batch,
        "lr_by_resolution": s.lr,
        "tick_kimg_by_resolution": s.tick_kimg,
    }
    for name, base in pairs.items():
        _require(base > 0, f"schedule.{name.removesuffix('_by_resolution')}", base, "use more than 0")
        for resolution, value in getattr(s, name):
            _require(value > 0, f"schedule.{name}", (resolution, value), "use more than 0")
            is_resolution = 4 <= resolution <= 1024 and resolution & (resolution - 1) == 0
            _require(is_resolution, f"schedule.{name}", (resolution, value), "resolutions are 4, 8, ... 1024")
        resolutions = [resolution for resolution, _ in getattr(s, name)]
        _require(len(set(resolutions)) == len(resolutions), f"schedule.{name}", resolutions, "give each one value")
    for r in (r for r in m.resolutions if r >= s.initial_resolution):
        batch, group = s.batch_at(r), m.stddev_group
        if group and batch > group and batch % group:
            raise ValueError(
                f"the batch of {batch} at {r}x{r} is no multiple of model.stddev_group (={group}); "
                f"use {batch - batch % group} or {batch - batch % group + group}."
            )
        parts = s.num_parts(r)
        if batch % (parts * max(group, 1)) and parts > 1:
            raise ValueError(
                f"the batch of {batch} at {r}x{r} does not divide into schedule.accumulation (={parts}) parts of whole "
                f"groups of model.stddev_group (={group}); use {' or '.join(map(str, _divisors(batch, group)))} parts."
            )


def _divisors(batch: int, group: int) -> list[int]:
    """Returns the numbers of parts that a batch divides into with whole groups."""
    return [parts for parts in range(1, batch + 1) if batch % (parts * max(group, 1)) == 0] or [1]


def check_devices(c: Any, num_devices: int) -> None:
    """Raises ValueError, with the nearest that do, if batches of the config.Config `c` do not divide among devices."""
    lines = []
    for r in (r for r in c.model.resolutions if r >= c.schedule.initial_resolution):
        batch, parts = c.schedule.batch_at(r), c.schedule.num_parts(r)
        if batch % (num_devices * parts):
            step = math.lcm(num_devices, max(c.model.stddev_group, 1)) * parts
            near = [n for n in (batch // step * step, -(-batch // step) * step) if n]
            of_parts = f" in {parts} parts" if parts > 1 else ""
            lines.append(f"  {batch}{of_parts} at {r}x{r}: use {' or '.join(map(str, near))}")
    if lines:
        raise ValueError(
            f"not all batches divide among {num_devices} devices; change schedule.batch, batch_by_resolution or "
            "accumulation:\n" + "\n".join(lines)
        )
