r"""LSUN Cat at 256x256 (FID of the released network: 8.53), with the official schedule of 1, 2, 4 or 8 devices.

    python -m stylegan_jax.main --mode=prepare --config configs/lsun_cat.py --workdir data/lsun_cat \
        --config.data.source=cat
    python -m stylegan_jax.main --config configs/lsun_cat.py:8 --workdir runs/lsun_cat

The source is LSUN's own lmdb; of each picture the central square is taken. The paper trains on 70 million images. The
number behind the colon chooses the official minibatches of that many GPUs; any number of devices that divides them can
run them. We have not run it.
"""

import ml_collections

from stylegan_jax import config
from stylegan_jax.config import schedule


def get_config(num_devices: str = "8") -> ml_collections.ConfigDict:
    """Returns the settings, with the official minibatches of `num_devices`: 1, 2, 4 or 8."""
    settings = config.default()
    settings.model.compute_dtype = "bfloat16"  # As good as float32, on faces at 64 px: experiments/benchmark.
    settings.schedule.batch_by_resolution, settings.schedule.batch = schedule.official_batches(num_devices)
    settings.data.source = "data/lsun_cat"
    settings.model.resolution = 256
    settings.schedule.total_kimg = 70_000.0
    return settings
