"""DiffAugment agrees with a plain NumPy version, image by image, and is affine in the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.training.losses import diffaugment


def plain(image, draws):
    """Returns one image [h, w, c] augmented with its draws, in float64."""
    image = image.astype(np.float64)
    h, w, c = image.shape
    colours = image[..., :3] + draws["brightness"] - 0.5
    gray = colours.mean(axis=2, keepdims=True)
    colours = (colours - gray) * draws["saturation"] * 2 + gray
    colours = (colours - colours.mean()) * (draws["contrast"] + 0.5) + colours.mean()
    image = np.concatenate([colours, image[..., 3:]], axis=2)
    most_y, most_x = round(h / 8), round(w / 8)
    shift_y = int(draws["translation"][0] * (2 * most_y + 1)) - most_y
    shift_x = int(draws["translation"][1] * (2 * most_x + 1)) - most_x
    middle_y, middle_x = (int(draws["cutout"][axis] * (side + 1)) for axis, side in enumerate((h, w)))
    out = np.zeros_like(image)
    for y in range(h):
        for x in range(w):
            is_cut = -h // 4 <= y - middle_y < h // 4 and -w // 4 <= x - middle_x < w // 4
            if 0 <= y + shift_y < h and 0 <= x + shift_x < w and not is_cut:
                out[y, x] = image[y + shift_y, x + shift_x]
    return out


def neutral(n):
    """Returns draws that leave colours and places as they are; the upper left quarter of the middle square is cut."""
    draws = {name: jnp.full((n, *shape), 0.5) for name, shape in diffaugment.VALUES.items()}
    return draws | {"cutout": jnp.zeros((n, 2))}


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_agree_with_a_plain_version(channels):
    images = jax.random.uniform(jax.random.key(0), (32, 16, 24, channels), minval=-1)
    draws = diffaugment.draw(jax.random.key(1), 32)
    out = jax.jit(diffaugment.apply)(images, draws)
    for i in range(32):
        expected = plain(np.asarray(images[i]), {name: np.asarray(value[i]) for name, value in draws.items()})
        np.testing.assert_allclose(out[i], expected, atol=1e-5)


def test_augment_is_apply_of_drawn_values():
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    expected = diffaugment.apply(images, diffaugment.draw(jax.random.key(1), 4))
    np.testing.assert_array_equal(diffaugment.augment(jax.random.key(1), images), expected)


def test_draws_in_the_middle_change_no_more_than_the_cut():
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    out = diffaugment.apply(images, neutral(2))
    np.testing.assert_array_equal(out[:, :4, :4], 0)
    np.testing.assert_allclose(out[:, 4:], images[:, 4:], atol=1e-6)
    np.testing.assert_allclose(out[:, :, 4:], images[:, :, 4:], atol=1e-6)


@pytest.mark.parametrize("draw, shift", [(0.0, -2), (0.999, 2)])
def test_images_are_shifted_by_up_to_an_eighth(draw, shift):
    images = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    out = diffaugment.translate(images, jnp.array([[draw, 0.5]]))
    expected = np.roll(images, -shift, axis=1)
    expected[:, slice(-shift, None) if shift > 0 else slice(0, -shift)] = 0
    np.testing.assert_array_equal(out, expected)


def test_images_differ_within_a_batch_and_repeat_with_the_key():
    images = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (1, 8, 8, 3)), (4, 8, 8, 3))
    out = np.asarray(diffaugment.augment(jax.random.key(1), images))
    assert len(np.unique(out.reshape(4, -1), axis=0)) == 4
    np.testing.assert_array_equal(out, diffaugment.augment(jax.random.key(1), images))
    assert np.abs(out - diffaugment.augment(jax.random.key(2), images)).max() > 0.1


def test_draws_do_not_depend_on_how_the_batch_is_split():
    whole, part = diffaugment.draw(jax.random.key(1), 8), diffaugment.draw(jax.random.key(1), 3)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:3], b), whole, part)


@pytest.fixture(scope="module")
def affine():
    """Returns a function of RGB 4 x 4 px images as vectors [48], and its matrix by differences of its values."""
    draws = diffaugment.draw(jax.random.key(3), 1)

    @jax.jit
    def apply(x):
        return diffaugment.apply(x.reshape(1, 4, 4, 3), draws).reshape(-1)

    zero = apply(jnp.zeros(48))
    return apply, np.stack([apply(unit) - zero for unit in jnp.eye(48)], axis=1)


def test_first_gradients_are_differences(affine):
    apply, matrix = affine
    np.testing.assert_allclose(jax.jacrev(apply)(jax.random.normal(jax.random.key(0), (48,))), matrix, atol=1e-5)


def test_gradients_of_gradients_are_differences(affine):
    """As R1 takes them: |A^T u|^2 has the gradient 2 A A^T u with respect to u."""
    apply, matrix = affine
    x, u = jax.random.normal(jax.random.key(0), (2, 48))
    by_u = jax.grad(lambda u: jnp.sum(jax.grad(lambda x: jnp.dot(u, apply(x)))(x) ** 2))(u)
    np.testing.assert_allclose(by_u, 2 * matrix @ (matrix.T @ np.asarray(u)), rtol=1e-4, atol=1e-4)
