"""Multi-scale structural similarity of pictures, and with it how little a generator's pictures vary.

The mean over random pairs of pictures is near 1 if all are alike. It says nothing about quality: the mean over pairs
of real pictures is the value to compare with.

Sources: Wang et al. 2003 (Eqs. 5 to 7, the weights); Odena et al. 2017, Sec. 4.2 (the use on pairs of fakes);
Progressive GAN, metrics/ms_ssim.py (the protocol).
"""

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import batches

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, Sec. 3.2, finest level first.
_MAX_WINDOW_PX = 11
_SIGMA_OF_WINDOW = 1.5 / 11  # Standard deviation of the Gaussian window, as a share of its size.
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def mean_of_pairs(images: np.ndarray) -> float:
    """Returns the mean similarity of pictures 0 and 1, 2 and 3, and so on; Progressive GAN takes 10,000 fakes.

    Args:
        images: uint8. [n, h, w, c], n even, h and w multiples of 16
    """
    images = np.asarray(images)
    if len(images) < 2 or len(images) % 2:
        raise ValueError(f"There are {len(images)} pictures; pairs need an even number of them, at least 2.")
    return float(ms_ssim(images[0::2], images[1::2]).mean())


def ms_ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the similarity of each picture to its counterpart, 1 for equal ones. float64 [n]

        MS-SSIM = s_5^w_5 * product over levels 1 to 4 of c_j^w_j

    where c_j compares contrast, the variances and the covariance in windows of 11 px, in the mean over all windows of
    level j, and s_5 is the mean of contrast times luminance at level 5. Each level is half as wide as the one before.
    Where a picture is smaller than the window, the window shrinks. A negative mean counts as 0.

    Args:
        first: uint8. [n, h, w, c], h and w multiples of 16
        second: uint8. Same shape

    Raises:
        ValueError: dtype or shape is another.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.dtype != np.uint8 or second.dtype != np.uint8:
        raise ValueError(f"The pictures must be uint8, and are {first.dtype} and {second.dtype}.")
    if first.shape != second.shape or first.ndim != 4 or not first.size or first.shape[1] % 16 or first.shape[2] % 16:
        raise ValueError(
            "The pictures must have one shape [n, h, w, c] with h and w multiples of 16, "
            f"and have {list(first.shape)} and {list(second.shape)}."
        )
    # A pair in float64 takes four times the memory of a picture in float32.
    parts = batches.slices(len(first), 2 * max(first.shape[1:3]))
    with jax.enable_x64(True):
        found = [np.asarray(_ms_ssim(first[rows], second[rows])) for rows in parts]
    return np.concatenate(found)


@jax.jit
def _ms_ssim(first: jax.Array, second: jax.Array) -> jax.Array:
    x, y = first.astype(jnp.float64), second.astype(jnp.float64)
    product = jnp.ones(len(x), jnp.float64)
    for level, weight in enumerate(_WEIGHTS):
        if level:
            x, y = _halved(x), _halved(y)
        luminance_and_contrast, contrast = _ssim(x, y)
        last = level == len(_WEIGHTS) - 1
        product *= jnp.maximum(luminance_and_contrast if last else contrast, 0) ** weight
    return product


def _ssim(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the means over all windows of l * c and of c. [n], [n]

    l = (2 mu_x mu_y + C1) / (mu_x^2 + mu_y^2 + C1), c = (2 cov_xy + C2) / (var_x + var_y + C2).
    """
    mu_x, mu_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x) + _windowed(y * y) - mu_x**2 - mu_y**2
    covariance = _windowed(x * y) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + _C1) / (mu_x**2 + mu_y**2 + _C1)
    contrast = (2 * covariance + _C2) / (variances + _C2)
    return (luminance * contrast).mean(axis=(1, 2, 3)), contrast.mean(axis=(1, 2, 3))


def _windowed(images: jax.Array) -> jax.Array:
    """Returns the mean of each Gaussian window that fits into the images. [n, h - size + 1, w - size + 1, c]"""
    size = min(_MAX_WINDOW_PX, *images.shape[1:3])
    offsets = np.arange(size) - (size - 1) / 2
    taps = np.exp(-(offsets**2) / (2 * (size * _SIGMA_OF_WINDOW) ** 2))
    taps /= taps.sum()
    for axis in (1, 2):
        stop = images.shape[axis] - size + 1
        images = sum(tap * jax.lax.slice_in_dim(images, k, k + stop, axis=axis) for k, tap in enumerate(taps))
    return images


def _halved(images: jax.Array) -> jax.Array:
    """Returns the means of 2 x 2 pixels. [n, h/2, w/2, c]"""
    n, h, w, c = images.shape
    return images.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
