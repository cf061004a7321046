"""Progressive GAN, configuration A of the paper's Table 1 (FID 8.04 on FFHQ), at 1024x1024; we have not run it.

python -m stylegan_jax.main --config configs/progan.py --config.data.source=ffhq.zip --workdir runs/progan
"""

import ml_collections

from stylegan_jax import config


def get_config() -> ml_collections.ConfigDict:
    """Returns the settings."""
    c = config.default()
    m = c.model
    m.mapping_layers = 0
    m.use_styles = m.const_input = m.use_noise = m.use_instance_norm = m.embed_labels = False
    m.use_pixel_norm = True
    m.blur_filter = None
    c.data.source = "data/ffhq"
    c.data.mirror = True
    c.schedule.lr_by_resolution = ((128, 0.0015), (256, 0.002), (512, 0.002), (1024, 0.002))
    c.train.g_loss = c.train.d_loss = "wgan"
    c.train.r1_gamma = 0.0
    c.train.gp_lambda = 10.0
    c.train.style_mixing_prob = 0.0
    return c
