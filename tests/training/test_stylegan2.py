"""Losses, gradients and whole iterations of StyleGAN2 agree with the official code."""

import functools
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Config, Train
from stylegan_jax.networks import sampling
from stylegan_jax.training import losses, state, step
from stylegan_jax.training.losses import path_length
from stylegan_jax.training.step import updates
from stylegan_jax.weights import trees
from stylegan_jax.weights.layouts import official as layout
from tests import stylegan2
from tests.stylegan2 import load, meta, model_of, nhwc, noise_of, tree, under

pytestmark = pytest.mark.goldens
GAMMA, PL_SHRINK = 10.0, 2  # The official defaults.


def networks(file):
    """Returns the model of both networks of a file, and their parameters."""
    g, d = ((meta(file)[name]["kwargs"], under(file, f"{name}/vars/")) for name in "GD")
    model = stylegan2.joined(model_of("G_stylegan2", *g), model_of("D_stylegan2", *d))
    g_params = tree(g[1])
    return model, {name: g_params[name] for name in ("mapping", "synthesis")}, tree(d[1])


# ---- gradients of each loss by a network's parameters, of part of a batch


@functools.partial(jax.jit, static_argnames="config")
def g_main(params, d_params, latents, labels, *, config):
    loss_fn = jax.grad(losses.generator_loss, has_aux=True)
    return loss_fn(params, d_params, config, config.model.resolution, latents, labels, None)


@functools.partial(jax.jit, static_argnames="config")
def g_reg(params, latents, labels, y, pl_mean, *, config):
    loss_fn = jax.grad(path_length.loss, has_aux=True)
    return loss_fn(params, config, config.model.resolution, latents, labels, y, pl_mean, None)


@functools.partial(jax.jit, static_argnames="config")
def d_main(params, g_params, reals, real_labels, latents, labels, order, *, config):
    model = config.model
    fakes, w_mean = sampling.generate(g_params, latents, labels, None, model, model.resolution)

    def loss(params):  # Reals and fakes have different labels here.
        score = functools.partial(losses.score_fn, params, model, model.resolution)
        real_scores = score(None if labels is None else real_labels[order], None)(reals[order])
        fake_scores = score(None if labels is None else labels[order], None)(fakes[order])
        found = losses.discriminator_logistic(real_scores, fake_scores)
        values = {"d_loss": found, "real_scores": real_scores, "fake_scores": fake_scores, "w_mean": w_mean}
        return jnp.mean(found), values

    return jax.grad(loss, has_aux=True)(params)


@functools.partial(jax.jit, static_argnames="config")
def d_reg(params, reals, labels, order, *, config):
    labels, resolution = labels if labels is None else labels[order], config.model.resolution
    loss_fn = jax.grad(losses.lazy_r1_loss, has_aux=True)
    grads, values = loss_fn(params, config, resolution, reals[order], labels, None)
    score_fn = losses.score_fn(params, config.model, resolution, labels, None)
    scores, gradients = losses.scores_and_gradients(score_fn, reals[order])
    return grads, values | {"real_scores": scores, "r1_grads": gradients}


def added(*trees):
    return jax.tree.map(lambda *leaves: sum(leaves), *trees)


# ---- single losses


CASES = [
    stylegan2.parameters(file, case)
    for file in ("losses", "losses_cond")
    if stylegan2.exists(file)
    for case in meta(file)["cases"]
]


def check_reports(r, prefix, values, train, order):
    """Compares the official statistics of a phase, one value an image, with what our functions returned."""

    def check(name, ours, convert_fn=lambda value: value):
        r.check(f"{prefix}report/Loss/{name}", ours, lambda value: convert_fn(value.reshape(-1)))

    def in_order(value):
        return value[order]

    if "g_loss" in values:  # It says what the scores are.
        check("G/loss", values["g_loss"])
        check("scores/fake", values["g_loss"], lambda scores: np.logaddexp(0, -scores))
        check("signs/fake", np.sign(np.log(2) - values["g_loss"]))
    if "path_length" in values:
        penalty = (values["path_length"] - values["pl_mean"]) ** 2
        check("pl_penalty", penalty)
        check("G/reg", train.pl_weight * penalty)
    for kind in ("real", "fake"):
        if f"{kind}_scores" in values:
            check(f"scores/{kind}", values[f"{kind}_scores"], in_order)
            check(f"signs/{kind}", np.sign(values[f"{kind}_scores"]), in_order)
    if "d_loss" in values:
        check("D/loss", values["d_loss"], in_order)
    if "r1" in values:
        check("r1_penalty", values["r1"], in_order)
        check("D/reg", train.r1_gamma / 2 * values["r1"], in_order)


