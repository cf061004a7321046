"""LPIPS with real networks and perceptual path length: ours against the package lpips, in float64."""

import functools
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import lpips
import numpy as np
import torch

from experiments.parity import pictures
from experiments.parity.table import Line, each_relative
from stylegan_jax.metrics import ppl
from stylegan_jax.metrics.features import alex, vgg

FILES = {"vgg": "vgg16.ckpt", "alex": "alexnet.ckpt"}
SIZES_PX = ((64, 64), (75, 90), (256, 256))
BOUNDS = {"float32": 1e-5, "float64": 1e-10}
PATH_BOUND = 1e-8
AUTHORS = (0.569, 0.422)  # Of ex_ref with ex_p0 and with ex_p1; PerceptualSimilarity, README.md.
SEED = 16
Z_SIZE, W_SIZE, PATH_PX, NUM_PAIRS = 16, 8, 64, 16

Params = Mapping[str, np.ndarray]
Package = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # [n, 3, h, w] in [-1, 1] -> [n]


def lines(folder: pathlib.Path, examples: pathlib.Path | None) -> Iterator[Line]:
    """Yields the comparisons.

    Args:
        folder: has the FILES.
        examples: recorded example pictures of the package lpips, "pair8/a" to "pair9/b" of an npz file.
    """
    for net, module, name in (("vgg", vgg, "VGG16"), ("alex", alex, "AlexNet")):
        found = module.read(folder / FILES[net])
        if found.notes:
            raise ValueError(" ".join(found.notes))
        package = _package(net, found.params)
        for dtype in BOUNDS:
            params = {key: value.astype(dtype) for key, value in found.params.items()}
            for size in SIZES_PX:
                first, second = _pairs(*size)
                expected = package(_torch(first), _torch(second))
                with jax.enable_x64(dtype == "float64"):
                    ours = jax.jit(module.lpips)(params, first.astype(dtype), second.astype(dtype))
                what = f"LPIPS of {name}, {size[0]}x{size[1]} px, {dtype}"
                yield Line(what, "lpips, float64", each_relative(ours, expected), BOUNDS[dtype])
        if net == "vgg":
            yield _authors(found.params, examples)
            yield from _path_lengths(found.params, package)


def _pairs(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns parts of photographs, and others, noisy, blurred and dark ones. float64 in [-1, 1] [4, h, w, 3] each"""
    first = pictures.parts(4, height, width, seed=height) / 127.5 - 1
    noise = np.random.default_rng(SEED).standard_normal(first[1].shape) / 8
    blurred = sum(np.roll(first[2], (i, j), axis=(0, 1)) for i in range(3) for j in range(3)) / 9
    other = pictures.parts(1, height, width, seed=1)[0] / 127.5 - 1
    second = np.stack([other, (first[1] + noise).clip(-1, 1), blurred, first[3] * 0.8 - 0.2])
    return tuple(x.astype(np.float32).astype(np.float64) for x in (first, second))  # Both precisions see the same.


def _torch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def _package(net: str, params: Params) -> Package:
    """Returns the distance of the package lpips, in float64, with the convolutions of `params` and its own heads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It calls torchvision in a way of earlier versions.
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    convolutions = [module for module in model.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for k, convolution in enumerate(convolutions, 1):
        kernel = params[f"conv{k}/kernel"].transpose(3, 2, 0, 1)
        convolution.weight.data.copy_(torch.from_numpy(kernel.copy()))
        convolution.bias.data.copy_(torch.from_numpy(np.array(params[f"conv{k}/bias"])))
    model = model.double()

    @torch.no_grad()
    def distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return model(first, second)[:, 0, 0, 0]

    return distance


def _authors(params: Params, examples: pathlib.Path | None) -> Line:
    error = None
    if examples is not None:
        with np.load(examples) as npz:
            pairs = [[npz[f"pair{k}/{part}"][None] / np.float32(127.5) - 1 for part in "ab"] for k in (8, 9)]
        ours = [float(vgg.lpips(params, *pair)[0]) for pair in pairs]
        error = float(np.max(np.abs(np.subtract(ours, AUTHORS))))
    return Line("LPIPS of VGG16, the example pictures (difference)", "its authors' 0.569 and 0.422", error, 5e-4)


# ---- path length


def _path_lengths(params: Params, package: Package) -> Iterator[Line]:
    """Yields path lengths of a generator of few numbers; the official formula is written in PyTorch."""
    rng = np.random.default_rng(SEED)
    mapping = rng.standard_normal((Z_SIZE, W_SIZE)) / np.sqrt(Z_SIZE)
    photos = pictures.parts(W_SIZE + 1, PATH_PX, PATH_PX, SEED) / 127.5 - 1
    bias, basis = photos[0], photos[1:] / W_SIZE
    z1, z2 = rng.standard_normal((2, NUM_PAIRS, Z_SIZE))
    for space in ("z", "w"):
        for sampling in ("full", "end"):
            t = rng.random(NUM_PAIRS) if sampling == "full" else np.zeros(NUM_PAIRS)
            definition = ppl.Definition(space, sampling, crop=space == "z", num_pairs=NUM_PAIRS)
            expected = _official(package, definition, *map(torch.from_numpy, (mapping, bias, basis, z1, z2, t)))
            with jax.enable_x64(True):
                wide = {name: value.astype(np.float64) for name, value in params.items()}
                ours = ppl.pair_distances(
                    lambda z, _: jnp.tanh(z / jnp.sqrt(jnp.mean(z**2, axis=1, keepdims=True) + 1e-8) @ mapping),
                    lambda w, _: bias[None] + jnp.einsum("nk,khwc->nhwc", w, basis),
                    functools.partial(vgg.lpips, wide), definition, *map(jnp.asarray, (z1, z2, t)), jax.random.key(0),
                )  # fmt: skip
            what = f"path length, {space} {sampling}, {'crop' if definition.crop else 'whole'}, float64"
            yield Line(
                f"{what}: each pair", "the formula in PyTorch, with lpips", each_relative(ours, expected), PATH_BOUND
            )


def _official(
    package: Package, definition: ppl.Definition, mapping: torch.Tensor, bias: torch.Tensor, basis: torch.Tensor,
    z1: torch.Tensor, z2: torch.Tensor, t: torch.Tensor,
) -> np.ndarray:  # fmt: skip
    """Returns the distances of pairs over epsilon**2 (NVlabs/stylegan, metrics/perceptual_path_length.py)."""

    def unit(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x, dim=1, eps=0)

    def mapped(z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt() @ mapping)

    def latent(place: torch.Tensor) -> torch.Tensor:
        if definition.space == "w":
            return torch.lerp(mapped(z1), mapped(z2), place)
        a, b = unit(z1), unit(z2)
        cosine = (a * b).sum(dim=1, keepdim=True)
        angle = place * torch.acos(cosine)
        return mapped(unit(a * torch.cos(angle) + unit(b - cosine * a) * torch.sin(angle)))

    def image(place: torch.Tensor) -> torch.Tensor:
        x = bias + torch.tensordot(latent(place[:, None]), basis, dims=1)
        if definition.crop:
            c = x.shape[1] // 8
            x = x[:, 3 * c : 7 * c, 2 * c : 6 * c]
        return x.permute(0, 3, 1, 2)

    return package(image(t), image(t + definition.epsilon)).numpy() / definition.epsilon**2
