"""Layers from and to pictures, for pictures of other colours."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.config import Model
from stylegan_jax.networks import layers

OPAQUE = 1.0  # Alpha of an opaque pixel, in images in [-1, 1].


def convert_colours(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a matrix [old, new] and an offset [new] that make pixels of `new` channels from pixels of `old`.

    pixel @ matrix + offset: gray is the mean of red, green and blue, each of these is the gray, alpha begins opaque.
    """
    num_old, num_new = (1 if channels == 1 else 3 for channels in (old, new))  # Without alpha.
    matrix, offset = np.zeros((old, new), np.float32), np.zeros(new, np.float32)
    matrix[:num_old, :num_new] = np.eye(3) if num_old == num_new == 3 else 1 / num_old
    if new == 4:
        matrix[3:, 3], offset[3] = 1.0, 0.0 if old == 4 else OPAQUE
    return matrix, offset


def converted(path: tuple[str, ...], arrays: Mapping[tuple[str, ...], Any], old: Model, new: Model) -> np.ndarray:
    """Returns a weight or bias of to_rgb, whose pictures are converted, or of from_rgb, which converts them back.

    Args:
        path: path of the array: ("synthesis", "to_rgb8", "bias").
        arrays: the arrays of the network of `old`.
        old: model of that network.
        new: model of the pictures that are wanted.
    """
    array = np.asarray(arrays[path])
    weight = np.asarray(arrays[*path[:-1], "weight"])  # [1, 1, c, of_old] or [1, 1, of_old, c]
    is_second = old.architecture == "stylegan2"
    if path[-2].startswith("to_rgb"):
        matrix, offset = convert_colours(old.channels, new.channels)
        is_last = path[-2] == f"to_rgb{min(old.resolution, new.resolution)}"
        has_offset = path[-1] == "bias" and (is_last or not is_second)  # StyleGAN2's image may be a sum of several.
        result = array @ matrix + offset * has_offset
    else:
        matrix, offset = convert_colours(new.channels, old.channels)
        factors = [
            layers.weight_scales((1, 1, model.channels, 1), layers.RELU_GAIN, 1.0, old.use_equalized_lr)[1]
            for model in (old, new)
        ]
        if path[-1] == "weight":
            result = matrix @ array * (factors[0] / factors[1])
        else:
            result = array + factors[0] / (layers.RELU_GAIN if is_second else 1) * (offset @ weight[0, 0])
    return result.astype(np.float32)
