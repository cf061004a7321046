"""Networks agree with the arrays recorded from the official code."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.networks import discriminator, generator, layers, ops, sampling
from stylegan_jax.training import losses
from stylegan_jax.weights.layouts import official as names
from stylegan_jax.weights.layouts.official import nhwc
from tests import official
from tests.official import Recorded

pytestmark = pytest.mark.goldens


@functools.partial(jax.jit, static_argnames=("model", "num_layers"))
def mapping_and_gradients(params, z, labels, dy, *, model, num_layers):
    def ws(params, z):
        w = generator.Mapping(model).apply({"params": params}, z, labels)
        return w if num_layers is None else jnp.repeat(w[:, None], num_layers, axis=1)

    y, pull = jax.vjp(ws, params, z)
    return y, *pull(dy)


@pytest.mark.parametrize("case", official.cases("mapping"))
def test_mapping_and_its_gradients_agree_with_the_official_code(case):
    with Recorded("mapping", f"{case}/") as r:
        network = r.take_network("vars")
        labels = r.take("labels") if network.model.num_labels else None
        y, d_params, d_z = mapping_and_gradients(
            network.params["mapping"], r.take("latents"), labels, r.take("dy"), model=network.model,
            num_layers=network.kwargs.get("dlatent_broadcast"),
        )  # fmt: skip
        r.check("dlatents_out", y)
        r.check("d_latents", d_z)
        network.check_tree(r, "grads/", {"mapping": d_params})


@functools.partial(jax.jit, static_argnames="model")
def synthesis_gradients(params, ws, noise, dy, *, model):
    def apply(p, w):
        return generator.synthesis(model).apply({"params": p}, w, noise, jnp.ones(()), resolution=model.resolution)

    return jax.vjp(apply, params, ws)[1](dy)


@pytest.mark.parametrize("file", official.files("synthesis.npz"))
def test_synthesis_and_its_gradients_agree_with_the_official_code(file):
    overrides = {"fused1": {"fused_scale": True}, "fused0": {"fused_scale": False}, "noblur": {"blur_filter": None}}
    with Recorded(file) as r:
        network, ws = r.take_network("vars"), r.take("dlatents_in")
        for name in r.names("images/"):
            r.check(f"images/{name}", official.images_at(network, ws, official.lod_of(name)), nhwc)
        for name in r.names("images_"):
            other = r.take_network("vars", **overrides[name.split("/")[0]])
            r.check(f"images_{name}", official.images_at(other, ws, official.lod_of(name)), nhwc)
        dy = nhwc(r.take("dy"))
        d_params, d_ws = synthesis_gradients(network.params["synthesis"], ws, network.noise, dy, model=network.model)
        r.check("d_dlatents", d_ws)
        network.check_tree(r, "grads/", {"synthesis": d_params})


@pytest.mark.parametrize("file", official.files("synthesis_layers.npz"))
def test_each_layer_of_synthesis_agrees_with_the_official_code(file):
    inputs = official.load("synthesis")
    network = official.Network.read("synthesis", "vars")
    model, ws = network.model, inputs["dlatents_in"]
    _, captured = generator.synthesis(model).apply(
        {"params": network.params["synthesis"]}, ws, network.noise, jnp.ones(()), resolution=model.resolution,
        capture_intermediates=True, mutable=["intermediates"],
    )  # fmt: skip
    blocks, last = captured["intermediates"], len(model.resolutions) - 1
    with Recorded(file) as r:
        for name in r.names():
            lod, layer = official.lod_of(name), name.partition("/")[2]
            block = re.fullmatch(r"(\d+)x\d+/(\w+)", layer)
            image = re.fullmatch(r"(?:Grow_lod(\d+)|Upscale2D_?(\d*)|images_out)", layer)
            if block:
                epilogue = "epilogue0" if block[2] in ("Const", "Dense", "Conv0_up") else "epilogue1"
                y = blocks[f"b{block[1]}"][epilogue]["__call__"][0]
            elif layer.startswith("ToRGB_lod"):
                y = blocks[f"to_rgb{model.resolution >> int(layer[9:])}"]["__call__"][0]
            elif layer.startswith("Upscale2D"):
                k = last - int(image[2] or 0)  # The image that is enlarged has this level of detail.
                y = official.images_at(network, ws, max(lod, k), 2 * (model.resolution >> k))
            else:
                assert image is not None, f"unknown layer {layer!r}"
                k = int(image[1] or 0)
                y = official.images_at(network, ws, max(lod, k), model.resolution >> k)
            r.check(name, y[:1], nhwc)


@pytest.mark.parametrize("file", official.files("auto128.npz"))
def test_networks_with_fused_resampling_agree_with_the_official_code(file):
    with Recorded(file) as r:
        g, d = r.take_network("G/vars"), r.take_network("D/vars")
        images = official.load(file)["G/images/lod=0"]
        for name in r.names("G/images/"):
            r.check(f"G/images/{name}", official.images_at(g, r.take("G/dlatents_in"), official.lod_of(name)), nhwc)
        for name in r.names("D/scores/"):
            r.check(f"D/scores/{name}", official.scores_at(d, images, None, official.lod_of(name)))


def truncate(network, ws, kwargs):
    """Returns `ws` truncated by official keyword arguments."""
    kwargs = {"truncation_psi": 0.7, "truncation_cutoff": 8} | network.kwargs | kwargs
    suffix = "_val" if kwargs.get("is_validation") else ""
    psi, cutoff = kwargs.get("truncation_psi" + suffix), kwargs.get("truncation_cutoff" + suffix)
    return ws if psi is None or cutoff is None else generator.truncate(ws, jnp.asarray(network.w_avg), psi, cutoff)


def broadcast_ws(network, z, labels):
    """Returns w of every layer, from latents."""
    w = official.map_latents(network.params["mapping"], z, labels, model=network.model)
    return jnp.repeat(w[:, None], network.model.num_layers, axis=1)


@pytest.mark.parametrize("file", official.files("g_style.npz") + official.files("g_style_cond.npz"))
def test_truncated_generator_agrees_with_the_official_code(file):
    with Recorded(file) as r:
        network = r.take_network("vars")
        untruncated = broadcast_ws(network, r.take("latents"), r.take("labels") if "labels" in r else None)
        for name in r.names("images/"):
            ws = truncate(network, untruncated, official.meta(file)["cases"][name])
            r.check(f"dlatents/{name}", ws)
            r.check(f"images/{name}", official.images_at(network, ws, official.lod_of(name)), nhwc)


@pytest.mark.parametrize("case", official.cases("ablations"))
def test_ablation_agrees_with_the_official_code(case):
    with Recorded("ablations", f"{case}/") as r:
        network = r.take_network("vars")
        ws = broadcast_ws(network, r.take("latents"), r.take("labels") if "labels" in r else None)
        r.check("dlatents", ws)
        for name in r.names("images/"):
            truncated = truncate(network, ws, {"is_validation": name.startswith("validation/")})
            r.check(f"images/{name}", official.images_at(network, truncated, official.lod_of(name)), nhwc)


@pytest.mark.parametrize("file", official.files("g_style_train.npz"))
def test_training_generator_mixes_styles_and_tracks_w_as_the_official_code(file):
    with Recorded(file) as r:
        network, before = r.take_network("vars"), r.take("dlatent_avg_before")
        model, z, z_mix = network.model, r.take("latents"), r.take("latents2")
        labels = r.take("labels") if "labels" in r else None
        noise = tuple(nhwc(r.take(f"noise{i}")) for i in range(2 * len(model.resolutions)))
        for name in r.names("images/"):
            case = official.meta(file)["cases"][name]
            cutoff = model.num_layers
            if case["uniform_draw"] is not None:  # Without mixing, layers that are not in use still take the second w.
                is_mixed = case["uniform_draw"] < case["kw"]["style_mixing_prob"]
                cutoff = case["cutoff_draw"] if is_mixed else case["cur_layers"]
            cutoff = np.full(len(z), cutoff)
            resolution, alpha = names.level(official.lod_of(name), model.resolution)
            latents = sampling.Latents(z, z_mix, cutoff, noise)
            images, w_mean = official.generate(
                network.params, latents, labels, alpha, model=model, resolution=resolution
            )
            r.check(f"images/{name}", ops.upscale(images, model.resolution // resolution), nhwc)
            w, w_mix = (official.map_latents(network.params["mapping"], x, labels, model=model) for x in (z, z_mix))
            r.check(f"dlatents/{name}", generator.mix_styles(w, w_mix, cutoff, model.num_layers))
            beta = case["kw"].get("dlatent_avg_beta", 0.995)
            r.check(f"dlatent_avg_after/{name}", ops.lerp(w_mean, before, beta))


def variant_network(r, name):
    """Returns the discriminator that a score names: a recorded one, or one with a setting changed."""
    if f"{r.prefix}{name}/vars" in official.meta(r.file):
        return r.take_network(f"{name}/vars")
    base, _, change = name.rpartition("_")
    group = re.fullmatch(r"g(\d+)", change)
    if group:
        return r.take_network(f"{base}/vars", mbstd_group_size=int(group[1]))
    overrides = {"fused1": {"fused_scale": True}, "fused0": {"fused_scale": False}, "noblur": {"blur_filter": None}}
    assert change in overrides or re.fullmatch(r"n\d+", change), f"unknown change of a network {change!r}"
    return r.take_network(f"{base}/vars", **overrides.get(change, {}))


@functools.partial(jax.jit, static_argnames="model")
def r1_and_gradients(params, images, *, model):
    def penalty(params):
        def score(x):
            d = discriminator.discriminator(model)
            return d.apply({"params": params}, x, None, jnp.ones(()), resolution=model.resolution)

        _, gradients = losses.scores_and_gradients(score, images)
        values = losses.squared_gradient_norm(gradients, 1)
        return jnp.sum(values), (gradients, values)

    return jax.grad(penalty, has_aux=True)(params)


@pytest.mark.parametrize("file", official.files("d_basic.npz"))
def test_discriminator_and_its_second_derivatives_agree_with_the_official_code(file):
    with Recorded(file) as r:
        images = r.take("images")
        labels = r.take("labels") if "labels" in r else None
        for name in r.names("scores/"):
            network = variant_network(r, name.split("/")[0])
            n = len(official.load(file)[f"scores/{name}"])
            own_labels = None if labels is None else labels[:n]
            scores = official.scores_at(network, images[:n], own_labels, official.lod_of(name))
            r.check(f"scores/{name}", scores)
        if r.names("r1/"):
            network, n = r.take_network("plain/vars"), len(official.load(file)["r1/penalty"])
            order = names.image_order(n, network.model.stddev_group)
            grads, (d_images, penalty) = r1_and_gradients(network.params, nhwc(images[:n])[order], model=network.model)
            r.check("r1/d_images", d_images, lambda a: nhwc(a)[order])
            r.check("r1/penalty", penalty, lambda a: a[order])
            network.check_tree(r, "r1/grads/", grads)
        if r.names("layers/"):
            check_discriminator_layers(r, r.take_network("plain/vars"), images)


def check_discriminator_layers(r, network, images):
    """Compares features of the first image of the batch."""
    model = network.model
    images = nhwc(images)[names.image_order(len(images), model.stddev_group)]
    scores, captured = discriminator.discriminator(model).apply(
        {"params": network.params}, images, None, jnp.ones(()), resolution=model.resolution,
        capture_intermediates=True, mutable=["intermediates"],
    )  # fmt: skip
    act = ops.NONLINEARITIES[model.nonlinearity]

    def output(*path):
        return functools.reduce(lambda d, p: d[p], path, captured["intermediates"])["__call__"][0]

    for name in r.names("layers/"):
        level = re.search(r"lod(\d+)", name)
        resolution = model.resolution >> int(level[1]) if level else None
        block = re.fullmatch(r"(\d+)x\d+/(Conv0|Conv1_down)", name)
        if block and block[2] == "Conv0":  # Ours includes the blur, the recorded one does not.
            size = int(block[1])
            before = output(f"from_rgb{size}") if size == model.resolution else output(f"b{2 * size}")
            conv0 = layers.Conv(model.fmaps(size), use_equalized_lr=model.use_equalized_lr)
            y = act(conv0.apply({"params": network.params[f"b{size}"]["conv0"]}, before))
        elif block:
            y = output(f"b{block[1]}", "conv1")
        elif name.startswith("FromRGB"):
            y = output(f"from_rgb{resolution}")
        elif name.startswith("Grow"):
            y = output(f"b{resolution}")
        elif name.startswith("Downscale2D"):
            y = ops.downscale(images, 2 ** (int(name.partition("_")[2] or 0) + 1))
        elif name == "4x4/MinibatchStddev":
            y = ops.minibatch_stddev(output("b8"), model.stddev_group, model.stddev_features)
        elif name in ("4x4/Conv", "4x4/Dense0"):
            y = output(name[4:].lower())
        else:
            y = {"4x4/Dense1": output("dense1"), "scores_out": scores[:, None]}[name]
        r.check(f"layers/{name}", y[:1], nhwc)


def downscale_after_nonlinearity(call, args, kwargs, context):
    """Turns a discriminator's block into that of the official D_paper without fusing.

    Differs: only there does the nonlinearity come before the downscale. Ours is the fused one, the official default.
    """
    block = context.module
    if not isinstance(block, discriminator.BLOCKS) or context.method_name != "__call__":
        return call(*args, **kwargs)
    blocks_conv = functools.partial(layers.Conv, use_equalized_lr=block.model.use_equalized_lr)
    act, params, x = ops.NONLINEARITIES[block.model.nonlinearity], block.variables["params"], args[0]
    for name in ("conv0", "conv1"):
        features = params[name]["bias"].shape[0]
        x = act(blocks_conv(features, parent=None).apply({"params": params[name]}, x))
    return ops.downscale(x)


@pytest.mark.parametrize("file", official.files("progan.npz"))
def test_progressive_gan_networks_agree_with_the_official_code(file):
    with Recorded(file) as r:
        latents, images, labels = (r.take(name) for name in ("latents", "images", "labels"))
        for name in r.names():
            case, _, rest = name.partition("/")
            kind = rest.split("/")[0]
            if kind == "images":
                network, n = r.take_network(f"{case}/vars"), len(official.load(file)[name])
                own_labels = labels[:n] if network.model.num_labels else None
                ws = broadcast_ws(network, latents[:n], own_labels)
                r.check(name, official.images_at(network, ws, official.lod_of(name)), nhwc)
            elif kind == "scores":
                network, n = r.take_network(f"{case}/vars"), len(official.load(file)[name])
                if network.kwargs.get("fused_scale", True):
                    scores = official.scores_at(network, images[:n], None, official.lod_of(name))
                else:
                    with nn.intercept_methods(downscale_after_nonlinearity), jax.disable_jit():
                        scores = official.scores_at(network, images[:n], None, official.lod_of(name))
                r.check(name, scores)
