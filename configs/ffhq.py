"""FFHQ at 1024x1024, configuration F of Table 1 (FID 4.40), with the official schedule of 1, 2, 4 or 8 devices.

    python -m stylegan_jax.main --config configs/ffhq.py:8 --config.data.source=ffhq.zip --workdir runs/ffhq

The number behind the colon chooses the official minibatches of that many GPUs; any number of devices that divides them
can run them. The authors needed 6 days 14 hours on eight V100 GPUs and 41 days 4 hours on one; we have not run it.
"""

import ml_collections

from stylegan_jax import config

# Official train.py: global minibatch by resolution, and at all others.
OFFICIAL_BATCHES = {
    "1": (((4, 128), (8, 128), (16, 128), (32, 64), (64, 32), (128, 16), (256, 8), (512, 4)), 4),
    "2": (((4, 256), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16), (256, 8)), 8),
    "4": (((4, 512), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16)), 16),
    "8": (((4, 512), (8, 256), (16, 128), (32, 64), (64, 32)), 32),
}


def get_config(num_devices: str = "8") -> ml_collections.ConfigDict:
    """Returns the settings, with the official minibatches of `num_devices`.

    Raises:
        ValueError: the official code has no schedule for that many.
    """
    if num_devices not in OFFICIAL_BATCHES:
        raise ValueError(
            f"ffhq.py:{num_devices}: the official schedules are for {', '.join(OFFICIAL_BATCHES)} devices."
        )
    c = config.default()
    c.schedule.batch_by_resolution, c.schedule.batch = OFFICIAL_BATCHES[num_devices]
    c.data.source = "ffhq.zip"
    c.data.mirror = True
    return c
