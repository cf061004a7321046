"""The one door: a network from any file that is known, and into those that others read."""

import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

from stylegan_jax.runs.text import printable
from stylegan_jax.weights import assemble, checkpoints, hub, own
from stylegan_jax.weights.files import torch_files
from stylegan_jax.weights.files.pickle_machine import shown
from stylegan_jax.weights.layouts import (
    contents,
    genforce,
    huangzh13,
    interfacegan,
    lernapparat,
    official_pickles,
    rosinality,
)
from stylegan_jax.weights.network import Network

PORTS: tuple[Callable[[Any, pathlib.Path], contents.Contents | None], ...] = (
    genforce.read,
    interfacegan.read,
    huangzh13.read,
    lernapparat.read,
    rosinality.read,
)
MXNET = b"\x12\x01\x00\x00"  # Magic number of MXNet's .params.
NOT_WEIGHTS = {  # What downloads that failed leave behind.
    b"<!doctype html": "a page of HTML",
    b"<html": "a page of HTML",
    b"version https://": "a pointer of Git LFS",
}


def load(path: str | pathlib.Path, checkpoint: int | None = None) -> Network:
    """Returns the network of a file or of a run. Nothing in it is executed, whatever it is.

    Args:
        path: a .safetensors or .npz written here, or hf://OWNER/NAME, one at the Hugging Face hub; an official .pkl of
            StyleGAN, StyleGAN2, StyleGAN2-ADA or Progressive GAN; a .pth, .pt or .model of genforce, InterFaceGAN,
            huangzh13, lernapparat or rosinality; a run's workdir, or a checkpoint in it. The content tells which, not
            the name.
        checkpoint: images of the checkpoint, in a workdir; None for the newest sound one.

    Raises:
        ValueError: it is none of these, damaged, or wants to call something; a sentence that says what and where.
        ModuleNotFoundError: the hub is asked for without its extra.
    """
    if str(path).startswith(hub.SCHEME):
        path = hub.download(hub.name_of(str(path)))
    path = pathlib.Path(os.path.expanduser(path))  # An unknown user stays in the path.
    if not os.path.exists(path):  # In place of an error if the name is too long.
        raise ValueError(f"{path} does not exist; name a file of weights, a run's workdir or a checkpoint in it.")
    if not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is neither a file nor a folder, but a pipe or a device; write it to a file first.")
    if path.is_dir():
        if not checkpoints.is_run(path):
            raise ValueError(
                f"{path} is a folder, but of no run: it has no checkpoints. Name a run's workdir, a checkpoint in it "
                "(RUN/checkpoints/NIMG), or a file of weights."
            )
        return checkpoints.read(path, checkpoint)
    if checkpoint is not None:
        raise ValueError(f"checkpoint={checkpoint} has no effect with a file such as {path}; leave it out.")
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    if not head:
        raise ValueError(f"{path} is empty; download or write it anew.")
    try:
        return _read(path, head)
    except ValueError as error:
        text = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        raise ValueError(printable(text)) from None  # Names in a file may have any characters.
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError) as error:
        reason = shown(f"{type(error).__name__}: {error}")
        raise ValueError(
            f"{path} is damaged: values in it are of another kind than networks have ({reason})."
        ) from None


def _read(path: pathlib.Path, head: bytes) -> Network:
    """Returns the network of a file that begins with `head`."""
    if head.startswith(b"PK") and _is_npz(path):
        return own.read_npz(path)
    if head[8:9] == b"{":
        return own.read_safetensors(path)
    if head.startswith(MXNET):
        raise ValueError(
            f"{path} is a file of MXNet (GluonCV's StyleGAN), which is not read; take the official pickle that it was "
            "made from."
        )
    if path.suffix in (".onnx", ".stablehlo") and not head.startswith((b"PK", b"\x80")):
        raise ValueError(f"{path} is an exported program, whose weights are not read; load what it was exported from.")
    for start, what in NOT_WEIGHTS.items():
        if head.lower().startswith(start):
            raise ValueError(f"{path} is {what}, and no file of weights; download it anew.")
    found = _of_port(path) if torch_files.is_of_torch(head) else official_pickles.read(path)
    return assemble.network_of(found, str(path))


def _is_npz(path: pathlib.Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except Exception:  # Whatever a damaged directory leads to: the reader of PyTorch's files says what is wrong.
        return False


def _of_port(path: pathlib.Path) -> contents.Contents:
    tree = torch_files.load(path)
    for read in PORTS:
        found = read(tree, path)
        if found is not None:
            return found
    raise ValueError(f"{path} {_what(tree)}")


def _what(tree: Any) -> str:
    """Returns what a PyTorch file of no known layout is, as the rest of a sentence."""
    names = _names(tree)
    known = ", ".join(("genforce", "InterFaceGAN", "huangzh13", "lernapparat", "rosinality"))
    if any("style_mapping." in name for name in names):
        return "is a network of mmgeneration, which is not read; take the network that it was converted from."
    if any(name.startswith(("conv1.conv.modulation", "g_ema.conv1.conv.modulation")) for name in names):
        return "is a network of StyleGAN2 in rosinality's layout; of StyleGAN2 official pickles alone are read here."
    first = ", ".join(names[:3]) or "none"
    return f"is a PyTorch file of no layout that is known ({known}); its first arrays are {first}."


def _names(tree: Any, prefix: str = "") -> list[str]:
    if isinstance(tree, dict):
        return [
            name for key, value in tree.items() for name in _names(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [prefix] if hasattr(tree, "shape") else []
