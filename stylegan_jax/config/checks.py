"""Rules that settings must keep; one that breaks a rule is refused by name, with what to use instead."""

import functools
import math
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from stylegan_jax.config import architectures


def _require(holds: bool, path: str, value: Any, rule: str) -> None:
    if not holds:
        raise ValueError(f"{path} is {value!r}; {rule}.")


_G_LOSSES = {"hinge": ("wgan",), "wgan": ("wgan",), "relativistic": ("relativistic",)}  # Those that go with d_loss.


def check(config: Any) -> None:
    """Raises ValueError, naming field and remedy, if the config.Config `config` cannot be trained."""
    check_model(config.model)
    _check_ranges(config)
    _check_schedule(config)
    train = config.train
    g_losses = _G_LOSSES.get(train.d_loss, ("logistic_nonsaturating", "logistic_saturating", "wgan"))
    rule = f"with d_loss {train.d_loss!r} use {' or '.join(map(repr, g_losses))}"
    _require(train.g_loss in g_losses, "train.g_loss", train.g_loss, rule)
    _require(
        train.r1_interval == 1 or train.r1_gamma > 0, "train.r1_interval", train.r1_interval, "with r1_gamma 0 use 1"
    )
    for name, value in (("augment_p", train.augment_p), ("ema_rampup", train.ema_rampup)):
        _require(value is None or 0 <= value <= 1e6, f"train.{name}", value, "use None, or 0 to 1e+06")
    num_blocks = len(config.model.resolutions) - 1
    has_blocks = f"at model.resolution={config.model.resolution} the discriminator has {num_blocks} blocks above 4 px"
    rule = f"{has_blocks}: use 0 to {num_blocks}"
    _require(0 <= train.freeze_d <= num_blocks, "train.freeze_d", train.freeze_d, rule)
    steps = config.schedule.refresh_steps
    for name, interval in (("r1_interval", train.r1_interval), ("pl_interval", train.pl_weight and train.pl_interval)):
        _require(
            interval in (0, 1) or interval % steps == 0,
            f"train.{name}",
            interval,
            f"use {'1, or ' if name == 'r1_interval' else ''}a multiple of schedule.refresh_steps (={steps})",
        )


# Far above what any network has: units of layers, elements of latents, classes, taps of the filter.
_MOST, _MOST_LATENT, _MOST_LABELS, _MOST_TAPS = 2**24, 2**14, 2**17, 15


def check_model(model: Any) -> None:
    is_power = model.resolution & (model.resolution - 1) == 0
    _require(8 <= model.resolution <= 1024 and is_power, "model.resolution", model.resolution, "use 8, 16, ... 1024")
    _require(model.channels in (1, 3, 4), "model.channels", model.channels, "use 1 (gray), 3 (RGB) or 4 (RGBA)")
    _require(0 <= model.mapping_layers <= 8, "model.mapping_layers", model.mapping_layers, "use 0 to 8")
    of_label = model.z_size if model.embed_labels else model.num_labels
    of_label = (model.embed_size or model.w_size) if model.architecture == "stylegan2" else of_label
    w_size = model.z_size + of_label * (model.num_labels > 0)
    _require(
        model.mapping_layers > 0 or model.w_size == w_size,
        "model.w_size",
        model.w_size,
        f"without mapping layers the latent and its label are w: use {w_size}",
    )
    sizes = ("z_size", "w_size", "mapping_fmaps", "fmap_base", "fmap_max", "mapping_lr_multiplier", "stddev_features")
    for name in sizes:
        value, most = getattr(model, name), _MOST_LATENT if name in ("z_size", "w_size") else _MOST
        _require(0 < value <= most, f"model.{name}", value, f"use more than 0, and at most {most}")
    for name, most in (("num_labels", _MOST_LABELS), ("stddev_group", _MOST), ("fmap_decay", 8)):
        _require(0 <= getattr(model, name) <= most, f"model.{name}", getattr(model, name), f"use 0 to {most}")
    _require(
        model.fmaps(model.resolution) >= 1, "model.fmap_base", model.fmap_base, f"use at least {model.resolution // 2}"
    )
    stated, pairs = [r for r, _ in model.fmaps_by_resolution], model.fmaps_by_resolution
    _require(
        len(set(stated)) == len(stated) and set(stated) <= {2, *model.resolutions},
        "model.fmaps_by_resolution",
        pairs,
        f"name each of 2, 4, ... {model.resolution} once at most",
    )
    has_widths = all(0 < width <= _MOST for _, width in pairs)
    _require(has_widths, "model.fmaps_by_resolution", pairs, f"use more than 0 maps, and at most {_MOST}")
    features = model.fmaps(4)
    _require(
        not model.stddev_group or features % model.stddev_features == 0,
        "model.stddev_features",
        model.stddev_features,
        f"it must divide the {features} feature maps at 4x4",
    )
    if misfit := architectures.misfit(model):
        _require(False, f"model.{misfit[0]}", getattr(model, misfit[0]), misfit[1])
    if model.blur_filter is not None:
        _require(
            len(model.blur_filter) <= _MOST_TAPS
            and sum(model.blur_filter)
            and max(map(abs, model.blur_filter)) <= _MOST,
            "model.blur_filter",
            model.blur_filter,
            f"use at most {_MOST_TAPS} integers; they are divided by their sum, which cannot be 0",
        )