@pytest.mark.parametrize(("file", "case"), CASES)
def test_losses_and_their_gradients_agree(file, case):
    how, inputs = meta(file)["cases"][case], load(file)
    model, g_params, d_params = networks(file)
    phase, gain, kwargs = how["phase"], how["gain"], how["loss_kwargs"]
    train = Train(
        pl_weight=kwargs.get("pl_weight", 2.0),
        pl_interval=gain,
        pl_decay=kwargs.get("pl_decay", 0.01),
        r1_gamma=kwargs.get("r1_gamma", GAMMA),
        r1_interval=gain,
    )
    config, n = Config(model=model, train=train), len(inputs["gen_z"])
    order, reals = layout.image_order(n, model.stddev_group), nhwc(inputs["real_img"])

    def labels(name, n=n):
        return inputs[name][:n] if model.num_labels else None

    def latents(n):
        noise = noise_of(under(file, "noise/"), model, n)
        return stylegan2.latents(inputs["gen_z"][:n], inputs["mix_z"][:n], how["mixing_cutoff"], noise, model)

    grads, all_values, w_means, pl_mean = [], {}, [], np.float32(how["pl_mean_before"])
    if phase in ("Gmain", "Gboth"):
        found, values = g_main(g_params, d_params, latents(n), labels("gen_c"), config=config)
        grads, all_values, w_means = [found], values, [values["w_mean"]]
    if phase in ("Greg", "Gboth") and train.pl_weight:
        half = n // kwargs.get("pl_batch_shrink", PL_SHRINK)
        y = nhwc(inputs["pl_noise"])[:half]
        found, values = g_reg(g_params, latents(half), labels("gen_c", half), y, pl_mean, config=config)
        pl_mean = values["pl_mean"]
        grads, all_values, w_means = [*grads, found], all_values | values, [*w_means, values["w_mean"]]
    if phase in ("Dmain", "Dboth"):
        given = reals, labels("real_c"), latents(n), labels("gen_c"), order
        found, values = d_main(d_params, g_params, *given, config=config)
        grads, all_values, w_means = [found], values, [values["w_mean"]]
    if phase in ("Dreg", "Dboth"):
        found, values = d_reg(d_params, reals, labels("real_c"), order, config=config)
        grads, all_values = [*grads, found], all_values | values
    with stylegan2.recorded(file, f"{case}/") as r:
        check_reports(r, "", all_values, train, order)
        now = types.SimpleNamespace(w_avg=load(file)["G/vars/mapping.w_avg"])
        for w_mean in w_means:
            now.w_avg = updates.track_w(now, w_mean, config)
        r.check("w_avg_after", now.w_avg)
        if "pl_mean_after" in r:
            r.check("pl_mean_after", pl_mean)
        if "pl_grads" in r:
            r.check("pl_grads", all_values["path_length"], lambda g: np.sqrt(np.mean(np.sum(g**2, axis=2), axis=1)))
        if "r1_grads" in r:
            r.check("r1_grads", all_values["r1_grads"], lambda g: nhwc(g)[order])
        for prefix in ("grads/", "grad_l2/") if grads else ():
            stylegan2.check_gradients(r, prefix, added(*grads))


# ---- iterations


