"""The packages that are compared with, and what torchvision needs to be imported beside PyTorch for CPUs."""

import importlib.metadata

import torch

NAMES = ("pytorch-fid", "torch-fidelity", "lpips", "prdc", "torch", "torchvision", "scipy", "scikit-learn", "jax")


def declare_operators() -> torch.library.Library | None:
    """Declares two operators of torchvision, for as long as the result lives, where it is built for CUDA alone.

    Its compiled operators cannot be loaded beside PyTorch for CPUs, and its import stops at those it adds to. Nothing
    here calls them.
    """
    versions = [importlib.metadata.version(name) for name in ("torch", "torchvision")]
    if [version.endswith("+cpu") for version in versions] != [True, False]:
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
