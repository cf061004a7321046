"""Your own pictures at 32x32, on a CPU: a folder or .zip of any size and format.

python -m stylegan_jax.main --config configs/pictures.py --config.data.source=pictures.zip --workdir runs/pictures
"""

import ml_collections

from stylegan_jax import config


def get_config() -> ml_collections.ConfigDict:
    """Returns the settings."""
    c = config.default()
    c.model.resolution = 32
    c.model.fmap_base = 1024
    c.model.fmap_max = 96
    c.model.z_size = c.model.w_size = c.model.mapping_fmaps = 64
    c.model.mapping_layers = 4
    c.data.source = "pictures.zip"
    c.data.num_heldout = 256
    c.schedule.batch = 16
    c.schedule.batch_by_resolution = ((8, 64), (16, 32))
    c.schedule.stable_kimg = 12.0
    c.schedule.fade_kimg = 8.0
    c.schedule.total_kimg = 100.0
    c.schedule.lr = 0.003
    c.schedule.tick_kimg_by_resolution = ()
    c.schedule.tick_kimg = 4.0
    c.train.ema_halflife_kimg = 1.0
    c.report.num_metric_images = 1024
    c.report.metric_ticks = 2
    return c
