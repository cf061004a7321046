"""Parts of the two photographs that scikit-learn brings."""

import functools

import numpy as np
from sklearn import datasets

NAMES = ("china.jpg", "flower.jpg")  # 427x640 px


@functools.cache
def photographs() -> np.ndarray:
    """Returns both photographs. uint8 [2, 427, 640, 3]"""
    return np.stack([datasets.load_sample_image(name) for name in NAMES])


def parts(num: int, height: int, width: int, seed: int) -> np.ndarray:
    """Returns parts at random places. uint8 [num, height, width, 3]"""
    rng, photos, result = np.random.default_rng(seed), photographs(), []
    for k in range(num):
        photo = photos[k % len(photos)]
        top, left = (rng.integers(old - new + 1) for old, new in zip(photo.shape, (height, width), strict=False))
        result.append(photo[top : top + height, left : left + width])
    return np.stack(result)
