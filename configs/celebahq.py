r"""CelebA-HQ at 1024x1024 with WGAN-GP, as the paper trains it (FID 5.17 for configuration F of Table 1).

    python -m stylegan_jax.main --mode=prepare --config configs/celebahq.py --workdir data/celebahq \
        --config.data.source=celeba-hq.h5
    python -m stylegan_jax.main --config configs/celebahq.py:8 --workdir runs/celebahq

The source is whatever holds the 30,000 pictures: an .h5 of Progressive GAN, a folder of .png, .jpg or .npy files, a
.parquet; the official .tfrecords need no preparing. With WGAN-GP the learning rate is at most 0.002, and the run is 12
million images long. The number behind the colon chooses the official minibatches of that many GPUs; any number of
devices that divides them can run them. We have not run it.
"""

import ml_collections

from stylegan_jax import config
from stylegan_jax.config import schedule


def get_config(num_devices: str = "8") -> ml_collections.ConfigDict:
    """Returns the settings, with the official minibatches of `num_devices`: 1, 2, 4 or 8."""
    settings = config.default()
    settings.model.compute_dtype = "bfloat16"  # As good as float32, on faces at 64 px: experiments/benchmark.
    settings.schedule.batch_by_resolution, settings.schedule.batch = schedule.official_batches(num_devices)
    settings.data.source = "data/celebahq"
    settings.data.mirror = True
    settings.schedule.total_kimg = 12_000.0
    settings.schedule.lr_by_resolution = ((128, 0.0015), (256, 0.002), (512, 0.002), (1024, 0.002))
    settings.train.g_loss = settings.train.d_loss = "wgan"
    settings.train.r1_gamma = 0.0
    settings.train.gp_lambda = 10.0
    return settings
