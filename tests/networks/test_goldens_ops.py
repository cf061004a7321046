"""Operations, single layers and image conversions agree with the arrays recorded from the official code."""

import functools
import math
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Model
from stylegan_jax.networks import convolutions, layers, ops
from stylegan_jax.runs import grid
from stylegan_jax.weights.layouts import official as names
from stylegan_jax.weights.layouts.official import nhwc
from tests import official
from tests.official import Recorded

pytestmark = pytest.mark.goldens


def call_of(case):
    """Returns (function, keyword arguments, further positional arguments) of a recorded official call."""
    text = official.meta("ops")[case].partition("#")[0]
    func = re.match(r"(?:networks_progan\.)?(\w+)\(", text)[1]
    arguments = re.sub(r"x\[.*?\]", "x", text[text.index("(") + 1 : text.rindex(")")])
    values = {"sqrt": math.sqrt}
    kwargs = {
        k: eval(v, values) for k, v in re.findall(r"(\w+)=(sqrt\(\d\)|\[.*?\]|[\w.]+)", arguments) if v != "noise"
    }
    positional = re.sub(r"\w+=.*", "", arguments)
    numbers = [eval(v) for v in re.findall(r"\[.*?\]|\d+", positional)]
    return func, kwargs, numbers


def scaled(kwargs):
    """Returns a layer's settings from the keyword arguments of an official weight."""
    return {
        "gain": kwargs.get("gain", math.sqrt(2)),
        "lr_multiplier": kwargs.get("lrmul", 1),
        "use_equalized_lr": kwargs.get("use_wscale", True),
    }


def check_gradients(r, apply, x_order=slice(None), **weights):
    """Compares apply(x, weights) and its gradients; weights are (name in the file, conversion) by our name."""
    to_ours, _ = official.converters(x_order)
    params = {ours: jnp.asarray(convert(r.take(name))) for ours, (name, convert) in weights.items()}

    @jax.jit
    def run(x, params, dy):
        y, pull = jax.vjp(apply, x, params)
        return y, *pull(dy)

    y, d_x, d_params = run(to_ours(r.take("x")), params, to_ours(r.take("dy")))
    r.check("y", y, to_ours)
    r.check("dx", d_x, to_ours)
    for ours, (name, convert) in weights.items():
        if f"d_{name}" in r:
            r.check(f"d_{name}", d_params[ours], convert)


def check_conv(r, func, kwargs, is_progan):
    """Compares a convolution, plain or with resampling; a fused upscale has its kernel rotated."""
    shape = official.load("ops")[r.prefix + "weight"].shape
    size = 2 * official.load("ops")[r.prefix + "x"].shape[2]
    fused = True if is_progan else kwargs.get("fused_scale", "auto")
    is_fused = size >= 128 if fused == "auto" else fused
    convert = names.rotate if func == "upscale2d_conv2d" and is_fused else np.asarray
    conv_fn = {
        "upscale2d_conv2d": convolutions.upscale_conv,
        "conv2d_downscale2d": convolutions.conv_downscale,
        "conv2d": convolutions.conv,
    }[func]
    scale, lr_multiplier = scaled(kwargs), kwargs.get("lrmul", 1)
    if lr_multiplier == 1:
        del scale["lr_multiplier"]
        layer = layers.Conv(shape[-1], shape[0], bias_fn=None, conv_fn=conv_fn, **scale)
        return check_gradients(r, lambda x, p: layer.apply({"params": p}, x), weight=("weight", convert))
    _, factor = layers.weight_scales(shape, **scale)  # Only dense layers of ours have another learning rate.
    check_gradients(r, lambda x, p: conv_fn(x, p["weight"], factor), weight=("weight", convert))


def check_dense(r, kwargs):
    """Compares a dense layer; one on features lists its inputs in another order."""
    x, weight = (official.load("ops")[r.prefix + name] for name in ("x", "weight"))
    layer = layers.Dense(weight.shape[1], **scaled(kwargs))
    convert = functools.partial(names.flat_nhwc, axis=0, size=x.shape[-1]) if x.ndim == 4 else np.asarray

    def apply(x, p):
        return layer.apply({"params": p | {"bias": jnp.zeros(weight.shape[1])}}, x.reshape(x.shape[0], -1))

    check_gradients(r, apply, weight=("weight", convert))


def check_noise(r):
    """Compares the noise of an epilogue alone."""
    noise = nhwc(r.take("noise"))
    model = Model(use_instance_norm=False, use_styles=False)

    def apply(x, p):
        return layers.Epilogue(model).apply({"params": p | {"bias": jnp.zeros(x.shape[-1])}}, x, None, noise)

    with mock.patch.dict(ops.NONLINEARITIES, {model.nonlinearity: lambda x: x}):
        check_gradients(r, apply, noise_strength=("Noise/weight", np.asarray))


def check_style(r):
    """Compares the affine transform of w and the modulation by it."""
    features = official.load("ops")[r.prefix + "StyleMod/weight"].shape[1]
    dense = layers.Dense(features, gain=1.0)
    check_gradients(
        r, lambda x, p: ops.modulate(x, dense.apply({"params": {k: p[k] for k in ("weight", "bias")}}, p["w"])),
        w=("dlatent", np.asarray), weight=("StyleMod/weight", np.asarray), bias=("StyleMod/bias", np.asarray),
    )  # fmt: skip


