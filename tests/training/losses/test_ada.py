"""Adaptive augmentation: agrees with the official recordings and with a naive version, is affine, and moves p."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy.special import erfinv

from stylegan_jax.devices import mesh
from stylegan_jax.training.losses import ada
from stylegan_jax.weights.layouts.official import nhwc
from tests import official
from tests.official import Recorded

FILE = "sg2/augment"
NO_EFFECT = ada.UNIFORM | ada.NORMAL
KINDS = {"rotate": ("rotate_pre", "rotate_post")}  # Of official settings: names of their draws.
apply = jax.jit(ada.apply)
FIXED_PAD = 4e-5  # The official result with a pad of fixed size differs by this from that with the pad it needs.


def recorded_cases():
    """Returns the recorded cases of our operations at their standard strengths."""

    def is_ours(kwargs):
        return all(v == 1 and KINDS.get(k, (k,))[0] in NO_EFFECT for k, v in kwargs.items())

    return [name for name, case in official.meta(FILE)["cases"].items() if is_ours(case["kwargs"])]


def shape_of(name, n):
    return (n, 2) if name in ("xint", "xfrac") else (n,)


def constant_draws(n, gate=0.0, **values):
    """Returns draws of n images: values as given, else those without effect."""
    return {
        name: (jnp.full(shape_of(name, n), values.get(name, value), jnp.float32), jnp.full((n,), gate))
        for name, value in NO_EFFECT.items()
    }


def recorded_draws(r, case, n):
    """Returns the draws of a recorded case; at a percentile they are those of all images."""
    q, names = case["debug_percentile"], {key.split("/")[0] for key in case["draws_order"]} & set(NO_EFFECT)
    if q is not None:
        values = {name: q if name in ada.UNIFORM else erfinv(2 * q - 1) for name in names - {"rotate_post"}}
        return constant_draws(n, **values)
    draws = {}
    for name in names:
        value, gate = (r.take(f"draws/{name}/{kind}") for kind in ("value", "gate"))
        draws[name] = jnp.asarray(value.reshape(shape_of(name, n))), jnp.asarray(gate.reshape(n))
    return constant_draws(n) | draws


@pytest.mark.goldens
@pytest.mark.parametrize("name", recorded_cases())
def test_images_and_their_gradients_agree_with_the_official_code(name):
    case = official.meta(FILE)["cases"][name]
    images = jnp.asarray(nhwc(official.load(FILE)[case["images"]]))

    def tolerance(key):
        return official.TOLERANCE + FIXED_PAD / np.abs(official.load(FILE)[f"{name}/{key}"]).max()

    with Recorded(FILE, name + "/") as r:
        draws = recorded_draws(r, case, len(images))
        out, pull = jax.vjp(lambda x: apply(x, draws, case["p"]), images)
        r.check("out", out, nhwc, tolerance=tolerance("out"))
        if "grad_images" in r:
            gradient = pull(jnp.asarray(nhwc(r.take("v"))))[0]
            r.check("grad_images", gradient, nhwc, tolerance=tolerance("grad_images"))
        for other in ("reflect_pad", "affine_theta"):  # Intermediate results of the official code.
            if other in r:
                r.take(other)


@pytest.mark.goldens
@pytest.mark.parametrize("name", official.meta(FILE)["ada"])
def test_p_moves_as_in_the_official_code(name):
    case = official.meta(FILE)["ada"][name]
    with Recorded(FILE, f"ada/{name}/") as r:
        logits, p, signs, ps, reported = r.take("logits"), jnp.float32(case["p_start"]), [], [], []
        for i, used in enumerate(case["reports_used"]):
            reported += list(np.sign(logits[i, :used]))
            if (i + 1) % case["ada_interval"] == 0:
                signs.append(np.mean(reported))
                num_images = case["batch_size"] * case["ada_interval"]
                p, reported = ada.adjusted(p, signs[-1], num_images, case["ada_target"], case["ada_kimg"]), []
            ps.append(p)
        r.check("mean_sign", np.array(signs))
        r.check("p", np.array(ps))


def test_p_stays_at_zero_when_reals_are_not_recognized():
    assert ada.adjusted(jnp.float32(0.001), jnp.float32(-1), 64, 0.6, 0.5) == 0


# ---- resampling


def enlarging(size):
    """Returns the naive matrix [2 s, s] that enlarges twice: zeros between pixels, then the filter with gain 2."""
    matrix = np.zeros((2 * size, size))
    for m, k in np.ndindex(matrix.shape):
        if 0 <= 5 + m - 2 * k < 12:
            matrix[m, k] = 2 * ada.SYM6[5 + m - 2 * k]
    return matrix


def bilinear(image, x, y):
    """Returns bilinear samples of [h, w] at places x, y, zeros outside."""
    out = np.zeros(x.shape)
    for i, j in np.ndindex(x.shape):
        y0, x0 = int(np.floor(y[i, j])), int(np.floor(x[i, j]))
        for v in (y0, y0 + 1):
            for u in (x0, x0 + 1):
                if 0 <= v < image.shape[0] and 0 <= u < image.shape[1]:
                    out[i, j] += image[v, u] * (1 - abs(y[i, j] - v)) * (1 - abs(x[i, j] - u))
    return out


def naive_resample(image, matrix, offset):
    """Returns one gray image resampled step by step, and which pixels the outer edge of the mirror images touches."""
    (h, w), around = image.shape, 6
    padded = np.pad(image, ((h - 1, h - 1), (w - 1, w - 1)), mode="reflect")
    up_y, up_x = (enlarging(side) for side in padded.shape)
    enlarged = up_y @ padded @ up_x.T
    edge = np.ones(enlarged.shape)
    edge[6:-6, 6:-6] = 0
    y, x = (np.arange(2 * side + 2 * around) - (2 * side + 2 * around - 1) / 2 for side in (h, w))
    y, x = np.meshgrid((y + 0.5) / 2, (x + 0.5) / 2, indexing="ij")
    at_x = 2 * (matrix[0, 0] * x + matrix[0, 1] * y + offset[0]) - 0.5 + (enlarged.shape[1] - 1) / 2
    at_y = 2 * (matrix[1, 0] * x + matrix[1, 1] * y + offset[1]) - 0.5 + (enlarged.shape[0] - 1) / 2
    down_y, down_x = np.zeros((h, 2 * h + 12)), np.zeros((w, 2 * w + 12))
    for down in (down_y, down_x):
        for i in range(len(down)):
            down[i, 2 * i + 1 : 2 * i + 13] = ada.SYM6
    result = down_y @ bilinear(enlarged, at_x, at_y) @ down_x.T
    return result, np.abs(down_y) @ bilinear(edge, at_x, at_y) @ np.abs(down_x).T > 0


@pytest.mark.parametrize("reach", [0.7, 2.0])
def test_resampling_agrees_with_a_naive_version_but_at_the_outer_edge_of_mirror_images(reach):
    h, w = 16, 20
    image = np.random.default_rng(0).normal(size=(h, w))
    matrix = reach * np.array([[0.9, 0.5], [-0.4, 0.8]])
    offset = np.array([0.7, -1.2])
    expected, is_edge = naive_resample(image, matrix, offset)
    assert is_edge.any() == (reach > 1)
    assert np.mean(~is_edge) > 0.2
    x = jnp.asarray(image[None, :, :, None], jnp.float32)
    out = jax.jit(ada.resample)(x, jnp.asarray(matrix[None], jnp.float32), jnp.asarray(offset[None], jnp.float32))
    np.testing.assert_allclose(np.asarray(out)[0, :, :, 0][~is_edge], expected[~is_edge], atol=1e-5)


@pytest.mark.parametrize("shift, is_seen", [(-19.0, False), (-13.0, True), (13.0, True), (19.0, False)])
def test_nothing_is_seen_beyond_the_mirror_images(shift, is_seen):
    """Of 8 px they end 11.5 px from the middle; the result's pixels and the filter take 6.5 px on each side."""
    out = ada.resample(jnp.ones((1, 8, 8, 1)), jnp.eye(2)[None], jnp.array([[shift, 0.0]]))
    assert bool(jnp.any(out != 0)) == is_seen