# Fields whose range depends on no other field: (path, least, most).
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("seed", 0, 2**31 - 1),
    ("data.num_faces", 1, 10**9),
    ("data.min_side_px", 0, 10**6),
    ("data.max_pixels", 1, 10**10),
    ("data.num_heldout", 0, 10**7),
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
    ("train.pl_weight", 0, 1e9),
    ("train.pl_interval", 2, 10**6),
    ("train.pl_decay", 0, 1),
    ("train.r2_gamma", 0, 1e9),
    ("train.gp_lambda", 0, 1e9),
    ("train.gp_target", 1e-6, 1e9),
    ("train.wgan_drift", 0, 1e9),
    ("train.ada_target", -1, 1),
    ("train.ada_kimg", 1e-3, 1e9),
    ("train.adam_beta2", 0, 1 - 1e-9),
    ("train.adam_eps", 0, 1),
    ("train.style_mixing_prob", 0, 1),
    ("train.w_avg_beta", 0, 1),
    ("train.ema_halflife_kimg", 0, 1e9),
    ("report.image_ticks", 1, 1e9),
    ("report.figure_ticks", 0, 1e9),
    ("report.checkpoint_ticks", 1, 1e9),
    ("report.metric_ticks", 0, 1e9),
    ("report.evaluation_ticks", 1, 1e9),
    ("report.checkpoint_minutes", 0, 1e9),
    ("report.grid_columns", 1, 64),
    ("report.grid_rows", 1, 64),
    ("report.keep_checkpoints", 1, 10**6),
    ("report.keep_every_kimg", 0, 1e9),
    ("report.keep_best", 0, 10**6),
)


def _check_ranges(config: Any) -> None:
    for path, least, most in _RANGES:
        value = attrgetter(path)(config)
        _require(least <= value <= most, path, value, f"use {least:g} to {most:g}")
    report, num_heldout = config.report, config.data.num_heldout
    _require(
        num_heldout >= 2 or not report.metric_ticks,
        "data.num_heldout",
        num_heldout,
        f"the metrics need 2 or more; use that, or report.metric_ticks=0 (it is {report.metric_ticks}) to measure none",
    )
    _require(
        not report.keep_best or (report.metric_ticks and report.checkpoint_ticks % report.metric_ticks == 0),
        "report.keep_best",
        report.keep_best,
        f"use 0, or a report.checkpoint_ticks (={report.checkpoint_ticks}) that is a multiple of report.metric_ticks "
        f"(={report.metric_ticks}), so that each checkpoint is measured",
    )
    white, color = config.data.white_level, config.data.background
    _require(white is None or 255 <= white <= 65535, "data.white_level", white, "use None, or 255 to 65535")
    _require(len(color) == 3 and all(0 <= v <= 255 for v in color), "data.background", color, "use three of 0..255")


def _check_schedule(config: Any) -> None:
    schedule, model = config.schedule, config.model
    initial = schedule.initial_resolution
    _require(initial in model.resolutions, "schedule.initial_resolution", initial, f"use one of {model.resolutions}")
    _require(
        model.architecture == "stylegan" or initial == model.resolution,
        "schedule.initial_resolution",
        initial,
        f"StyleGAN2 does not grow: use model.resolution (={model.resolution})",
    )
    _require(
        schedule.stable_kimg + schedule.fade_kimg > 0 or initial == model.resolution,
        "schedule.stable_kimg",
        schedule.stable_kimg,
        f"with schedule.fade_kimg (={schedule.fade_kimg}) it must be more than 0, or training would stay at {initial} "
        f"px: to train at full resolution from the beginning use schedule.initial_resolution={model.resolution}",
    )
    pairs = {
        "accumulation_by_resolution": schedule.accumulation,
        "batch_by_resolution": schedule.batch,
        "lr_by_resolution": schedule.lr,
        "tick_kimg_by_resolution": schedule.tick_kimg,
    }
    for name, base in pairs.items():
        _require(base > 0, f"schedule.{name.removesuffix('_by_resolution')}", base, "use more than 0")
        for resolution, value in getattr(schedule, name):
            _require(value > 0, f"schedule.{name}", (resolution, value), "use more than 0")
            is_resolution = 4 <= resolution <= 1024 and resolution & (resolution - 1) == 0
            _require(is_resolution, f"schedule.{name}", (resolution, value), "resolutions are 4, 8, ... 1024")
        resolutions = [resolution for resolution, _ in getattr(schedule, name)]
        _require(len(set(resolutions)) == len(resolutions), f"schedule.{name}", resolutions, "give each one value")
    for r in (r for r in model.resolutions if r >= schedule.initial_resolution):
        batch, group = schedule.batch_at(r), model.stddev_group
        if group and batch > group and batch % group:
            raise ValueError(
                f"the batch of {batch} at {r}x{r} is not a multiple of model.stddev_group (={group}); "
                f"use {batch - batch % group} or {batch - batch % group + group}."
            )
        parts = schedule.num_parts(r)
        if batch % (parts * max(group, 1)) and parts > 1:
            raise ValueError(
                f"the batch of {batch} at {r}x{r} does not divide into schedule.accumulation (={parts}) parts of whole "
                f"groups of model.stddev_group (={group}); use {' or '.join(map(str, _divisors(batch, group)))} parts."
            )


