"""Times each form of convolutions with resampling on this device: python -m experiments.benchmark.resampling.

"dilated" is the obvious form on a GPU: one convolution over a picture enlarged with zeros, or with stride 2, with JAX's
own derivatives.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags, logging
from jax import Array

from experiments.benchmark import measure, options, summary
from stylegan_jax.config import Model
from stylegan_jax.networks import convolutions

CASES = flags.DEFINE_string("cases", "128:32,1024:4", "High resolutions and batches; channels are the paper's.")
PRECISION = flags.DEFINE_enum("precision", "both", [*measure.PRECISIONS, "both"], "Precision of the factors.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Timings of each program; their median counts.", lower_bound=1)

HEADER = ("convolution", "px", "batch", "precision", "form", "forward ms", "with gradients and R1 ms")


def dilated_upscale_conv(x: Array, weight: Array, scale: float) -> Array:
    """Returns what convolutions.upscale_conv does, as one convolution over a picture enlarged with zeros."""
    kernel = jax.lax.rev(convolutions._sum_of_shifted(jax.lax.rev(weight, (0, 1))), (0, 1))
    kernel = (kernel * scale).astype(x.dtype)
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((2, 2),) * 2, (2, 2), dimension_numbers=dims)


def dilated_conv_downscale(x: Array, weight: Array, scale: float) -> Array:
    """Returns what convolutions.conv_downscale does, as one convolution with stride 2."""
    kernel = (convolutions._sum_of_shifted(weight) * (scale / 4)).astype(x.dtype)
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))


FORMS: dict[str, dict[str, Callable[[Array, Array, float], Array]]] = {
    "upscale_conv": {
        "dilated": dilated_upscale_conv,
        "plain": convolutions.plain_upscale_conv,
        "strided": convolutions.strided_upscale_conv,
    },
    "conv_downscale": {
        "dilated": dilated_conv_downscale,
        "plain": convolutions.plain_conv_downscale,
        "strided": convolutions.strided_conv_downscale,
    },
}


def penalized(conv: Callable[..., Array], x: Array, weight: Array) -> tuple[Array, Array]:
    """Returns the gradients of sum(y**2) + sum(x_grad**2), where x_grad is the gradient of sum(y**2) / 2 by x."""

    def loss(x: Array, weight: Array) -> Array:
        y, pull = jax.vjp(lambda x: conv(x, weight, 0.5), x)
        (x_grad,) = pull(y)
        return jnp.sum(x_grad.astype(jnp.float32) ** 2) + jnp.sum(y.astype(jnp.float32) ** 2)

    return jax.grad(loss, argnums=(0, 1))(x, weight)


def milliseconds(fn: Callable[..., Any], *args: Array) -> str:
    """Returns the median time of a call, or "-" where it does not fit."""
    try:
        return f"{1000 * measure.seconds_per_call(functools.partial(jax.jit(fn), *args), REPEATS.value):.2f}"
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return "-"


def main(argv: list[str]) -> None:
    """Measures as the flags say, and prints a table."""
    logging.set_verbosity(logging.WARNING)
    model = Model()
    try:
        options.check_no_arguments(argv)
        cases = options.pairs("cases", CASES.value, model.resolutions[1:])
    except ValueError as error:
        sys.exit(f"error: {error}.")
    rows = []
    for px, batch in cases:
        for dtype in measure.PRECISIONS if PRECISION.value == "both" else (PRECISION.value,):
            for name, forms in FORMS.items():
                sides = (
                    (px // 2, model.fmaps(px // 2), model.fmaps(px))
                    if name == "upscale_conv"
                    else (px, model.fmaps(px), model.fmaps(px // 2))
                )
                size, channels, features = sides
                x = jax.random.normal(jax.random.key(0), (batch, size, size, channels)).astype(dtype)
                weight = jax.random.normal(jax.random.key(1), (3, 3, channels, features))
                for form, conv in forms.items():
                    forward = milliseconds(functools.partial(conv, scale=0.5), x, weight)
                    both = milliseconds(functools.partial(penalized, conv), x, weight)
                    rows.append((name, str(px), str(batch), dtype, form, forward, both))
                    print("  ".join(rows[-1]), flush=True)
    print(f"\n{jax.devices()[0].device_kind}\n" + summary.aligned([HEADER, *rows]))


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
