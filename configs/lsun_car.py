r"""LSUN Car at 512x384 in 512x512 (FID of the released network: 3.27), official schedule of 1, 2, 4 or 8 devices.

    python -m stylegan_jax.main --mode=prepare --config configs/lsun_car.py --workdir data/lsun_car \
        --config.data.source=car
    python -m stylegan_jax.main --config configs/lsun_car.py:8 --workdir runs/lsun_car

The source is LSUN's own lmdb. A central band of each picture that is at least 512 px wide, and high enough, becomes
512x384 between black bars; other pictures are left out and counted. The paper trains on 46 million images. The number
behind the colon chooses the official minibatches of that many GPUs; any number of devices that divides them can run
them. We have not run it.
"""

import ml_collections

from stylegan_jax import config
from stylegan_jax.config import schedule


def get_config(num_devices: str = "8") -> ml_collections.ConfigDict:
    """Returns the settings, with the official minibatches of `num_devices`: 1, 2, 4 or 8."""
    settings = config.default()
    settings.model.compute_dtype = "bfloat16"  # As good as float32, on faces at 64 px: experiments/benchmark.
    settings.schedule.batch_by_resolution, settings.schedule.batch = schedule.official_batches(num_devices)
    settings.data.source = "data/lsun_car"
    settings.model.resolution = 512
    settings.data.fit = "wide"
    settings.schedule.total_kimg = 46_000.0
    return settings
