r"""FFHQ at 512x512, with the official schedule of 1, 2, 4 or 8 devices.

    python -m stylegan_jax.main --mode=prepare --config configs/ffhq.py --workdir data/ffhq \
        --config.data.source=images1024x1024
    python -m stylegan_jax.main --config configs/ffhq512.py:8 --workdir runs/ffhq512

The store is that of configs/ffhq.py: the device makes 512x512 of its 1024x1024 pixels. The number behind the colon
chooses the official minibatches of that many GPUs; any number of devices that divides them can run them. We have not
run it.
"""

import ml_collections

from stylegan_jax import config
from stylegan_jax.config import schedule


def get_config(num_devices: str = "8") -> ml_collections.ConfigDict:
    """Returns the settings, with the official minibatches of `num_devices`: 1, 2, 4 or 8."""
    settings = config.default()
    settings.model.compute_dtype = "bfloat16"  # As good as float32, on faces at 64 px: experiments/benchmark.
    settings.schedule.batch_by_resolution, settings.schedule.batch = schedule.official_batches(num_devices)
    settings.data.source = "data/ffhq"
    settings.model.resolution = 512
    settings.data.mirror = True
    return settings