# ---- what p and gates decide


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_p_zero_is_the_identity_up_to_rounding(channels):
    images = jax.random.uniform(jax.random.key(0), (4, 12, 16, channels), minval=-1)
    np.testing.assert_allclose(apply(images, ada.draw(jax.random.key(1), 4), 0.0), images, atol=1e-6)


def test_from_p_one_on_every_operation_acts():
    images, draws = jnp.ones((4, 8, 8, 3)), ada.draw(jax.random.key(1), 4)
    np.testing.assert_array_equal(apply(images, draws, 3.0), apply(images, draws, 1.0))
    opened = {name: (value, jnp.zeros(4)) for name, (value, _) in draws.items()}
    np.testing.assert_array_equal(apply(images, draws, 1.0), apply(images, opened, 1.0))


@pytest.mark.parametrize("names", [("xflip",), ("brightness",), ("rotate_pre", "rotate_post")])
def test_an_operation_acts_with_probability_p(names):
    n, p = 2000, 0.3
    images = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (1, 4, 4, 1)), (n, 4, 4, 1))
    draws = constant_draws(n) | {name: ada.draw(jax.random.key(1), n)[name] for name in names}
    is_changed = np.abs(apply(images, draws, p) - images).max(axis=(1, 2, 3)) > 1e-5
    expected = p / 2 if names == ("xflip",) else p  # Half of the flips are none.
    assert abs(is_changed.mean() - expected) < 4 * np.sqrt(expected / n)


