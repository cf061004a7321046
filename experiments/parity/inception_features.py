"""FID's Inception with random weights: ours against pytorch-fid's and torch-fidelity's, and mutations of ours."""

import math
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytorch_fid.inception
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from experiments.parity import pictures
from experiments.parity.table import Line, relative
from stylegan_jax.metrics.features import inception, resize
from stylegan_jax.weights.files import torch_files

SEED = 16
BOUNDS = {"float32": 1e-6, "float64": 1e-10}
FEATURES = ("64", "192", "768", "2048")
# torch-fidelity rounds the scale of its resize to float32, also in float64: only without a resize are all digits equal.
SIZES_PX = {
    ("pytorch-fid", "float32"): ((96, 96), (400, 300)),
    ("torch-fidelity", "float32"): ((96, 96), (400, 300), (299, 299)),
    ("pytorch-fid", "float64"): ((96, 96),),
    ("torch-fidelity", "float64"): ((299, 299),),
}
RESIZES = {"pytorch-fid": "torch_bilinear", "torch-fidelity": "tf1_bilinear"}
NUM_PICTURES = 2
MUTATIONS = {
    "padding counted in the average pools": (
        inception, "_average_pool", lambda x: sum(inception._neighbours(x, 0)) / 9
    ),
    "average instead of maximum in the last block": (inception, "_same_max_pool", inception._average_pool),
    "half-pixel resize instead of TensorFlow 1's": (
        inception, "RESIZES", inception.RESIZES | {"tf1_bilinear": (resize.torch_bilinear, 128.0)}
    ),
}  # fmt: skip


def lines() -> Iterator[Line]:
    """Yields the comparisons."""
    arrays = random_arrays(SEED)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "inception.pth"
        torch_files.save(arrays, path)
        params = {"float32": inception.read(path).params, "float64": _folded(arrays)}
        for (package, dtype), sizes in SIZES_PX.items():
            reference = _References(package, path, dtype)
            for size in sizes:
                yield from _compare(reference, params[dtype], package, dtype, size)
        images = pictures.parts(NUM_PICTURES, 96, 96, SEED)
        expected = _References("torch-fidelity", path, "float32")(images)["2048"]
        for what, (place, name, value) in MUTATIONS.items():
            with mock.patch.object(place, name, value):
                error = relative(_ours(params["float32"], images, "tf1_bilinear")["2048"], expected)
            yield Line(f"Inception: {what}", "torch-fidelity", error, BOUNDS["float32"], is_mutation=True)


def random_arrays(seed: int) -> dict[str, np.ndarray]:
    """Returns random float32 weights in pytorch-fid's layout, drawn in the order of their names."""
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (inception.NUM_CLASSES, inception.NUM_FEATURES)}
    shapes["fc.bias"] = (inception.NUM_CLASSES,)
    for name, (height, width, inputs, maps) in inception.shapes().items():
        place = inception.torch_name(name)
        shapes[f"{place}.conv.weight"] = (maps, inputs, height, width)
        shapes |= {f"{place}.bn.{part}": (maps,) for part in ("weight", "bias", "running_mean", "running_var")}
    rng, arrays = np.random.default_rng(seed), {}
    for name, shape in sorted(shapes.items()):
        if name.endswith(("bn.weight", "running_var")):
            low, width = (0.5, 1) if name.endswith("var") else (0.75, 0.5)
            arrays[name] = np.float32(low) + np.float32(width) * rng.random(shape, dtype=np.float32)
        else:
            scale = 0.1 if name == "fc.bias" else 0.0625  # Of biases and means.
            if name.endswith("weight"):
                scale = math.sqrt((1 if name == "fc.weight" else 2) / math.prod(shape[1:]))
            arrays[name] = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
    return arrays


def _compare(reference: Any, params: Any, package: str, dtype: str, size: tuple[int, int]) -> Iterator[Line]:
    images = pictures.parts(NUM_PICTURES, *size, SEED)
    expected = reference(images)
    with jax.enable_x64(dtype == "float64"):
        ours = _ours(params, images, RESIZES[package])
    place = f"{size[0]}x{size[1]} px, {dtype}"
    error = max(relative(ours[name], expected[name]) for name in FEATURES)
    yield Line(f"Inception's features 64, 192, 768, 2048; {place}", package, error, BOUNDS[dtype])
    yield Line(f"Inception's logits; {place}", package, relative(ours["logits"], expected["logits"]), BOUNDS[dtype])


def _ours(params: Any, images: np.ndarray, resize_name: str) -> dict[str, np.ndarray]:
    """Returns four layers and the logits; it compiles anew, so that mutations show."""

    @jax.jit
    def run(params: Any, images: jax.Array) -> dict[str, jax.Array]:
        layers = inception.activations(params, images, resize_name)
        return layers | {"logits": inception.apply(params, images, resize_name)[1]}

    return jax.device_get(run(params, images))


def _folded(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns our parameters in float64, which `inception.read` rounds to float32."""
    arrays = {name: value.astype(np.float64) for name, value in arrays.items()}
    params = {"output/kernel": arrays["fc.weight"].T}
    for name in inception.shapes():
        place = inception.torch_name(name)
        mean, variance, gain, beta = (
            arrays[f"{place}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / np.sqrt(variance + inception.BATCH_NORM_EPSILON)
        params[f"{name}/kernel"] = arrays[f"{place}.conv.weight"].transpose(2, 3, 1, 0) * factor
        params[f"{name}/bias"] = beta - mean * factor
    return params


class _References:
    """A package's module with the weights of a file, in a precision: images uint8 -> layers and logits."""

    def __init__(self, package: str, path: pathlib.Path, dtype: str) -> None:
        self.package, self.dtype = package, getattr(torch, dtype)
        state = torch.load(path, weights_only=True)
        if package == "pytorch-fid":
            with mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: state):
                self.module = pytorch_fid.inception.InceptionV3(output_blocks=(0, 1, 2, 3)).eval()
        else:
            self.module = FeatureExtractorInceptionV3("inception", ["2048"], str(path))
            self.module.feature_extractor_internal_dtype = self.dtype  # Its own setting "float64" means float32.
        self.module.to(self.dtype)
        self.output = state["fc.weight"].to(self.dtype)

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        layers = self.module(x.to(self.dtype) / 255) if self.package == "pytorch-fid" else self._fidelity_layers(x)
        found = {name: layer.mean(dim=(2, 3)) for name, layer in zip(FEATURES, layers, strict=True)}
        found["logits"] = found["2048"].mm(self.output.T)
        return {name: value.numpy() for name, value in found.items()}

    def _fidelity_layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Returns what the layers of torch-fidelity's module give, before it rounds them to float32."""
        seen: list[torch.Tensor] = []
        places = (self.module.MaxPool_1, self.module.MaxPool_2, self.module.Mixed_6e, self.module.AvgPool)
        hooks = [place.register_forward_hook(lambda _, __, value: seen.append(value)) for place in places]
        self.module(x)
        for hook in hooks:
            hook.remove()
        return seen
