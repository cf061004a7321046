"""Procedural faces from 8x8 to 64x64 on a laptop's CPU: `make demo`.

A small model (at most 96 feature maps, where the paper has 512) and a short schedule, for two CPU cores and less than
ten minutes.
"""

import ml_collections

from stylegan_jax import config


def get_config() -> ml_collections.ConfigDict:
    """Returns the settings."""
    c = config.default()
    c.model.resolution = 64
    c.model.fmap_base = 1024
    c.model.fmap_max = 96
    c.model.z_size = c.model.w_size = c.model.mapping_fmaps = 64
    c.model.mapping_layers = 4
    c.data.num_faces = 10_000
    c.schedule.batch = 32
    c.schedule.batch_by_resolution = ((8, 64), (16, 32), (32, 16), (64, 16))
    c.schedule.stable_kimg = 12.0
    c.schedule.fade_kimg = 8.0
    c.schedule.total_kimg = 72.0
    c.schedule.lr = 0.003
    c.schedule.tick_kimg_by_resolution = ()
    c.schedule.tick_kimg = 4.0
    c.train.ema_halflife_kimg = 1.0
    c.report.metric_ticks = 1
    c.report.num_metric_images = 1024
    c.report.checkpoint_ticks = 2
    return c
