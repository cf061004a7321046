"""A generator as ONNX, written node by node from its parameters: standard operators alone, images NCHW inside.

It mirrors networks/generator.py; its inputs, its output and its arguments are those of programs.stablehlo. Features are
float32, whatever model.compute_dtype and model.matmul_precision are.
"""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stylegan_jax.config import Model
from stylegan_jax.networks import growth, layers, ops
from stylegan_jax.runs import whole
from stylegan_jax.weights import programs

OPSET, IR_VERSION = 17, 8  # Of ONNX 1.12, June 2022: no newer operator is needed, and older runtimes read it too.

Params = Mapping[str, Any]


@dataclasses.dataclass
class Graph:
    """A graph in the making: its nodes, and its constants by name."""

    helper: Any  # The module onnx.helper.
    nodes: list[Any] = dataclasses.field(default_factory=list)
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def add(self, operator: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        """Appends a node and returns the name of its output; an input is a name or a constant."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        output = f"{operator}{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def _constant(self, value: np.ndarray) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = np.array(value, order="C")
        return name


# ---- operations; features are NCHW, latents [n, d]


def _float32(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def _per_map(values: np.ndarray) -> np.ndarray:
    """Returns one value a feature map, [c], in the shape that meets NCHW."""
    return np.asarray(values).reshape(1, -1, 1, 1)


def _activated(graph: Graph, x: str, nonlinearity: str) -> str:
    return graph.add("LeakyRelu", x, alpha=0.2) if nonlinearity == "lrelu" else graph.add("Relu", x)


def _at_unit_power(graph: Graph, x: str, axes: Sequence[int], epsilon: float = ops.EPSILON) -> str:
    """Returns x / sqrt(mean(x**2) + epsilon) over `axes`."""
    power = graph.add("ReduceMean", graph.add("Mul", x, x), axes=axes, keepdims=1)
    return graph.add("Div", x, graph.add("Sqrt", graph.add("Add", power, _float32(epsilon))))


def _instance_norm(graph: Graph, x: str, epsilon: float) -> str:
    """Returns ops.instance_norm. ONNX's own operator is not faster, and some devices raise its epsilon to 1e-5."""
    centered = graph.add("Sub", x, graph.add("ReduceMean", x, axes=(2, 3), keepdims=1))
    return _at_unit_power(graph, centered, (2, 3), epsilon)


def _blur(graph: Graph, x: str, taps: Sequence[int], channels: int) -> str:
    weights = np.asarray(taps, np.float64) / np.sum(taps)
    kernel = np.tile(np.outer(weights, weights).astype(np.float32), (channels, 1, 1, 1))
    before = (len(taps) - 1) // 2
    after = len(taps) - 1 - before
    return graph.add("Conv", x, kernel, group=channels, pads=(before, before, after, after))


def _dense(graph: Graph, x: str, params: Params, model: Model, gain: float, lr_multiplier: float = 1.0) -> str:
    """Returns layers.Dense before its nonlinearity."""
    weight = params["weight"]
    _, factor = layers.weight_scales(weight.shape, gain, lr_multiplier, model.use_equalized_lr)
    bias = [params["bias"] * np.float32(lr_multiplier)] if "bias" in params else []
    return graph.add("Gemm", x, weight * np.float32(factor), *bias)


def _conv(graph: Graph, x: str, params: Params, model: Model, gain: float = layers.RELU_GAIN) -> str:
    weight = params["weight"]
    _, factor = layers.weight_scales(weight.shape, gain, 1.0, model.use_equalized_lr)
    bias = [params["bias"]] if "bias" in params else []
    pad = len(weight) // 2
    return graph.add("Conv", x, weight.transpose(3, 2, 0, 1) * np.float32(factor), *bias, pads=(pad,) * 4)


def _to_rgb(graph: Graph, x: str, params: Params, model: Model, resolution: int) -> str:
    return _conv(graph, x, params[growth.module_name("to_rgb", resolution)], model, gain=1.0)


def _enlarged(graph: Graph, x: str) -> str:
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", x, "", _float32(1, 1, 2, 2), **how)


# ---- the two networks


def _mapping(graph: Graph, params: Params, model: Model) -> str:
    """Returns w of the inputs z and labels. [n, w_size]"""
    x = "z"
    if model.num_labels:
        labels = graph.add("MatMul", "labels", params["label_embedding"]) if model.embed_labels else "labels"
        x = graph.add("Concat", x, labels, axis=1)
    if model.normalize_latents:
        x = _at_unit_power(graph, x, (1,))
    for i in range(model.mapping_layers):
        x = _dense(graph, x, params[f"dense{i}"], model, layers.RELU_GAIN, model.mapping_lr_multiplier)
        x = _activated(graph, x, model.nonlinearity)
    return x


def _start(graph: Graph, w: str, params: Params, model: Model) -> str:
    channels = model.fmaps(4)
    if model.const_input:
        n = graph.add("Slice", graph.add("Shape", w), np.asarray([0]), np.asarray([1]))
        shape = graph.add("Concat", n, np.asarray([channels, 4, 4]), axis=0)
        return graph.add("Expand", params["const"].transpose(0, 3, 1, 2), shape)
    x = _dense(graph, w, params["dense"], model, layers.RELU_GAIN / 4)
    return graph.add("Transpose", graph.add("Reshape", x, np.asarray([-1, 4, 4, channels])), perm=(0, 3, 1, 2))


def _epilogue(
    graph: Graph, x: str, w: str, noise: str | np.ndarray | None, params: Params, model: Model, has_blur: bool
) -> str:
    """Returns layers.Epilogue of features x, a layer's latent w and its noise [n or 1, r, r, 1]."""
    channels, bias = params["bias"].size, _per_map(params["bias"])
    if has_blur and model.blur_filter is not None:
        if model.bias_before_blur:
            x, bias = graph.add("Add", x, bias), np.zeros_like(bias)
        x = _blur(graph, x, model.blur_filter, channels)
    if noise is not None:
        noise = graph.add("Transpose", noise, perm=(0, 3, 1, 2))
        x = graph.add("Add", x, graph.add("Mul", noise, _per_map(params["noise_strength"])))
    x = _activated(graph, graph.add("Add", x, bias), model.nonlinearity)
    if model.use_pixel_norm:
        x = _at_unit_power(graph, x, (1,))
    if model.use_instance_norm:
        x = _instance_norm(graph, x, model.instance_norm_epsilon)
    if model.use_styles:
        style = graph.add("Reshape", _dense(graph, w, params["style"], model, 1.0), np.asarray([-1, 2, channels, 1, 1]))
        scale, shift = (graph.add("Gather", style, np.asarray(i), axis=1) for i in range(2))  # [n, c, 1, 1] each
        x = graph.add("Add", graph.add("Mul", x, graph.add("Add", scale, _float32(1))), shift)
    return x


def _synthesis(
    graph: Graph, ws: Sequence[str], noise: Sequence[Any], params: Params, model: Model, resolution: int, alpha: float
) -> str:
    """Returns images, NCHW, of one latent a layer."""
    x, smaller = "", ""
    for i, r in enumerate(r for r in model.resolutions if r <= resolution):
        block = params[growth.module_name("b", r)]
        w0, w1 = ws[2 * i : 2 * i + 2] if model.use_styles else (ws[0], ws[0])
        if r == 4:
            x = _start(graph, ws[0], block["start"], model)
        else:
            x = _conv(graph, _enlarged(graph, x), block["conv0"], model)
        x = _epilogue(graph, x, w0, noise[2 * i], block["epilogue0"], model, has_blur=r > 4)
        x = _conv(graph, x, block["conv1"], model)
        x = _epilogue(graph, x, w1, noise[2 * i + 1], block["epilogue1"], model, has_blur=False)
        if 2 * r == resolution and alpha != 1:
            smaller = _enlarged(graph, _to_rgb(graph, x, params, model, r))
    image = _to_rgb(graph, x, params, model, resolution)
    if not smaller:
        return image
    return graph.add("Add", smaller, graph.add("Mul", graph.add("Sub", image, smaller), _float32(alpha)))


def onnx_model(
    params: Params,
    model: Model,
    w_avg: np.ndarray | None,
    noise: Sequence[np.ndarray] | None,
    resolution: int,
    alpha: float = 1.0,
    *,
    cutoff: int | None = None,
    has_noise_inputs: bool = False,
) -> Any:
    """Returns the generator as an onnx.ModelProto, checked by ONNX; programs.stablehlo documents the arguments.

    Raises:
        ModuleNotFoundError: the package onnx is missing.
        ValueError: the network has no such program: it lacks noise, w_avg or the resolution, or is of StyleGAN2.
    """
    if model.architecture == "stylegan2":
        raise ValueError("the network is of StyleGAN2, which has no ONNX graph here; save it as .stablehlo.")
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("ONNX needs the package onnx: pip install onnx") from error
    programs.check(model, w_avg, noise, resolution, alpha, cutoff, has_noise_inputs)
    graph, has_psi = Graph(onnx.helper), w_avg is not None
    shapes = programs.input_shapes(model, resolution, has_psi, has_noise_inputs)
    num_maps = 2 * int(math.log2(resolution) - 1)
    maps: Sequence[Any] = [None] * num_maps
    if model.use_noise:
        maps = [f"noise{i}" for i in range(num_maps)] if has_noise_inputs else noise
    w = _mapping(graph, params["mapping"], model)
    truncated = w
    if has_psi:
        offset = graph.add("Mul", graph.add("Sub", w, w_avg[None]), "psi")
        truncated = graph.add("Add", offset, w_avg[None])
    num_truncated = model.num_layers if cutoff is None else cutoff
    ws = [truncated if i < num_truncated else w for i in range(model.num_layers)]
    images = _synthesis(graph, ws, maps, params["synthesis"], model, resolution, alpha)
    graph.nodes.append(onnx.helper.make_node("Transpose", [images], ["images"], perm=(0, 2, 3, 1)))

    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    image_shape = ("b", resolution, resolution, model.channels)
    output = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, image_shape)
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "generator", inputs, [output], constants),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="stylegan_jax",
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def save_onnx(path: str | os.PathLike, proto: Any) -> None:
    """Writes what `onnx_model` returns, in one file."""
    with whole.writing(path) as file:
        file.write(proto.SerializeToString())
