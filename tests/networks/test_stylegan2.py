"""The networks of StyleGAN2 agree with the official code, values and gradients, in every variant."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import pytest

from stylegan_jax.config import Config, Train
from stylegan_jax.networks import discriminator, generator
from stylegan_jax.networks.discriminator import stylegan2 as of_discriminator
from stylegan_jax.networks.layers.mapping import Mapping
from stylegan_jax.training.step import updates
from stylegan_jax.weights.layouts import official as layout
from tests import official, stylegan2
from tests.stylegan2 import load, meta, model_of, nhwc, recorded, tree, under

pytestmark = pytest.mark.goldens


@pytest.mark.parametrize("case", stylegan2.cases("mapping"))
def test_mapping_networks_agree_with_their_gradients_truncation_and_average(case):
    kwargs = dict(meta("mapping")[case]["kwargs"])
    num_ws, beta = kwargs.pop("num_ws"), kwargs.pop("w_avg_beta", 0.995)
    model, params = stylegan2.mapping_model(kwargs), tree(under("mapping", f"{case}/vars/"), "mapping.")
    params = params.get("mapping", {})
    with recorded("mapping", f"{case}/") as r:
        w_avg = stylegan2.take(r, "vars/").get("w_avg")
        z, labels, v = r.take("z"), r.take("c"), r.take("v")
        inputs = (z if kwargs["z_dim"] else None), (labels if kwargs["c_dim"] else None)

        def ws_of(params, z, labels):
            w = Mapping(model).apply({"params": params}, z, labels)
            return w if num_ws is None else jnp.repeat(w[:, None], num_ws, axis=1)

        ws, pull = jax.vjp(ws_of, params, *inputs)
        of_params, *of_inputs = pull(jnp.asarray(v))
        r.check("out", ws)
        stylegan2.check_gradients(r, "grads/", {"mapping": of_params}, "mapping.")
        for name, gradient in zip("zc", of_inputs, strict=True):
            if gradient is not None:
                r.check(f"grad_{name}", gradient)
        if w_avg is None:
            return
        for name in ("psi0.7", "psi0.5_cutoff3", "psi-1.2"):
            psi, _, cutoff = name.removeprefix("psi").partition("_cutoff")
            r.check(f"out_{name}", generator.truncate(ws, w_avg, float(psi), int(cutoff) if cutoff else None))
        r.check("w_avg_after_skip", w_avg)
        other, averages = ws_of(params, 0.3 * z + 0.5, inputs[1]), [w_avg]
        for batch in (ws, other):
            now = types.SimpleNamespace(w_avg=averages[-1])
            averages.append(updates.track_w(now, jnp.mean(batch[:, 0], axis=0), Config(train=Train(w_avg_beta=beta))))
        r.check("w_avg_after_1", averages[1])
        r.check("w_avg_after_2", averages[2])
        r.check("out_train_psi0.7", generator.truncate(other, averages[2], 0.7))


@functools.partial(jax.jit, static_argnames="model")
def synthesis(params, ws, noise, v, *, model):
    """Returns images and the gradients of their sum times `v`."""

    def weighted(params, ws):
        images = generator.synthesis(model).apply({"params": params}, ws, noise, None, resolution=model.resolution)
        return jnp.sum(images * v), images

    (_, images), grads = jax.value_and_grad(weighted, (0, 1), has_aux=True)(params, ws)
    return images, *grads


@pytest.mark.parametrize("case", stylegan2.cases("synthesis"))
def test_synthesis_networks_and_their_gradients_agree(case):
    kwargs = meta("synthesis")[case]["kwargs"] | {"z_dim": 1}
    with recorded("synthesis", f"{case}/") as r:
        arrays, ws, v = stylegan2.take(r, "vars/"), r.take("ws"), nhwc(r.take("v"))
        model = model_of("G_stylegan2", kwargs, arrays, "synthesis.")
        maps = {"const": arrays, "none": {}, "random": stylegan2.take(r, "noise/")}
        for mode in [mode for mode in maps if f"{mode}/out" in r]:
            noise, params = stylegan2.noise_of(maps[mode], model), tree(arrays, "synthesis.")["synthesis"]
            images, of_params, of_ws = synthesis(params, ws, noise, v, model=model)
            r.check(f"{mode}/out", images, nhwc)
            r.check(f"{mode}/grad_ws", of_ws)
            stylegan2.check_gradients(r, f"{mode}/grads/", {"synthesis": of_params}, "synthesis.")


@functools.partial(jax.jit, static_argnames="model")
def scores(params, images, labels, v, *, model):
    """Returns scores and the gradients of their sum times `v`."""

    def weighted(params, images):
        found = discriminator.discriminator(model).apply(
            {"params": params}, images, labels, None, resolution=model.resolution
        )
        return jnp.sum(found * v), found

    (_, found), grads = jax.value_and_grad(weighted, (0, 1), has_aux=True)(params, images)
    return found, *grads


@pytest.mark.parametrize("case", stylegan2.cases("discriminator"))
def test_discriminators_and_their_gradients_agree(case, monkeypatch):
    how = meta("discriminator")[case]
    kwargs, n = dict(how["kwargs"]), how["batch"]
    group = kwargs.get("epilogue_kwargs", {}).get("mbstd_group_size", 4)
    if group is None:  # The whole batch.
        kwargs["epilogue_kwargs"] = kwargs["epilogue_kwargs"] | {"mbstd_group_size": n}
    own = kwargs.get("mapping_kwargs", {})
    sizes = {"mapping_fmaps": own.get("layer_features"), "embed_size": own.get("embed_features")}
    if any(sizes.values()):  # No model has these settings.
        of_labels = of_discriminator.label_mapping
        monkeypatch.setattr(
            of_discriminator, "label_mapping", lambda model: dataclasses.replace(of_labels(model), **sizes)
        )
        kwargs["mapping_kwargs"] = {k: v for k, v in own.items() if k in ("num_layers", "lr_multiplier")}
    with recorded("discriminator", f"{case}/") as r:
        arrays = stylegan2.take(r, "vars/")
        model, order = model_of("D_stylegan2", kwargs, arrays), layout.image_order(n, group or n)
        in_order, values_in_order = official.converters(order)
        images = in_order(load("discriminator")[how["images"]][:n])
        labels = load("discriminator")[how["labels"]][:n][order] if how["labels"] else None
        v = values_in_order(r.take("v"))
        found, of_params, of_images = scores(tree(arrays), images, labels, v, model=model)
        r.check("out", found, values_in_order)
        r.check("grad_images", of_images, in_order)
        stylegan2.check_gradients(r, "grads/", of_params)
