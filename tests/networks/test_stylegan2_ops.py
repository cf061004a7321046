"""Single operations of StyleGAN2 agree with the official code, values and gradients.

Without a counterpart here are asymmetric and turned filters, convolutions in groups, other activations, and weights
modulated by other kernels than the networks have. The other convolutions are compared as parts of networks.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Model
from stylegan_jax.networks import activations, convolutions, layers, ops
from stylegan_jax.networks.discriminator import stylegan2 as of_discriminator
from stylegan_jax.networks.generator import stylegan2 as of_generator
from stylegan_jax.weights.layouts import official as layout
from stylegan_jax.weights.layouts.official import rotate
from tests import stylegan2
from tests.stylegan2 import load, nhwc, recorded

pytestmark = [
    pytest.mark.goldens,
    pytest.mark.skipif(not stylegan2.exists("ops"), reason="the selection has no single operations"),
]
HWIO = (2, 3, 1, 0)
MODEL = Model(architecture="stylegan2")
TAPS = MODEL.blur_filter


def check(r, names, fn, *inputs, order_fn=nhwc, converts=None):
    """Compares a function's value, and its gradients by its inputs, with the recorded ones of these names."""
    out, pull = jax.vjp(fn, *inputs)
    r.check("out", out, order_fn)
    for name, gradient, convert in zip(names, pull(jnp.asarray(order_fn(r.take("v")))), converts, strict=True):
        r.check(name, gradient, convert)


def test_latents_are_normalized():
    with recorded("ops", "norm2/") as r:
        check(r, ["grad_x"], ops.pixel_norm, r.take("x"), order_fn=np.asarray, converts=[np.asarray])


@pytest.mark.parametrize(
    ("case", "group", "features"),
    [("N8_G4_F1", 4, 1), ("N8_G4_F2", 4, 2), ("N6_G3_F1", 3, 1), ("N4_GNone_F1", 4, 1), ("N2_G4_F1", 4, 1)]
    + [("N12_G4_F3", 4, 3)],
)
def test_the_minibatch_deviation_agrees(case, group, features):
    with recorded("ops", f"mbstd/{case}/") as r:
        x = r.take("x")
        order = layout.image_order(len(x), group)

        def in_order(value):
            return nhwc(value)[order]

        deviation_fn = functools.partial(ops.minibatch_stddev, group=group, num_features=features)
        check(r, ["grad_x"], deviation_fn, in_order(x), order_fn=in_order, converts=[in_order])


@pytest.mark.parametrize(
    ("case", "act", "lr_multiplier"),
    [("linear", None, 1.0), ("lrelu_lrmul", "lrelu", 0.01), ("nobias_relu", "relu", 0.5)],
)
def test_dense_layers_agree(case, act, lr_multiplier):
    with recorded("ops", f"fc/{case}/") as r:
        params = {name: np.transpose(value) for name, value in stylegan2.take(r, "vars/").items()}
        gain = layers.RELU_GAIN if act else 1.0
        bias_fn = functools.partial(activations.bias_act, nonlinearity=act) if act else ops.add_bias
        bias = params.setdefault("bias", np.zeros(params["weight"].shape[1], np.float32))
        dense = layers.Dense(
            len(bias), gain=gain, bias_gain=gain, lr_multiplier=lr_multiplier, bias_fn=bias_fn, precision="highest"
        )

        def fn(x, params):
            return dense.apply({"params": params}, x)

        out, pull = jax.vjp(fn, r.take("x"), params)
        of_x, of_params = pull(jnp.asarray(r.take("v")))
        r.check("out", out)
        r.check("grad_x", of_x)
        for name in r.names("grad_"):
            if name != "x":
                r.check(f"grad_{name}", of_params[name], np.transpose)


@pytest.mark.parametrize(
    ("case", "act", "clamp"), [("lrelu", "lrelu", None), ("relu", "relu", None), ("lrelu_gain_clamp", "lrelu", 0.8)]
)
def test_bias_and_activation_agree(case, act, clamp):
    gain = 1.0 if clamp else layers.RELU_GAIN  # In the networks the gain is in weights and biases.
    x, b = nhwc(load("ops")["bias_act/x"]), load("ops")["bias_act/b"]
    with recorded("ops", f"bias_act/{case}/") as r:

        def fn(x, b):
            return activations.bias_act(gain * x, gain * b, act, clamp)

        check(r, ["grad_x", "grad_b"], fn, x, b, converts=[nhwc, np.asarray])


@pytest.mark.parametrize(("case", "taps"), [("upsample2d", (1, 2, 1)), ("upsample2d_121", (1, 1))])
def test_enlarging_through_the_filter_agrees(case, taps):
    model, x = Model(architecture="stylegan2", blur_filter=taps), nhwc(load("ops")["fir/x"])
    with recorded("ops", f"fir/{case}/") as r:
        check(r, ["grad_x"], functools.partial(of_generator.upscaled, model=model), x, converts=[nhwc])


