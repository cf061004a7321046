"""Conditional digits at 16x16, the smallest real data: minutes on a CPU.

python -m stylegan_jax.main --config configs/digits.py --workdir runs/digits
"""

import ml_collections

from stylegan_jax import config


def get_config() -> ml_collections.ConfigDict:
    """Returns the settings."""
    settings = config.default()
    settings.model.resolution = 16
    settings.model.channels = 1
    settings.model.num_labels = 10
    settings.model.fmap_base = 512
    settings.model.fmap_max = 64
    settings.model.z_size = settings.model.w_size = settings.model.mapping_fmaps = 64
    settings.data.source = "digits"
    settings.data.num_heldout = 297
    settings.schedule.batch = 32
    settings.schedule.batch_by_resolution = ()
    settings.schedule.stable_kimg = 50.0
    settings.schedule.fade_kimg = 50.0
    settings.schedule.total_kimg = 300.0
    settings.schedule.lr = 0.002
    settings.schedule.tick_kimg_by_resolution = ()
    settings.schedule.tick_kimg = 10.0
    return settings