def test_every_operation_changes_images():
    images = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    for name in NO_EFFECT:
        changed = apply(images, constant_draws(1, **{name: 0.8}), 1.0)
        assert np.abs(changed - images).max() > 0.05, name


def test_draws_and_images_do_not_depend_on_how_the_batch_is_split():
    images = jax.random.normal(jax.random.key(0), (8, 8, 8, 3))
    whole, part = ada.draw(jax.random.key(1), 8), ada.draw(jax.random.key(1), 3)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:3], b), whole, part)
    expected = apply(images, whole, 0.8)
    np.testing.assert_allclose(apply(images[:3], part, 0.8), expected[:3], atol=1e-5)
    devices = mesh.make_mesh(jax.devices()[:4])
    split = jax.device_put(images, NamedSharding(devices, PartitionSpec(mesh.AXIS)))
    np.testing.assert_allclose(jax.jit(ada.augment)(jax.random.key(1), split, 0.8), expected, atol=1e-5)


def test_one_program_serves_every_p():
    traced = []
    program = jax.jit(lambda images, draws, p: traced.append(p) or ada.apply(images, draws, p))
    for p in (0.0, 0.25, 2.0):
        program(jnp.ones((2, 8, 8, 1)), constant_draws(2), jnp.float32(p))
    assert len(traced) == 1


# ---- channels


def test_alpha_takes_part_in_geometry_but_not_in_colours():
    images, draws = jax.random.normal(jax.random.key(0), (4, 8, 8, 4)), ada.draw(jax.random.key(1), 4)
    out = apply(images, draws, 1.0)
    np.testing.assert_allclose(out[..., :3], apply(images[..., :3], draws, 1.0), atol=1e-6)
    colours = ("brightness", "contrast", "lumaflip", "hue", "saturation")
    geometry = draws | {name: constant_draws(4)[name] for name in colours}
    np.testing.assert_allclose(out[..., 3:], apply(images[..., 3:], geometry, 1.0), atol=1e-6)


def test_gray_images_have_no_hue_and_equal_gray_rgb():
    gray, draws = jax.random.normal(jax.random.key(0), (4, 8, 8, 1)), ada.draw(jax.random.key(1), 4)
    rgb = apply(jnp.broadcast_to(gray, (4, 8, 8, 3)), draws, 1.0)
    np.testing.assert_allclose(jnp.broadcast_to(apply(gray, draws, 1.0), rgb.shape), rgb, atol=1e-5)


# ---- gradients


@pytest.fixture(scope="module")
def affine():
    """Returns a function of gray 4 x 5 px images as vectors [20], and its matrix by differences of its values."""
    draws = ada.draw(jax.random.key(3), 1)

    @jax.jit
    def of_vector(x):
        return ada.apply(x.reshape(1, 4, 5, 1), draws, 1.0).reshape(-1)

    zero = of_vector(jnp.zeros(20))
    return of_vector, np.stack([of_vector(unit) - zero for unit in jnp.eye(20)], axis=1)


def test_first_gradients_are_differences(affine):
    of_vector, matrix = affine
    np.testing.assert_allclose(jax.jacrev(of_vector)(jax.random.normal(jax.random.key(0), (20,))), matrix, atol=1e-5)


def test_gradients_of_gradients_are_differences(affine):
    """As R1 takes them: |A^T u|^2 has the gradient 2 A A^T u with respect to u, and A has none."""
    of_vector, matrix = affine
    x, u = jax.random.normal(jax.random.key(0), (2, 20))

    def penalty(u, x):
        return jnp.sum(jax.grad(lambda x: jnp.dot(u, of_vector(x)))(x) ** 2)

    by_u, by_x = jax.jit(jax.grad(penalty, argnums=(0, 1)))(u, x)
    np.testing.assert_allclose(by_u, 2 * matrix @ (matrix.T @ np.asarray(u)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(by_x, 0)