@pytest.mark.parametrize(("case", "taps"), [("downsample2d", (1, 2, 1)), ("downsample2d_121", (1, 1))])
def test_reducing_through_the_filter_agrees(case, taps):
    x = nhwc(load("ops")["fir/x"])

    def fn(x):  # It has an odd width, which no picture here has.
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)))
        return ops.downscale(ops.low_pass(x, taps))[:, :, :3]

    with recorded("ops", f"fir/{case}/") as r:
        check(r, ["grad_x"], fn, x, converts=[nhwc])


@pytest.mark.parametrize("case", ["k1_fromrgb", "k3_down_gain_clamp", "k1_skip_down", "k1_skip_up"])
def test_convolutions_with_what_is_around_them_agree(case):
    gain, bounded = layers.HALF_POWER, Model(architecture="stylegan2", conv_clamp=0.7)
    down, low_pass = functools.partial(convolutions.conv_downscale, ring=1), functools.partial(ops.low_pass, taps=TAPS)
    skip, upscaled = layers.Conv(5, 1, gain=gain, bias_fn=None), functools.partial(of_generator.upscaled, model=MODEL)
    layer, before, after = {
        "k1_fromrgb": (layers.FromRGB(5, "lrelu", bias_gain=layers.RELU_GAIN), None, None),
        "k3_down_gain_clamp": (
            of_discriminator._conv(bounded, 5, gain, conv_fn=down),
            lambda x: low_pass(x, ring=1),
            None,
        ),
        "k1_skip_down": (skip, lambda x: ops.downscale(low_pass(x)), None),
        "k1_skip_up": (skip, None, upscaled),
    }[case]

    def fn(x, params):
        y = layer.apply({"params": params}, before(x) if before else x)
        return after(y) if after else y

    with recorded("ops", f"conv2d/{case}/") as r:
        params = {name: _hwio(value) for name, value in stylegan2.take(r, "vars/").items()}
        out, pull = jax.vjp(fn, nhwc(r.take("x")), params)
        of_x, of_params = pull(jnp.asarray(nhwc(r.take("v"))))
        r.check("out", out, nhwc)
        r.check("grad_x", of_x, nhwc)
        for name, gradient in of_params.items():
            r.check(f"grad_{name}", gradient, _hwio)


def _hwio(value):
    """Returns a kernel in our order of axes, or a bias."""
    return value.transpose(HWIO) if value.ndim == 4 else value


@pytest.mark.parametrize("noise", ["none", "batch", "shared"])
@pytest.mark.parametrize("up", [1, 2])
def test_modulated_convolutions_agree(up, noise):
    """A layer has an activation too, whose slope the functional is divided by."""
    arrays = load("ops")
    x, styles = nhwc(arrays["modconv/x"]), arrays["modconv/styles"]
    turn = rotate if up == 2 else np.asarray

    def kernel(value):
        return turn(value.transpose(HWIO))

    maps = None if noise == "none" else arrays[f"modconv/noise_{noise}_up{up}"]
    maps = maps if maps is None else maps[None, :, :, None] if maps.ndim == 2 else nhwc(maps)
    layer = of_generator.Layer(MODEL, 5, upscales=up == 2)
    c = x.shape[-1]
    params = {
        "style": {"weight": np.sqrt(c) * np.eye(c, dtype=np.float32), "bias": np.zeros(c, np.float32)},
        "noise_strength": np.ones(1, np.float32), "bias": np.zeros(5, np.float32),
    }  # fmt: skip

    def fn(x, weight, styles, maps):
        return layer.apply({"params": params | {"weight": weight}}, x, styles, maps)

    def activated(value):
        return layers.RELU_GAIN * np.where(value > 0, value, 0.2 * value)

    with recorded("ops", f"modconv/k3_up{up}_demod_noise-{noise}/") as r:
        out, pull = jax.vjp(fn, x, kernel(arrays["modconv/w_k3"]), styles, maps)
        v, before = nhwc(r.take("v")), nhwc(r.take("out"))
        for name in r.names("out"):
            r.check(f"out{name}", out, lambda value: activated(nhwc(value)))
        of_x, of_weight, of_styles, of_noise = pull(jnp.asarray(v / (layers.RELU_GAIN * np.where(before > 0, 1, 0.2))))
        r.check("grad_x", of_x, nhwc)
        r.check("grad_w", of_weight, kernel)
        r.check("grad_styles", of_styles)
        if maps is not None:
            r.check("grad_noise", of_noise, lambda g: g[None, :, :, None] if g.ndim == 2 else nhwc(g))
