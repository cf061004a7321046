"""AdaIN on its own, and pictures in the style of others."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.images import style_transfer
from stylegan_jax.metrics.features import shelf, vgg
from stylegan_jax.networks import ops


def features(seed: int, n: int = 2, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(seed, 1 + seed, (n, size, size, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def random_vgg() -> dict[str, np.ndarray]:
    rng, inputs, params = np.random.default_rng(0), 3, {}
    for k, maps in enumerate(vgg.MAPS, 1):
        scale = np.float32(np.sqrt(2 / (9 * inputs)))
        params[f"conv{k}/kernel"] = scale * rng.standard_normal((3, 3, inputs, maps), np.float32)
        params[f"conv{k}/bias"], inputs = np.zeros(maps, np.float32), maps
    return params


def test_the_style_is_the_mean_and_the_deviation_of_each_map():
    x = features(1)
    mean, deviation = style_transfer.style_statistics(jnp.asarray(x))
    np.testing.assert_allclose(mean, x.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(deviation, x.std(axis=(1, 2)), rtol=1e-4)


def test_adain_gives_features_the_style_of_others():
    content, style = features(1), features(2, size=4)
    found = style_transfer.style_statistics(style_transfer.adain(jnp.asarray(content), jnp.asarray(style)))
    np.testing.assert_allclose(found[0], style.mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(found[1], style.std(axis=(1, 2)), rtol=1e-4)


def test_adain_with_its_own_style_is_the_identity():
    content = jnp.asarray(features(3))
    np.testing.assert_allclose(style_transfer.adain(content, content), content, rtol=1e-4, atol=1e-4)


def test_adain_is_the_generators_normalization_and_modulation():
    content, style = jnp.asarray(features(1)), jnp.asarray(features(2))
    mean, deviation = style_transfer.style_statistics(style)
    normalized = ops.instance_norm(content, style_transfer.EPSILON)
    expected = ops.modulate(normalized, jnp.concatenate([deviation - 1, mean], axis=1))
    np.testing.assert_allclose(style_transfer.adain(content, style), expected, rtol=1e-4, atol=1e-4)


def test_the_error_of_styles_is_that_of_their_statistics():
    a, b = features(1), features(2, size=4)
    expected = sum(((f(a, axis=(1, 2)) - f(b, axis=(1, 2))) ** 2).mean(axis=1) for f in (np.mean, np.std))
    np.testing.assert_allclose(style_transfer.style_error([jnp.asarray(a)], [jnp.asarray(b)]), expected, rtol=1e-3)


def pictures() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:16, :16]
    content = np.where(((x - 8) ** 2 + (y - 8) ** 2 < 20)[..., None], (230, 200, 60), (40, 60, 160)).astype(np.uint8)
    style = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    return content, style


def test_a_picture_comes_nearer_to_the_style_of_another(random_vgg):
    content, style = pictures()
    seen = []
    made = style_transfer.transfer_style(
        random_vgg, content, style, style_weight=10.0, steps=6, progress_fn=lambda *now: seen.append(now)
    )

    def error(image: np.ndarray) -> float:
        of = [style_transfer._features(random_vgg, jnp.float32(x)[None] / 127.5 - 1) for x in (image, style)]
        return float(style_transfer.style_error(*of)[0])

    assert made.shape == content.shape and made.dtype == np.uint8
    assert error(made) < 0.9 * error(content)
    assert seen == [(6, 6)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"content": np.zeros((8, 32, 3), np.uint8)}, r"content is uint8 \[8, 32, 3\]; give uint8 \[h, w, 3\], of 16"),
        ({"style": np.zeros((32, 32, 3))}, "style is float64"),
        ({"style_weight": -1.0}, "style_weight is -1.0"),
        ({"steps": 0}, "steps 0; use"),
    ],
)
def test_what_is_no_picture_is_refused(arguments, message):
    content, style = pictures()
    with pytest.raises(ValueError, match=message):
        style_transfer.transfer_style({}, **{"content": content, "style": style} | arguments)


def test_sizes_are_halves_down_to_the_smallest():
    assert style_transfer._sizes(64, 40) == [(64, 40), (32, 20), (16, 10)]


def test_the_published_weights_give_a_picture_the_style_of_another():
    if "STYLEGAN_WEIGHTS" not in os.environ:
        pytest.skip("STYLEGAN_WEIGHTS names no folder of weights")
    params = shelf.read_vgg(os.environ["STYLEGAN_WEIGHTS"]).params
    content, _ = pictures()
    content = content.repeat(2, axis=0).repeat(2, axis=1)
    palette = np.uint8([[230, 60, 20], [250, 200, 40], [240, 240, 230]])
    style = palette[np.random.default_rng(0).integers(0, 3, (8, 8))].repeat(4, axis=0).repeat(4, axis=1)
    made = style_transfer.transfer_style(params, content, style, steps=30)
    problem = style_transfer._problem(params, *(jnp.float32(x)[None] / 127.5 - 1 for x in (content, style)))

    def error(image: np.ndarray) -> float:
        found = style_transfer._features(params, jnp.float32(image)[None] / 127.5 - 1)
        scaled = [features * scale for features, scale in zip(found, problem["scales"], strict=True)]
        return float(style_transfer.style_error(scaled, problem["wanted"])[0])

    assert error(made) < 0.3 * error(content)
