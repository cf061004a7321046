"""Compiles parts of the networks for an H100, which need not be here, and prints their programs' contents as JSON.

python -m tests.gpu_cases, with XLA's CUDA plugin installed; test_gpu_program.py runs it in a process of its own.
"""

import collections
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp

from stylegan_jax.config import Model, from_dict
from stylegan_jax.devices import backend, gpu_program, mesh, topology
from stylegan_jax.networks import convolutions, discriminator, generator, layers
from stylegan_jax.training import programs, state

BATCH, PX = 4, 256  # Batch and resolution; the paper's model has 64 maps there, and 128 at half the resolution.
MODEL = Model(compute_dtype="bfloat16")
MODEL2 = dataclasses.replace(MODEL, architecture="stylegan2", conv_clamp=256.0)


def penalized(fn, params, x, *others):
    """Returns the gradients of the sum of fn's squares and, as R1 needs, of the squared gradient by x."""

    def loss(params, x):
        y, pull = jax.vjp(lambda x: fn(params, x, *others), x)
        (x_grad,) = pull(jnp.ones_like(y))
        return jnp.sum(y.astype(jnp.float32) ** 2) + jnp.sum(x_grad.astype(jnp.float32) ** 2)

    return jax.grad(loss, argnums=(0, 1))(params, x)


def resampling(name: str, dtype: str, size: int, channels: int, features: int):
    """Returns (function, arguments): a convolution with resampling and all its derivatives."""
    x = jax.ShapeDtypeStruct((BATCH, size, size, channels), dtype)
    weight = jax.ShapeDtypeStruct((3, 3, channels, features), jnp.float32)
    conv = getattr(convolutions, name)
    return functools.partial(penalized, lambda weight, x: conv(x, weight, 0.5)), (weight, x)


def synthesis_blocks(name: str, model: Model, g):
    """Yields (name, function, arguments) of the generator's block `g`."""
    x = jnp.zeros((BATCH, PX // 2, PX // 2, model.fmaps(PX // 2)), jnp.bfloat16)
    ws, noise = jnp.zeros((BATCH, 2, model.w_size)), [jnp.zeros((BATCH, PX, PX, 1))] * 2
    params = jax.eval_shape(g.init, jax.random.key(0), x, ws, noise)

    def gradients(params, x, ws, noise):
        def loss(params, x, ws):
            return jnp.sum(g.apply(params, x, ws, noise).astype(jnp.float32) ** 2)

        return jax.grad(loss, argnums=(0, 1, 2))(params, x, ws)

    def path_gradients(params, x, ws, noise):
        return penalized(lambda params, ws: g.apply(params, x, ws, noise), params, ws)

    yield f"{name}synthesis block", gradients, (params, x, ws, noise)
    yield f"{name}synthesis block, forward", g.apply, (params, x, ws, noise)
    if model.architecture == "stylegan2":
        yield f"{name}synthesis block, path lengths", path_gradients, (params, x, ws, noise)


def discriminator_blocks(name: str, model: Model, d, color):
    """Yields (name, function, arguments) of the discriminator's block `d` and its layer from RGB, with R1."""
    x, image = (jnp.zeros((BATCH, PX, PX, c), jnp.bfloat16) for c in (model.fmaps(PX), 3))
    params = jax.eval_shape(color.init, jax.random.key(0), image)
    yield f"{name}from RGB, R1", functools.partial(penalized, color.apply), (params, image)
    params = jax.eval_shape(d.init, jax.random.key(0), x)
    yield f"{name}discriminator block, R1", functools.partial(penalized, d.apply), (params, x)


def blocks():
    """Yields (name, function, arguments) of a block of each network."""
    g, d = generator.stylegan, discriminator.stylegan
    color = layers.FromRGB(MODEL.fmaps(PX), "lrelu")
    yield from synthesis_blocks("", MODEL, g.SynthesisBlock(MODEL, PX))
    yield from discriminator_blocks("", MODEL, d.DiscriminatorBlock(MODEL, PX), color)
    model, g, d = MODEL2, generator.stylegan2, discriminator.stylegan2
    color = layers.FromRGB(model.fmaps(PX), "lrelu", clamp=model.conv_clamp)
    yield from synthesis_blocks("StyleGAN2, ", model, g.SynthesisBlock(model, PX))
    yield from discriminator_blocks("StyleGAN2, ", model, d.DiscriminatorBlock(model, PX), color)


def contents(text: str) -> dict:
    """Returns the bytes, convolutions and all-reduces of a compiled program."""
    kernels = gpu_program.kernels(text)
    convolutions_of = collections.Counter(f"{k.call} {k.window}" for k in kernels if k.window)
    return {
        "bytes": sum(k.count * k.num_bytes for k in kernels),
        "convolutions": dict(sorted(convolutions_of.items())),
        "unrecognized": sum(not k.is_recognized for k in kernels),
        "all-reduces": sum(k.count for k in kernels if k.call.startswith("all-reduce")),
    }


def cases():
    """Yields (name, function, arguments)."""
    for dtype in ("float32", "bfloat16"):
        yield f"upscale_conv, {dtype}", *resampling("upscale_conv", dtype, PX // 2, 128, 64)
        yield f"conv_downscale, {dtype}", *resampling("conv_downscale", dtype, PX, 64, 128)
    yield from blocks()


def step_text(devices: jax.sharding.Mesh) -> str:
    """Returns four compiled training steps of the paper's model at 8 px; XLA would split gradients of this size."""
    config = from_dict({"model": {"compute_dtype": "bfloat16"}})
    return programs.train_program(
        config, state.abstract(config, mesh.replicated(devices)), devices, 8, 8, 8, num_steps=4
    ).as_text()


def main() -> None:
    """Prints {case: {"bytes": ..., "convolutions": {kind: number}, "unrecognized": ..., "all-reduces": ...}}."""
    two = topology.devices("h100:2")
    devices = mesh.make_mesh(two[:1])
    whole = mesh.replicated(devices)
    results = {}
    for name, fn, args in cases():
        placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), args)
        with backend.forms_for(devices.devices.flat[0]):  # In shard_map, as in training: it gives Pallas the device.
            jitted = jax.jit(mesh.per_device(fn, mesh.split(devices), whole.spec, whole.spec))
            results[name] = contents(jitted.lower(*placed).compile(programs.COMPILER_OPTIONS["gpu"]).as_text())
    results["four steps on two devices"] = contents(step_text(mesh.make_mesh(two)))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
