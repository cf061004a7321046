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
    c = config.default()
    c.model.compute_dtype = "bfloat16"  # As good as float32, on faces at 64 px: experiments/benchmark.
    c.schedule.batch_by_resolution, c.schedule.batch = schedule.official_batches(num_devices)
    c.data.source = "data/celebahq"
    c.data.mirror = True
    c.schedule.total_kimg = 12_000.0
    c.schedule.lr_by_resolution = ((128, 0.0015), (256, 0.002), (512, 0.002), (1024, 0.002))
    c.train.g_loss = c.train.d_loss = "wgan"
    c.train.r1_gamma = 0.0
    c.train.gp_lambda = 10.0
    return c
