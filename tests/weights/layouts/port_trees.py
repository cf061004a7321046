"""Official networks as state dicts of the PyTorch ports, by plain loops: what readers must understand."""

import dataclasses
import re
from typing import Any

import numpy as np

from stylegan_jax.weights.layouts import contents
from tests import ports

UNTRAINED = r"G_synthesis/noise\d+$|dlatent_avg$|lod$"  # Names of official arrays that training does not change.
ROSINALITY_SWITCHES = {"instance_norm_epsilon": 1e-5, "bias_before_blur": True}
SQUARE = {"z_size": 16, "w_size": 16, "mapping_fmaps": 16}


def interfacegan(part: contents.Network, fused: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Returns an official generator as the port's state dict, with transposed convolutions at resolutions `fused`."""
    arrays, tree = part.arrays, {}
    top = max(int(m[1]) for m in (re.search(r"(\d+)x\d+/", name) for name in arrays) if m)
    for i in range(sum(bool(re.fullmatch(r"G_mapping/Dense\d+/bias", name)) for name in arrays)):
        tree[f"mapping.dense{i}.linear.weight"] = arrays[f"G_mapping/Dense{i}/weight"].T
        tree[f"mapping.dense{i}.wscale.bias"] = arrays[f"G_mapping/Dense{i}/bias"]
    tree |= {"truncation.w_avg": arrays["dlatent_avg"], "synthesis.lod": arrays["lod"]}
    for level, r in enumerate(2**k for k in range(2, top.bit_length())):
        for second, name in enumerate(("Const", "Conv") if r == 4 else ("Conv0_up", "Conv1")):
            layer, root = f"synthesis.layer{2 * level + second}", f"G_synthesis/{r}x{r}/{name}"
            if name == "Const":
                tree[f"{layer}.first_layer"] = arrays[f"{root}/const"]
            elif name == "Conv0_up" and r in fused:
                tree[f"{layer}.weight"] = arrays[f"{root}/weight"]
            else:
                tree[f"{layer}.conv.weight"] = ports.torch_order(arrays[f"{root}/weight"])
            if name == "Conv0_up":
                tree[f"{layer}.blur.kernel"] = ports.blur(len(arrays[f"{root}/bias"]))
            tree[f"{layer}.epilogue.bias"] = arrays[f"{root}/bias"]
            tree[f"{layer}.epilogue.apply_noise.weight"] = arrays[f"{root}/Noise/weight"]
            tree[f"{layer}.epilogue.apply_noise.noise"] = arrays[f"G_synthesis/noise{2 * level + second}"]
            tree[f"{layer}.epilogue.style_mod.dense.linear.weight"] = arrays[f"{root}/StyleMod/weight"].T
            tree[f"{layer}.epilogue.style_mod.dense.wscale.bias"] = arrays[f"{root}/StyleMod/bias"]
        rgb = f"G_synthesis/ToRGB_lod{(top // r).bit_length() - 1}"
        tree[f"synthesis.output{level}.conv.weight"] = ports.torch_order(arrays[f"{rgb}/weight"])
        tree[f"synthesis.output{level}.bias"] = arrays[f"{rgb}/bias"]
    return tree


def huangzh13(part: contents.Network) -> dict[str, np.ndarray]:
    """Returns an official generator as the port's state dict."""
    arrays, tree = part.arrays, {}
    top = max(int(m[1]) for m in (re.search(r"(\d+)x\d+/", name) for name in arrays) if m)
    if "G_mapping/LabelConcat/weight" in arrays:
        tree["class_embedding.weight"] = arrays["G_mapping/LabelConcat/weight"]
    for i in range(sum(bool(re.fullmatch(r"G_mapping/Dense\d+/bias", name)) for name in arrays)):
        tree[f"g_mapping.map.dense{i}.weight"] = arrays[f"G_mapping/Dense{i}/weight"].T
        tree[f"g_mapping.map.dense{i}.bias"] = arrays[f"G_mapping/Dense{i}/bias"]
    for level, r in enumerate(2**k for k in range(2, top.bit_length())):
        block = "g_synthesis." + ("init_block" if r == 4 else f"blocks.{level - 1}")
        for nth, name in ((1, "Const" if r == 4 else "Conv0_up"), (2, "Conv" if r == 4 else "Conv1")):
            root, conv = f"G_synthesis/{r}x{r}/{name}", f"{block}.{name.lower()}"
            if name == "Const":
                tree |= {f"{block}.const": arrays[f"{root}/const"], f"{block}.bias": arrays[f"{root}/bias"]}
            else:
                tree[f"{conv}.weight"] = ports.torch_order(arrays[f"{root}/weight"])
                tree[f"{conv}.bias"] = arrays[f"{root}/bias"]
            if name == "Conv0_up":
                tree[f"{conv}.intermediate.kernel"] = ports.blur(1)
            tree[f"{block}.epi{nth}.top_epi.noise.weight"] = arrays[f"{root}/Noise/weight"]
            tree[f"{block}.epi{nth}.style_mod.lin.weight"] = arrays[f"{root}/StyleMod/weight"].T
            tree[f"{block}.epi{nth}.style_mod.lin.bias"] = arrays[f"{root}/StyleMod/bias"]
        rgb = f"G_synthesis/ToRGB_lod{(top // r).bit_length() - 1}"
        tree[f"g_synthesis.to_rgb.{level}.weight"] = ports.torch_order(arrays[f"{rgb}/weight"])
        tree[f"g_synthesis.to_rgb.{level}.bias"] = arrays[f"{rgb}/bias"]
    return tree | {"truncation.avg_latent": arrays["dlatent_avg"]}


def lernapparat_generator(part: contents.Network) -> dict[str, np.ndarray]:
    """Returns an official generator as the port's state dict."""
    arrays, tree = part.arrays, {}
    for i in range(sum(bool(re.fullmatch(r"G_mapping/Dense\d+/bias", name)) for name in arrays)):
        tree[f"g_mapping.dense{i}.weight"] = arrays[f"G_mapping/Dense{i}/weight"].T
        tree[f"g_mapping.dense{i}.bias"] = arrays[f"G_mapping/Dense{i}/bias"]
    for name, value in arrays.items():
        match = re.fullmatch(r"G_synthesis/(\d+x\d+)/(Const|Conv|Conv0_up|Conv1)/(.+)", name)
        if not match:
            continue
        block, (_, layer, leaf) = f"g_synthesis.blocks.{match[1]}", match.groups()
        nth = 1 if layer in ("Const", "Conv0_up") else 2
        if leaf == "Noise/weight":
            tree[f"{block}.epi{nth}.top_epi.noise.weight"] = value
        elif leaf.startswith("StyleMod/"):
            tree[f"{block}.epi{nth}.style_mod.lin.{leaf[9:]}"] = value.T
        elif layer == "Const":
            tree[f"{block}.{leaf}"] = value
        else:
            tree[f"{block}.{layer.lower()}.{leaf}"] = ports.torch_order(value)
        if layer == "Conv0_up":
            tree[f"{block}.conv0_up.intermediate.kernel"] = ports.blur(1)
    tree["g_synthesis.torgb.weight"] = ports.torch_order(arrays["G_synthesis/ToRGB_lod0/weight"])
    return tree | {"g_synthesis.torgb.bias": arrays["G_synthesis/ToRGB_lod0/bias"]}


def lernapparat_discriminator(part: contents.Network) -> dict[str, np.ndarray]:
    """Returns an official discriminator as the port's state dict."""
    tree = {}
    for name, value in part.arrays.items():
        match = re.fullmatch(r"(\d+x\d+)/(\w+)/(weight|bias)", name)
        if match:
            tree[f"{match[1]}.{match[2].lower()}.{match[3]}"] = ports.torch_order(value)
            if match[2] == "Conv1_down":
                tree[f"{match[1]}.blur.kernel"] = ports.blur(1)
                tree[f"{match[1]}.conv1_down.downscale.blur.kernel"] = np.full((1, 1, 2, 2), 0.25, np.float32)
    tree["fromrgb.weight"] = ports.torch_order(part.arrays["FromRGB_lod0/weight"])
    return tree | {"fromrgb.bias": part.arrays["FromRGB_lod0/bias"]}


def rosinality(part: contents.Network) -> dict[str, np.ndarray]:
    """Returns an official generator of `resolution` px as the port's state dict; higher levels are missing."""
    a, tree = part.arrays, {}
    top = max(int(m[1]) for m in (re.search(r"(\d+)x\d+/", name) for name in a) if m)
    for i in range(sum(bool(re.fullmatch(r"G_mapping/Dense\d+/bias", name)) for name in a)):
        tree[f"style.{2 * i + 1}.linear.weight_orig"] = a[f"G_mapping/Dense{i}/weight"].T / 100
        tree[f"style.{2 * i + 1}.linear.bias"] = a[f"G_mapping/Dense{i}/bias"] / 100
    for level, r in enumerate(2**k for k in range(2, top.bit_length())):
        block = f"generator.progression.{level}"
        for nth, name in ((1, "Const" if r == 4 else "Conv0_up"), (2, "Conv" if r == 4 else "Conv1")):
            root = f"G_synthesis/{r}x{r}/{name}"
            c = len(a[f"{root}/bias"])
            if name == "Const":
                tree[f"{block}.conv1.input"] = a[f"{root}/const"]
            elif nth == 2:
                tree[f"{block}.conv2.conv.weight_orig"] = ports.torch_order(a[f"{root}/weight"])
                tree[f"{block}.conv2.conv.bias"] = a[f"{root}/bias"]
            elif r < 128:
                tree[f"{block}.conv1.1.conv.weight_orig"] = ports.torch_order(a[f"{root}/weight"])
                tree[f"{block}.conv1.1.conv.bias"] = a[f"{root}/bias"]
                tree |= {f"{block}.conv1.2.{flip}": ports.blur(c) for flip in ("weight", "weight_flip")}
            else:
                tree[f"{block}.conv1.0.weight"] = np.moveaxis(a[f"{root}/weight"], (2, 3), (0, 1)) * 4
                tree[f"{block}.conv1.0.bias"] = a[f"{root}/bias"]
                tree |= {f"{block}.conv1.1.{flip}": ports.blur(c) for flip in ("weight", "weight_flip")}
            tree[f"{block}.noise{nth}.weight_orig"] = (a[f"{root}/Noise/weight"] / np.sqrt(2 / c)).reshape(1, c, 1, 1)
            style = f"{block}.adain{nth}.style.linear"
            tree[f"{style}.weight_orig"] = a[f"{root}/StyleMod/weight"].T / np.sqrt(2)
            tree[f"{style}.bias"] = a[f"{root}/StyleMod/bias"] + np.repeat([1, 0], c)
        rgb = f"G_synthesis/ToRGB_lod{(top // r).bit_length() - 1}"
        tree[f"generator.to_rgb.{level}.conv.weight_orig"] = ports.torch_order(a[f"{rgb}/weight"]) / np.sqrt(2)
        tree[f"generator.to_rgb.{level}.conv.bias"] = a[f"{rgb}/bias"]
    return {name: np.asarray(value, np.float64 if "bias" in name else np.float32) for name, value in tree.items()}


def made_for_rosinality(**fields: Any) -> contents.Contents:
    """Returns networks that this layout can hold: its constant has no bias."""
    made = ports.make(**SQUARE | {"fmap_base": 512} | fields)
    for part in (made.generator, made.average):
        part.arrays["G_synthesis/4x4/Const/bias"] = np.zeros_like(part.arrays["G_synthesis/4x4/Const/bias"])
    return dataclasses.replace(made, switches=ROSINALITY_SWITCHES)


def genforce(part: contents.Network) -> dict[str, np.ndarray]:
    """Returns an official generator with a constant, or a discriminator, as the port's state dict."""
    a: dict[str, np.ndarray] = part.arrays
    top = max(int(m[1]) for m in (re.search(r"(\d+)x\d+/", name) for name in a) if m)
    sizes, tree = [2**k for k in range(2, top.bit_length())], {}
    if part.func == "D_basic":
        names = [f"{r}x{r}/{name}" for r in reversed(sizes[1:]) for name in ("Conv0", "Conv1_down")]
        for i, name in enumerate([*names, "4x4/Conv", "4x4/Dense0", "4x4/Dense1"]):
            tree[f"layer{i}.weight"] = ports.torch_order(a[f"{name}/weight"])
            tree[f"layer{i}.bias"] = a[f"{name}/bias"]
            if name.endswith("Conv1_down"):
                tree[f"layer{i}.blur.kernel"] = ports.blur(a[f"{name}/weight"].shape[2])
        for lod in range(len(sizes)):
            tree[f"input{lod}.weight"] = ports.torch_order(a[f"FromRGB_lod{lod}/weight"])
            tree[f"input{lod}.bias"] = a[f"FromRGB_lod{lod}/bias"]
        return tree | {"lod": a["lod"]}
    names = ["4x4/Const", "4x4/Conv"] + [f"{r}x{r}/{name}" for r in sizes[1:] for name in ("Conv0_up", "Conv1")]
    for i, name in enumerate(names):
        layer, root = f"synthesis.layer{i}", f"G_synthesis/{name}"
        if name == "4x4/Const":
            tree[f"{layer}.const"] = a[f"{root}/const"]
        else:
            tree[f"{layer}.weight"] = ports.torch_order(a[f"{root}/weight"])
        if name.endswith("Conv0_up"):
            tree[f"{layer}.blur.kernel"] = ports.blur(len(a[f"{root}/bias"]))
        tree |= {f"{layer}.bias": a[f"{root}/bias"], f"{layer}.apply_noise.weight": a[f"{root}/Noise/weight"]}
        tree[f"{layer}.apply_noise.noise"] = a[f"G_synthesis/noise{i}"]
        tree[f"{layer}.style.weight"] = a[f"{root}/StyleMod/weight"].T
        tree[f"{layer}.style.bias"] = a[f"{root}/StyleMod/bias"]
    for i in range(len(sizes)):
        lod = len(sizes) - 1 - i
        tree[f"synthesis.output{i}.weight"] = ports.torch_order(a[f"G_synthesis/ToRGB_lod{lod}/weight"])
        tree[f"synthesis.output{i}.bias"] = a[f"G_synthesis/ToRGB_lod{lod}/bias"]
    for i in range(sum(bool(re.fullmatch(r"G_mapping/Dense\d+/bias", name)) for name in a)):
        tree[f"mapping.dense{i}.weight"] = a[f"G_mapping/Dense{i}/weight"].T
        tree[f"mapping.dense{i}.bias"] = a[f"G_mapping/Dense{i}/bias"]
    if "G_mapping/LabelConcat/weight" in a:
        tree["mapping.label_weight"] = a["G_mapping/LabelConcat/weight"]
    return tree | {"truncation.w_avg": a["dlatent_avg"], "synthesis.lod": a["lod"]}


def untrained(arrays: dict[str, np.ndarray], num_levels: int) -> dict[str, np.ndarray]:
    """Returns a state dict of rosinality's generator whose levels from `num_levels` on are as they were initialized."""
    result = dict(arrays)
    for name, value in arrays.items():
        level = re.match(r"generator\.(?:progression|to_rgb)\.(\d+)\.", name)
        if level and int(level[1]) >= num_levels:
            if name.endswith("style.linear.bias"):
                result[name] = np.repeat(np.float32([1, 0]), len(value) // 2)
            elif name.endswith(("bias", "noise1.weight_orig", "noise2.weight_orig")):
                result[name] = np.zeros_like(value)
    return result
