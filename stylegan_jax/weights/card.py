"""The model card of a network: the README.md beside its weights, with the head that the Hugging Face hub reads."""

import json
import pathlib
from collections.abc import Sequence

import jax

from stylegan_jax.config import Model
from stylegan_jax.weights import hub
from stylegan_jax.weights.info import one_line
from stylegan_jax.weights.network import Network

# Licences by the hub's name for them; any other is "other" there, with its own line.
HUB_LICENSES = ("apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc0-1.0", "mit")
_OURS = "library_name: stylegan_jax"  # The first line of each card's head.
MAX_CLASSES = 100  # Classes that a card lists.


def check_replaceable(path: pathlib.Path) -> None:
    """Raises ValueError if a card cannot be written at `path`: there is a folder, or a file that is no card of ours."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and the model card goes there; move it away.")
    if path.exists() and not path.read_bytes().startswith(f"---\n{_OURS}\n".encode()):
        raise ValueError(f"{path} is no model card that was written here; move it away, the new card goes there.")


def card_of(network: Network, title: str, file: str, name: str | None = None) -> str:
    """Returns the model card of a network, the text of a README.md; a licence that is not stated is never guessed.

    Args:
        network: the network. What its file lacked is among the notes.
        title: title of the card.
        file: name of the file that the card is about; its end tells how it is used.
        name: name at the hub, such as "someone/faces"; None: it is not there.
    """
    model, info = network.model, network.info
    parts = [_head(model, info.license), f"# {_line(title)}", _summary(model)]
    parts += ["## Use", _use(model, file, name, network.class_names, network.w_avg is not None)]
    parts += ["## What it is", _table(network)]
    if model.num_labels:
        parts += ["## Classes", _classes(model, network.class_names)]
    parts += ["## Where the weights came from", f"Read from: {_line(info.layout)}."]
    missing = (f"{array} was not in the file: {reason}" for array, reason in info.missing.items())
    if notes := [*info.notes, *missing]:
        parts += ["\n".join(f"- {_line(note)}" for note in notes)]
    parts += ["## Licence", f"Licence of the weights: {_line(info.license or 'not stated')}."]
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    """Returns text from a file as one line that Markdown shows as it is."""
    text = one_line(str(text))
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return text


def _head(model: Model, license: str | None) -> str:
    """Returns the YAML at the top; texts are quoted as in JSON, which is YAML too."""
    lines = [_OURS, "tags:", "- stylegan", "- jax"]
    if not model.num_labels:
        lines += ["pipeline_tag: unconditional-image-generation"]
    known = (license or "").strip().lower().replace(" ", "-")
    if license is None:
        lines += ["license: unknown"]
    elif known in HUB_LICENSES:
        lines += [f"license: {known}"]
    else:
        lines += ["license: other", f"license_name: {json.dumps(one_line(license), ensure_ascii=False)}"]
    return "\n".join(["---", *lines, "---"])


def _summary(model: Model) -> str:
    size = f"{model.resolution}x{model.resolution} px"
    kind = f"of {model.num_labels} classes" if model.num_labels else "unconditional"
    name = {"stylegan": "StyleGAN", "stylegan2": "StyleGAN2"}[model.architecture]
    return f"A {name} generator of images of {size}, {kind}."


def _use(model: Model, file: str, name: str | None, class_names: Sequence[str], has_w_avg: bool) -> str:
    """Returns code that makes images."""
    if file.endswith((".onnx", ".stablehlo")):
        return _program_use(model, file, has_w_avg)
    arguments = ["seeds=[1, 2, 3]"]
    if model.num_labels:
        has_names = class_names and file.endswith((".safetensors", ".npz"))  # Other layouts have no place for them.
        arguments += [f"labels={class_names[0]!r}" if has_names else "labels=0"]
    if has_w_avg:
        arguments += ["psi=0.7"]
    shape = f"uint8 [3, {model.resolution}, {model.resolution}, {model.channels}]"
    place = json.dumps(file if name is None else f"{hub.SCHEME}{name}")
    lines = ["import stylegan_jax as sg", "", f"network = sg.load({place})"]
    return _code(*lines, f"images = network({', '.join(arguments)})  # {shape}")


def _program_use(model: Model, file: str, has_w_avg: bool) -> str:
    inputs = {"z": f"np.random.randn(3, {model.z_size}).astype(np.float32)"}
    if model.num_labels:
        inputs["labels"] = f"np.eye({model.num_labels}, dtype=np.float32)[[0, 0, 0]]"
    if has_w_avg:
        inputs["psi"] = "np.array(0.7, np.float32)"
    listed = ", ".join(f"{name}={value}" for name, value in inputs.items())
    if file.endswith(".onnx"):
        imports = "import numpy as np, onnxruntime"
        lines = [f"session = onnxruntime.InferenceSession({json.dumps(file)})", f"inputs = dict({listed})"]
        call = "images = session.run(None, inputs)[0]"
    else:
        imports = "import jax.export, numpy as np"
        lines = [
            f"program = jax.export.deserialize(bytearray(np.fromfile({json.dumps(file)}, np.uint8)))",
            f"inputs = dict({listed})",
        ]
        call = "images = program.call(**inputs)"
    code = _code(imports, *lines, f"{call}  # float32 [3, height, width, {model.channels}], around [-1, 1]")
    if not model.use_noise:
        return code
    return (
        f"{code}\n\nIf the program has inputs noise0, noise1, ..., these are unit Gaussian maps [3, r, r, 1], two for "
        "each resolution r from 4 px up."
    )


def _code(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])


def _table(network: Network) -> str:
    model, resolution, nimg = network.model, network.resolution, network.info.nimg
    channels = {1: "gray", 3: "RGB", 4: "RGBA"}[model.channels]
    rows = [("Images", f"{model.resolution}x{model.resolution} px, {channels}")]
    if resolution != model.resolution:
        rows += [("Trained so far", f"up to {resolution}x{resolution} px; its images are enlarged")]
    rows += [("Latents", f"z of {model.z_size}, w of {model.w_size} elements")]
    for part, tree in {"generator": network.params, "discriminator": network.d_params}.items():
        if tree is not None:
            rows += [(f"Parameters of the {part}", f"{sum(leaf.size for leaf in jax.tree.leaves(tree)):,}")]
    rows += [("Real images shown in training", "not known" if nimg is None else f"{nimg:,}")]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {title} | {value} |" for title, value in rows)])


def _classes(model: Model, class_names: Sequence[str]) -> str:
    if not class_names:
        return f"{model.num_labels} classes, by number; they have no names."
    listed = ", ".join(_line(each) for each in class_names[:MAX_CLASSES])
    more = len(class_names) - MAX_CLASSES
    return listed + (f" and {more} more." if more > 0 else ".")
