"""Whole training iterations agree with those recorded from the official code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Config
from stylegan_jax.networks import cpu_convolutions, ops, sampling
from stylegan_jax.training import losses, state, step
from stylegan_jax.weights.layouts import official as names
from stylegan_jax.weights.layouts import settings
from stylegan_jax.weights.layouts.official import nhwc
from tests import official
from tests.official import Recorded

pytestmark = pytest.mark.goldens


@pytest.fixture(autouse=True, scope="module")
def _forms_of_large_models():
    """Lets these small networks take the forms that a CPU has for many channels and pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_convolutions, "MIN_CHANNELS", 1)
        patch.setattr(cpu_convolutions, "MIN_PIXELS", {2: 1, 4: 512})
        yield


@functools.partial(jax.jit, static_argnames=("config", "resolution"))
def iterate(train_state, images, keep, labels, d_latents, g_latents, t, alpha, lr, *, config, resolution):
    """Returns the states after the discriminator's and the generator's step, and what was recorded between them."""
    real_labels, fake_labels = labels
    reals = ops.process_reals(images, keep, alpha)
    fakes, _ = sampling.generate(train_state.g_params, d_latents, real_labels, alpha, config.model, resolution)
    d_loss = jax.grad(losses.discriminator_loss, has_aux=True)
    d_grads, d_values = d_loss(train_state.d_params, config, resolution, reals, fakes, real_labels, alpha, t)
    middle, _ = step.d_step(train_state, config, resolution, reals, real_labels, d_latents, t, alpha, lr)
    middle = step.ema_step(middle, config, len(images))
    g_loss = jax.grad(losses.generator_loss, has_aux=True)
    g_grads, g_values = g_loss(middle.g_params, middle.d_params, config, resolution, g_latents, fake_labels, alpha)
    end, _ = step.g_step(middle, config, resolution, fake_labels, g_latents, alpha, lr)
    return middle, end, reals, d_values | g_values, {"D": d_grads, "G": g_grads}


class WeightRule:
    """The rule for trained weights: 99.9 % of a network's elements within 1e-4, none beyond 3 lr.

    Adam with beta1 = 0 makes steps of lr even from gradients that are nothing but rounding, as those of the bias at
    4x4 are: the normalization takes away what it adds to a constant. In that array of 24 elements, two builds of the
    official code differ by 4e-4, so the shares are of a network and not of each array.
    """

    def __init__(self, lr):
        self.lr, self.differences = lr, []

    def measure(self, ours, reference):
        """Returns the largest difference over 3 lr."""
        self.differences.append(np.abs(ours.astype(np.float64) - reference).reshape(-1))
        return float(np.max(self.differences[-1])) / (3 * self.lr)

    def share_near(self):
        """Returns the share of the elements measured so far that are within 1e-4."""
        return np.mean(np.concatenate(self.differences) <= 1e-4)


def initial_state(r, config):
    """Returns the recorded networks (G, D, Gs) and the training state that they begin with."""
    g, d, gs = (r.take_network(f"init/{name}") for name in ("G", "D", "Gs"))
    optimizer = state.adam(config.train.adam_beta2, config.train.adam_eps)
    as_arrays = functools.partial(jax.tree.map, jnp.asarray)
    train_state = state.TrainState(
        nimg=jnp.zeros((), jnp.int32), g_params=as_arrays(g.params), d_params=as_arrays(d.params),
        ema_params=as_arrays(gs.params), g_opt=optimizer.init(g.params), d_opt=optimizer.init(d.params),
        w_avg=jnp.asarray(g.w_avg), num_skipped=jnp.zeros(2, jnp.int32),
    )  # fmt: skip
    return {"G": g, "D": d, "Gs": gs}, train_state


def settings_of(file):
    """Returns the settings of a recorded run."""
    recorded = official.meta(file)
    networks = [official.Network.read(file, f"init/{name}") for name in "GD"]
    adam = recorded["adam"]
    assert adam["beta1"] == 0, "Adam's first moment is the gradient here"
    train = official.to_train(
        recorded["D_loss"], recorded["D_loss_kwargs"], g_loss=recorded["G_loss"].rpartition(".G_")[2],
        adam_beta2=adam["beta2"], adam_eps=adam["epsilon"], ema_halflife_kimg=recorded["G_smoothing_kimg"],
    )  # fmt: skip
    return Config(model=settings.joined(*(n.model for n in networks)), train=train)