@pytest.mark.parametrize(
    "file", [stylegan2.parameters(file) for file in ("train", "train_lazy2_accum") if stylegan2.exists(file)]
)
def test_iterations_agree_with_the_official_loop(file):
    """The official order: Gmain, Greg, Dmain, Dreg, average. Rounds add gradients; Adam takes their sum as a mean."""
    how, (model, g_params, d_params) = meta(file)["config"], networks(file)
    ema = how["ema_kimg"]
    train = Train(
        pl_weight=2.0, pl_interval=how["G_reg_interval"], r1_gamma=how["r1_gamma"], r1_interval=how["D_reg_interval"],
        adam_beta2=how["betas"][1], adam_eps=how["eps"], ema_halflife_kimg=ema, ema_rampup=how["ema_rampup"],
        adam_form="pytorch",
    )  # fmt: skip
    config, lr, size = Config(model=model, train=train), jnp.float32(how["lr"]), how["batch_gpu"]
    optimizer = state.adam(train.adam_beta2, train.adam_eps)
    ema_params = tree(under(file, "G_ema/vars/"))
    now = state.TrainState(
        nimg=jnp.int32(how["cur_nimg_start"]), g_params=g_params, d_params=d_params,
        ema_params={name: ema_params[name] for name in g_params}, g_opt=optimizer.init(g_params),
        d_opt=optimizer.init(d_params), w_avg=jnp.asarray(under(file, "G/vars/")["mapping.w_avg"]),
        num_skipped=jnp.zeros(2, jnp.int32), pl_mean=jnp.float32(how["pl_mean_start"]),
    )  # fmt: skip
    with stylegan2.recorded(file) as r:
        for name in ("G", "D", "G_ema"):
            stylegan2.take(r, f"{name}/vars/")
        for it, calls in itertools.groupby(meta(file)["log"], key=lambda call: call["iteration"]):
            for phase, rounds in itertools.groupby(calls, key=lambda call: call["phase"]):
                now = one_phase(now, r, f"it{it}", phase, list(rounds), config, lr, size)
            now = now.replace(nimg=now.nimg + how["batch_size"])
            now = step.ema_step(now, config, how["batch_size"])
            r.check(f"it{it}/pl_mean", now.pl_mean)
            pairs = []
            for name, params in (("G", now.g_params), ("D", now.d_params), ("G_ema", now.ema_params)):
                if f"it{it}/after/{name}/mapping.w_avg" in r:
                    r.check(f"it{it}/after/{name}/mapping.w_avg", now.w_avg)
                recorded = trees.flat(tree(stylegan2.take(r, f"it{it}/after/{name}/")))
                pairs += [(trees.flat(params)[path], want) for path, want in recorded.items()]
            # Adam's first steps are the signs of gradients, of those near zero too.
            off = [(np.abs(got - want), stylegan2.TOLERANCE * np.max(np.abs(want))) for got, want in pairs]
            assert len(pairs) > 30
            assert sum(np.sum(error > most) for error, most in off) <= 1e-3 * sum(error.size for error, _ in off)
            assert max(np.max(error) for error, _ in off) <= 2 * how["lr"] * (it + 1)


def one_phase(now, r, it, phase, rounds, config, lr, size):
    """Returns the state after one phase of an iteration, in rounds of `size` images."""
    model, sums, pl_mean = config.model, [], now.pl_mean
    order = layout.image_order(size, model.stddev_group)
    reals = nhwc(r.take(f"{it}/real_u8")).astype(np.float32) / 127.5 - 1
    real_c = r.take(f"{it}/real_c")
    for i, call in enumerate(rounds):
        half = size // PL_SHRINK if phase == "Greg" else size
        part, key = slice(i * size, i * size + half), f"{it}/{phase}/round{i}/"

        def labels(values, part=part):
            return values[part] if model.num_labels else None

        if phase != "Dreg":
            z, z_mix = r.take(f"{it}/{phase}/gen_z")[part], r.take(f"{key}mix_z")
            noise = noise_of(stylegan2.take(r, f"{key}noise/"), model, half)
            cutoff = call["cutoff"] if call["mixing"] else None
            latents = stylegan2.latents(z, z_mix, cutoff, noise, model)
            gen_c = labels(r.take(f"{it}/{phase}/gen_c"))
        if phase == "Gmain":
            grads, values = g_main(now.g_params, now.d_params, latents, gen_c, config=config)
        elif phase == "Greg":
            y = nhwc(r.take(f"{key}pl_noise"))
            grads, values = g_reg(now.g_params, latents, gen_c, y, pl_mean, config=config)
            pl_mean = values["pl_mean"]
        elif phase == "Dmain":
            real = reals[part], labels(real_c)
            grads, values = d_main(now.d_params, now.g_params, *real, latents, gen_c, order, config=config)
        else:
            grads, values = d_reg(now.d_params, reals[part], labels(real_c), order, config=config)
        check_reports(r, key, values, config.train, order)
        sums.append(grads)
        if phase != "Dreg":  # Each pass of the mapping network moves the average.
            now = now.replace(w_avg=updates.track_w(now, values["w_mean"], config))
    grads, w_avg = added(*sums), now.w_avg
    stylegan2.check_gradients(r, f"{it}/{phase}/grad_l2/", grads)
    now = (
        updates.update_d(now, config, grads, lr) if phase[0] == "D" else updates.update_g(now, config, grads, w_avg, lr)
    )
    return now.replace(pl_mean=pl_mean, w_avg=w_avg)
