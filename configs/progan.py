"""Progressive GAN, configuration A of the paper's Table 1 (FID 8.04 on FFHQ), at 1024x1024; we have not run it.

python -m stylegan_jax.main --config configs/progan.py --config.data.source=ffhq.zip --workdir runs/progan
"""

import ml_collections

from stylegan_jax import config


def get_config() -> ml_collections.ConfigDict:
    """Returns the settings."""
    settings = config.default()
    m = settings.model
    m.mapping_layers = 0
    m.use_styles = m.const_input = m.use_noise = m.use_instance_norm = m.embed_labels = False
    m.use_pixel_norm = True
    m.blur_filter = None
    settings.data.source = "data/ffhq"
    settings.data.mirror = True
    settings.schedule.lr_by_resolution = ((128, 0.0015), (256, 0.002), (512, 0.002), (1024, 0.002))
    settings.train.g_loss = settings.train.d_loss = "wgan"
    settings.train.r1_gamma = 0.0
    settings.train.gp_lambda = 10.0
    settings.train.style_mixing_prob = 0.0
    return settings