def check_weights(r, prefix, networks, ours, lr, lod):
    """Compares all variables under prefix/<network>/: trees like params, and (for generators) the mean of w."""
    for name, (tree, w_avg) in ours.items():
        rule = WeightRule(lr)
        networks[name].check_tree(r, f"{prefix}/{name}/", tree, measure=rule.measure, tolerance=1)
        assert not rule.differences or rule.share_near() >= 0.999, f"{r.file}: {prefix}/{name}"
        for variable in r.names(f"{prefix}/{name}/"):
            if variable == "dlatent_avg":
                r.check(f"{prefix}/{name}/dlatent_avg", w_avg, tolerance=official.LATER_TOLERANCE)
            elif variable.rpartition("/")[2] == "lod":
                r.check(f"{prefix}/{name}/{variable}", np.float32(lod))
            elif not networks[name].path(variable):  # A noise map, which training leaves as it is.
                number = int(variable.rpartition("noise")[2])
                r.check(f"{prefix}/{name}/{variable}", networks[name].noise[number], nhwc)


def check_optimizers(r, prefix, networks, grads, opts, config, tolerance):
    """Compares the moments of both optimizers."""
    for name, opt in opts.items():
        networks[name].check_tree(r, f"{prefix}/adam_m/{name}/", grads[name], tolerance=tolerance)
        networks[name].check_tree(r, f"{prefix}/adam_v/{name}/", opt.nu, tolerance=tolerance)
        r.check(f"{prefix}/adam_beta2_power/{name}", np.float32(config.train.adam_beta2) ** (np.asarray(opt.count) + 1))


def take_latents(r, name, networks, config, order):
    """Returns a generator's recorded inputs; its noise maps are stored ones."""
    z, n = r.take(name)[order], len(order)
    noise = tuple(None if x is None else jnp.broadcast_to(x, (n, *x.shape[1:])) for x in networks["G"].noise)
    return sampling.Latents(z, z, np.full(n, config.model.num_layers), noise)


def take_ordered(r, iteration, order, name):
    """Returns an input of an iteration in our order of the batch; None where the run had none of that name."""
    name = f"{iteration}/{name}"
    return r.take(name)[order] if name in r else None


@pytest.mark.parametrize("file", [official.parameters(file) for file in official.files("train_*.npz")])
def test_iterations_agree_with_the_official_loop(file):
    config = settings_of(file)
    full = config.model.resolution
    with Recorded(file) as r:
        networks, train_state = initial_state(r, config)
        for i, settings in enumerate(official.meta(file)["steps"]):
            it, lr, n = f"it{i}", settings["lrate"], settings["minibatch"]
            if not r.names(f"{it}/"):
                break  # A selection may leave out the last iterations.
            train_state = state.reset_optimizers(train_state) if settings["optimizer_reset"] else train_state
            order = names.image_order(n, config.model.stddev_group)
            resolution, alpha = names.level(settings["lod"], full)
            images, column = official.converters(order)
            take = functools.partial(take_ordered, r, it, order)
            t = take("mixing_factors")
            middle, train_state, reals, values, grads = iterate(
                train_state, nhwc(take("reals_uint8")), take("mirror_mask").reshape(-1) < 0.5,
                (take("labels_reals"), take("labels_random")),
                take_latents(r, f"{it}/latents_D", networks, config, order),
                take_latents(r, f"{it}/latents_G", networks, config, order),
                np.zeros(n) if t is None else t.reshape(-1),
                alpha, np.float32(lr), config=config, resolution=resolution,
            )  # fmt: skip
            tolerance = official.TOLERANCE if i == 0 else official.LATER_TOLERANCE
            if f"{it}/reals_processed" in r:
                r.check(f"{it}/reals_processed", ops.upscale(reals, full // resolution), images)
            shape = official.load(file)[f"{it}/D_loss"].shape
            d_loss = official.d_loss(values, config.train, shape, np.argsort(order))
            r.check(f"{it}/D_loss", d_loss, tolerance=tolerance)
            r.check(f"{it}/G_dlatent_avg_after_Dstep", middle.w_avg, tolerance=tolerance)
            r.check(f"{it}/G_loss", values["g_loss"], column, tolerance=tolerance)
            zeros = train_state.replace(g_params=jnp.zeros(()), ema_params=jnp.ones(()))
            r.check(f"{it}/Gs_beta", step.ema_step(zeros, config, n).ema_params)
            opts = {"D": train_state.d_opt, "G": train_state.g_opt}
            check_optimizers(r, it, networks, grads, opts, config, tolerance)
            ours = {
                "G": (train_state.g_params, train_state.w_avg),
                "D": (train_state.d_params, None),
                "Gs": (train_state.ema_params, middle.w_avg),
            }
            check_weights(r, f"{it}/after", networks, ours, lr, settings["lod"])
        check_weights(r, "final", networks, ours, lr, settings["lod"])
