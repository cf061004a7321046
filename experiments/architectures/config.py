"""Procedural faces at 64x64 by StyleGAN and by StyleGAN2, with equal settings but for what is their own.

    python -m stylegan_jax.main --config=experiments/architectures/config.py:stylegan2 --config.seed=0 --workdir=DIR

The widths are the same, so StyleGAN's generator has 292,319 parameters and StyleGAN2's 275,144, 6% fewer; its
discriminator has 286,545 and StyleGAN2's 296,401, 3% more. README.md beside this file has the numbers.
"""

import ml_collections

from stylegan_jax import config

LEARNING_RATES = {"stylegan": 0.003, "stylegan2": 0.006}  # Among the best after 40,000 images: trials.sh.
ARCHITECTURES = tuple(LEARNING_RATES)


def get_config(architecture: str = "stylegan2") -> ml_collections.ConfigDict:
    """Returns the settings of an architecture."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"there is no architecture {architecture!r}; use one of {', '.join(ARCHITECTURES)}")
    settings = small()
    settings.model.architecture = architecture
    settings.schedule.lr = LEARNING_RATES[architecture]
    settings.schedule.total_kimg = 40.0
    settings.schedule.tick_kimg = 2.0
    settings.report.checkpoint_ticks = settings.report.image_ticks = settings.report.metric_ticks = 2
    if architecture == "stylegan2":  # As in the official code; StyleGAN has no path lengths, and TensorFlow's Adam.
        settings.train.pl_weight = 2.0
        settings.train.adam_form = "pytorch"
    return settings


def small() -> ml_collections.ConfigDict:
    """Returns settings of small networks at 64x64, for two cores of a CPU."""
    settings = config.default()
    settings.model.resolution = settings.schedule.initial_resolution = 64
    settings.model.fmap_base = 512
    settings.model.fmap_max = 64
    settings.model.z_size = settings.model.w_size = settings.model.mapping_fmaps = 64
    settings.model.mapping_layers = 2
    settings.model.mapping_lr_multiplier = 0.1
    settings.schedule.batch = 8  # More updates of the same images than with more.
    settings.schedule.batch_by_resolution = settings.schedule.lr_by_resolution = ()
    settings.schedule.tick_kimg_by_resolution = ()
    settings.schedule.lr = 0.003
    settings.train.style_mixing_prob = 0.5
    settings.train.r1_gamma = 2.0
    settings.train.r1_interval = 16
    settings.train.ema_halflife_kimg = 2.0
    settings.train.ema_rampup = 0.05
    return settings
