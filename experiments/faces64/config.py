"""Procedural faces at 64x64: the network that comes with the repository, in six runs.

    python -m stylegan_jax.main --config=experiments/faces64/config.py:grow --workdir=GROWN
    python -m stylegan_jax.main --config=experiments/faces64/config.py:refine --init_from=GROWN --workdir=REFINED
    python -m stylegan_jax.main --config=experiments/faces64/config.py:speed --init_from=REFINED --workdir=SPEEDY
    python -m stylegan_jax.main --config=experiments/faces64/config.py:widen --init_from=SPEEDY --workdir=WIDENED
    python -m stylegan_jax.main --config=experiments/faces64/config.py:settle --init_from=WIDENED --workdir=SETTLED
    python -m stylegan_jax.main --config=experiments/faces64/config.py:map --init_from=SETTLED --workdir=MAPPED

README.md beside this file has hours and scores.
"""

import ml_collections

from stylegan_jax import config

RUNS = ("grow", "refine", "speed", "widen", "settle", "map")
WIDE = ("widen", "settle", "map")


def get_config(run: str = "grow") -> ml_collections.ConfigDict:
    """Returns the settings of a run."""
    if run not in RUNS:
        raise ValueError(f"there is no run {run!r}; use one of {', '.join(RUNS)}")
    settings = config.default()
    settings.model.resolution = 64
    settings.model.fmap_base = 1024
    settings.model.fmap_max = 128
    settings.model.z_size = settings.model.w_size = settings.model.mapping_fmaps = 128
    settings.model.mapping_layers = 8
    settings.data.num_faces = 40_000
    settings.schedule.tick_kimg_by_resolution = ()
    settings.schedule.tick_kimg = 5.0
    settings.report.checkpoint_ticks = 1
    if run == "grow":
        settings.schedule.batch_by_resolution = ((8, 32), (16, 16), (32, 16), (64, 8))
        settings.schedule.stable_kimg = 40.0
        settings.schedule.fade_kimg = 20.0
        settings.schedule.total_kimg = 1200.0
        settings.schedule.lr = 0.005
        settings.schedule.lr_by_resolution = ((64, 0.004),)
        settings.train.ema_halflife_kimg = 3.0
        settings.report.metric_ticks = 4
        return settings
    settings.schedule.initial_resolution = 64
    settings.schedule.batch_by_resolution = ((64, 16 if run in WIDE else 8),)
    settings.schedule.total_kimg = 2000.0
    settings.schedule.lr = {"widen": 0.003, "settle": 0.0015, "map": 0.0015}.get(run, 0.002)
    settings.schedule.lr_by_resolution = ()
    settings.train.style_mixing_prob = 0.5
    settings.train.r1_gamma = 2.0
    settings.train.r1_interval = 1 if run == "refine" else 8  # The same penalty in two thirds of the time.
    settings.train.ema_halflife_kimg = 5.0
    settings.report.metric_ticks = 2
    if run in WIDE:
        settings.model.mapping_layers = 2  # Eight make w narrow, and the faces alike: README.md.
    if run == "map":
        settings.model.mapping_lr_multiplier = 0.1
    return settings
