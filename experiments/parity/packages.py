"""The packages that are compared with, and what torchvision needs to be imported beside PyTorch for CPUs."""

import importlib.metadata

import torch

NAMES = ("pytorch-fid", "torch-fidelity", "lpips", "prdc", "torch", "torchvision", "scipy", "scikit-learn", "jax")


def declare_operators() -> None:
    """Declares two operators if torchvision is built for CUDA and PyTorch is not.

    torchvision's compiled operators cannot be loaded then, and its import stops at those it adds to. Nothing here calls
    them.
    """
    versions = [importlib.metadata.version(name) for name in ("torch", "torchvision")]
    if [version.endswith("+cpu") for version in versions] == [True, False]:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