def _divisors(batch: int, group: int) -> list[int]:
    """Returns the numbers of parts that a batch divides into with whole groups."""
    return [parts for parts in range(1, batch + 1) if batch % (parts * max(group, 1)) == 0] or [1]


def check_devices(config: Any, num_devices: int) -> None:
    """Raises ValueError if a batch does not divide among the devices; it names the nearest batches that do."""
    lines = []
    halves = 2 if config.train.pl_weight else 1  # Path lengths take half a batch.
    for r in (r for r in config.model.resolutions if r >= config.schedule.initial_resolution):
        batch, parts = config.schedule.batch_at(r), config.schedule.num_parts(r)
        if batch % (num_devices * parts * halves):
            step = math.lcm(num_devices * halves, max(config.model.stddev_group, 1)) * parts
            near = [n for n in (batch // step * step, -(-batch // step) * step) if n]
            of_parts = f" in {parts} parts" if parts > 1 else ""
            lines.append(f"  {batch}{of_parts} at {r}x{r}: use {' or '.join(map(str, near))}")
    if lines:
        of_halves = "; path lengths (train.pl_weight) take half of each" if halves > 1 else ""
        raise ValueError(
            f"not all batches divide among {num_devices} devices{of_halves}; change schedule.batch, "
            "batch_by_resolution or accumulation:\n" + "\n".join(lines)
        )


def _has_gaps(config: Any, pairs: str) -> bool:
    """Returns whether the pairs by resolution leave out a resolution that is trained at."""
    used = {r for r in config.model.resolutions if r >= config.schedule.initial_resolution}
    return not used <= set(dict(getattr(config.schedule, pairs)))


def _adapts(config: Any) -> bool:
    return config.train.augment == "ada" and config.train.augment_p is None


# Settings that do not always act: (path, whether a config lets it act, why not).
_ACT_SOMETIMES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("data.num_faces", lambda config: config.data.source == "faces", "data.source is not 'faces'"),
    ("data.split", lambda config: config.data.source.startswith("tfds:"), "data.source is not tfds:NAME"),
    *(
        (f"model.{name}", lambda config: config.model.num_labels > 0, "model.num_labels is 0")
        for name in ("embed_labels", "embed_size", "d_mapping_layers", "d_mapping_lr_multiplier", "d_mapping_size")
    ),
    ("train.gp_target", lambda config: config.train.gp_lambda > 0, "train.gp_lambda is 0"),
    ("train.pl_interval", lambda config: config.train.pl_weight > 0, "train.pl_weight is 0"),
    ("train.pl_decay", lambda config: config.train.pl_weight > 0, "train.pl_weight is 0"),
    ("train.augment_p", lambda config: config.train.augment == "ada", "train.augment is not 'ada'"),
    ("train.ada_target", _adapts, "train.augment is not 'ada' with train.augment_p=None"),
    ("train.ada_kimg", _adapts, "train.augment is not 'ada' with train.augment_p=None"),
    ("train.wgan_drift", lambda config: config.train.d_loss == "wgan", "train.d_loss is not 'wgan'"),
    ("report.best_metric", lambda config: config.report.keep_best > 0, "report.keep_best is 0"),
    *(
        (
            f"schedule.{name}",
            functools.partial(_has_gaps, pairs=f"{name}_by_resolution"),
            f"schedule.{name}_by_resolution names every resolution (--config.schedule.{name}_by_resolution='()' "
            "empties it)",
        )
        for name in ("batch", "accumulation", "lr", "tick_kimg")
    ),
)


def without_effect(config: Any, names: Iterable[str]) -> list[str]:
    """Returns a sentence for each setting that has no effect, because of what another one is.

    Args:
        config: the config.Config.
        names: settings to look at: those given on the command line, such as "schedule.batch".
    """
    given = set(names)
    return [
        f"{path}={attrgetter(path)(config)!r} has no effect: {reason}. Change that, or leave this out."
        for path, acts_fn, reason in _ACT_SOMETIMES
        if path in given and not acts_fn(config)
    ]