def check_weight_scales(r):
    """Compares a weight's initial deviation and its factor at run time."""
    settings = official.meta("ops")[r.prefix[:-1]]
    std, factor = layers.weight_scales(
        tuple(settings["shape"]), settings["gain"], settings["lrmul"], settings["use_wscale"]
    )
    r.check("init_std", std)
    r.check("runtime_coef", factor)
    r.check("effective", r.take("variable") * np.float32(factor))


def check_image_conversion(r, case):
    """Compares conversions between [-1, 1] and 0..255, and grids of pictures."""
    recorded = official.load("ops")

    def to_float(x):
        return ops.process_reals(jnp.asarray(x), None, jnp.ones(()))

    if case == "to_uint8":
        x = jnp.asarray(nhwc(r.take("x")))
        for name, images in {"y": x, "y_nhwc": x, "y_shrink2": ops.downscale(x), "y_drange01": 2 * x - 1}.items():
            if name in r:
                r.check(name, ops.to_uint8(images), np.asarray if name == "y_nhwc" else nhwc, tolerance=0)
    elif case == "from_uint8":  # Differs: the official one divides (x + 1) by 127.5, instead of x, and subtracts no 1.
        x = r.take("x").astype(np.uint8)
        r.check("y", to_float(x) + 1 + 2 / 255, nhwc)
    elif case == "adjust_dynamic_range":
        x = r.take("x")
        r.check("y", grid.round_to_uint8(x), lambda y: np.clip(np.rint(y), 0, 255), tolerance=0)
        if "from_uint8/x" in recorded:
            r.check("y2", to_float(recorded["from_uint8/x"].astype(np.uint8)))
    elif case == "image_grid":
        x = nhwc(recorded["adjust_dynamic_range/x"])
        columns = recorded["image_grid/y"].shape[2] // x.shape[2]
        rows = recorded["image_grid/y"].shape[1] // x.shape[1]

        def to_grid(y):
            return grid.round_to_uint8(np.moveaxis(y, 0, -1))

        r.check("y", grid.image_grid(x, columns, rows), to_grid, tolerance=0)
        r.check("y_auto", grid.image_grid(x), to_grid, tolerance=0)
    else:
        r.check("y", grid.round_to_uint8(nhwc(recorded["adjust_dynamic_range/x"])[0]), tolerance=0)


def check_lerp(r, case):
    """Compares interpolation at recorded weights; the official lerp_clip is ours at a clipped weight."""
    a, b = (official.load("ops")[f"lerp/{name}"] for name in "ab")
    for name in r.names("t="):
        t = float(name)
        r.check(f"t={name}", ops.lerp(a, b, min(max(t, 0), 1) if case == "lerp_clip" else t))
    if case == "lerp":
        r.take("a"), r.take("b")


PLAIN = {
    "upscale2d": ops.upscale,
    "downscale2d": ops.downscale,
    "leaky_relu": ops.leaky_relu,
    "pixel_norm": ops.pixel_norm,
    "instance_norm": ops.instance_norm,
}


def check_call(r, case):
    """Compares a recorded call of a function of networks_stylegan.py or networks_progan.py."""
    func, kwargs, numbers = call_of(case)
    if func in PLAIN:
        check_gradients(r, lambda x, _: PLAIN[func](x, *numbers))
    elif func == "blur2d":
        check_gradients(r, lambda x, _: ops.blur(x, *(numbers or [[1, 2, 1]]), **kwargs))
    elif "conv2d" in func:
        check_conv(r, func, kwargs, is_progan=case.startswith("progan"))
    elif func == "dense":
        check_dense(r, kwargs)
    elif func == "apply_bias":
        factor = kwargs.get("lrmul", 1)
        check_gradients(r, lambda x, p: ops.add_bias(x, p["bias"] * factor), bias=("bias", np.asarray))
    elif func == "minibatch_stddev_layer":
        group, features = kwargs["group_size"], kwargs["num_new_features"]
        order = names.image_order(len(official.load("ops")[f"{case}/x"]), group)
        check_gradients(r, lambda x, _: ops.minibatch_stddev(x, group, features), x_order=order)
    elif func == "style_mod":
        check_style(r)
    else:
        assert func == "apply_noise", f"no test knows the official function {func!r}"
        check_noise(r)


@pytest.mark.parametrize("case", official.cases("ops"))
def test_operation_and_its_gradients_agree_with_the_official_code(case):
    with Recorded("ops", f"{case}/") as r:
        if case.startswith("get_weight"):
            check_weight_scales(r)
        elif case in ("lerp", "lerp_clip"):
            check_lerp(r, case)
        elif case in ("to_uint8", "from_uint8", "adjust_dynamic_range", "image_grid", "pil"):
            check_image_conversion(r, case)
        else:
            check_call(r, case)


@pytest.mark.parametrize("file", official.files("process_reals.npz"))
def test_real_images_are_processed_as_in_the_official_code(file):
    full = max(array.shape[-1] for array in official.load(file).values())
    process = jax.jit(ops.process_reals)
    with Recorded(file) as r:
        keep = r.take("mask").reshape(-1) < 0.5
        for name in r.names():
            lod, _, kind = name.partition("/")
            if kind.startswith("y"):
                images = nhwc(r.take(f"{lod}/x"))
                resolution, alpha = names.level(official.lod_of(lod), full)
                y = process(images, keep if kind == "y_mirror" else None, alpha)
                r.check(name, ops.upscale(y, full // resolution), nhwc)
