"""Ways of resizing: ours against torch-fidelity, PyTorch and Pillow, as each package calls them."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from experiments.parity import pictures
from experiments.parity.table import Line, relative
from stylegan_jax.metrics.features import resize

SIZES_PX = (32, 64, 100, 256, 299, 512, 1024)
INPUT_PX = 299  # Of Inception.
BOUND = 1e-6  # A share of the largest value.


def lines() -> Iterator[Line]:
    """Yields the comparisons."""
    for size in SIZES_PX:
        height, width = min(size, 427), min(size, 640)
        repeats = (1, -(-size // height), -(-size // width), 1)  # The photographs are repeated where they are smaller.
        images = np.tile(pictures.parts(2, height, width, seed=size), repeats)[:, :size, :size]
        for what, against, ours, reference in (
            ("TensorFlow 1", "torch-fidelity", resize.tf1_bilinear, _torch_fidelity),
            ("PyTorch", "PyTorch, as pytorch-fid calls it", resize.torch_bilinear, _pytorch_fid),
            ("clean-fid", "Pillow, float channels, clipped", resize.pil_bicubic, _pillow),
        ):
            error = relative(ours(resize.rgb(images), INPUT_PX, INPUT_PX), reference(images))
            yield Line(f"resize of {what}, {size} px", against, error, BOUND)


def _torch_fidelity(images: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)).float()
    x = interpolate_bilinear_2d_like_tensorflow1x(x, size=(INPUT_PX, INPUT_PX), align_corners=False)
    return x.numpy().transpose(0, 2, 3, 1)


def _pytorch_fid(images: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)).float()
    x = torch.nn.functional.interpolate(x, size=(INPUT_PX, INPUT_PX), mode="bilinear", align_corners=False)
    return x.numpy().transpose(0, 2, 3, 1)


def _pillow(images: np.ndarray) -> np.ndarray:
    def resized(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(channel).resize((INPUT_PX, INPUT_PX), Image.Resampling.BICUBIC))

    channels = images.transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3]).astype(np.float32)
    resized_channels = np.stack([resized(channel) for channel in channels]).clip(0, 255)
    return resized_channels.reshape(len(images), 3, INPUT_PX, INPUT_PX).transpose(0, 2, 3, 1)
