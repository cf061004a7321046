"""Conditional digits at 16x16, the smallest real data: minutes on a CPU.

python -m stylegan_jax.main --config configs/digits.py --workdir runs/digits
"""

import ml_collections

from stylegan_jax import config


def get_config() -> ml_collections.ConfigDict:
    """Returns the settings."""
    c = config.default()
    c.model.resolution = 16
    c.model.channels = 1
    c.model.num_labels = 10
    c.model.fmap_base = 512
    c.model.fmap_max = 64
    c.model.z_size = c.model.w_size = c.model.mapping_fmaps = 64
    c.data.source = "digits"
    c.data.num_heldout = 297
    c.schedule.batch = 32
    c.schedule.batch_by_resolution = ()
    c.schedule.stable_kimg = 50.0
    c.schedule.fade_kimg = 50.0
    c.schedule.total_kimg = 300.0
    c.schedule.lr = 0.002
    c.schedule.tick_kimg_by_resolution = ()
    c.schedule.tick_kimg = 10.0
    return c
