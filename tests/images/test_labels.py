"""Images with attributes: from a table, or by a function."""

import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.images import labels
from stylegan_jax.metrics.attributes import Attributes
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=16)


def brightness(params, images):
    means = images.mean(axis=(1, 2))
    return jnp.stack([means[:, 0], params - means[:, 1]], axis=1)


def write(path, text):
    path.write_text(text)
    return path


def test_a_table_has_seeds_and_a_column_for_each_attribute(tmp_path):
    path = write(tmp_path / "t.csv", "seed, smiling ,old\n7,1,-2.5\n\n3,0,0.1\n9,0.5,0\n")
    seeds, present = labels.read_csv(path)
    assert seeds == [7, 3, 9]
    assert {name: list(values) for name, values in present.items()} == {
        "smiling": [True, False, True],
        "old": [False, True, False],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line is ''; use seed,NAME,NAME"),
        ("image,smiling\n1,1\n", "its first line is 'image,smiling'"),
        ("seed\n1\n", "its first line is 'seed'"),
        ("seed,a,a\n1,0,1\n", "of different names"),
        ("seed,a\n", "has no images"),
        ("seed,a\n1,0\n2,yes\n", "line 3: '2,yes' is no seed and numbers"),
        ("seed,a\n1,0\nx,1\n", "line 3: 'x,1' is no seed and numbers"),
        ("seed,a\n1,0,1\n", "line 2: '1,0,1'; use a seed from 0 to 4294967295 and 1 finite numbers"),
        ("seed,a\n1,nan\n", "line 2: '1,nan'"),
        ("seed,a\n-1,0\n", "line 2: '-1,0'"),
        ("seed,a\n1,20\n2,40\n", "all numbers of 'a' are above 0, .* subtract the number that parts"),
        ("seed,a\n1,0\n2,-1\n", "no numbers of 'a' are above 0"),
    ],
)
def test_other_tables_are_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        labels.read_csv(write(tmp_path / "t.csv", text))


def test_logits_are_those_of_each_image_whatever_the_batch(network):
    asked = Attributes(("red", "not_green"), brightness, jnp.float32(0.25), "", "")
    ws = network.map(network.latents(range(labels.AT_ONCE + 3)))
    done = []
    found = labels.logits_of(network, ws, asked, lambda *progress: done.append(progress))
    expected = brightness(jnp.float32(0.25), jnp.asarray(network.synthesize(ws)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert done == [(32, 35), (35, 35)]


def test_w_of_seeds_are_those_of_their_latents(network):
    np.testing.assert_array_equal(labels.draw_w(network, [5, 2]), network.map(network.latents([5, 2]))[:, 0])


def test_mixed_w_are_of_different_latents_and_begin_with_that_of_the_seed(network):
    w = labels.draw_mixed_w(network, [5, 2])
    assert w.shape == (2, 3, 14) and len(np.unique(w.reshape(6, 14), axis=0)) == 6
    np.testing.assert_array_equal(w[:, 0], labels.draw_w(network, [5, 2]))
    np.testing.assert_array_equal(labels.draw_mixed_w(network, [2])[0], w[1])


def test_a_w_is_that_of_all_layers_or_of_two():
    network = random_network(resolution=16)
    w = np.arange(3 * 14, dtype=np.float32).reshape(1, 3, 14)
    np.testing.assert_array_equal(labels.for_layers(w, network), w[:, [0, 0, 1, 1, 2, 2]])
    np.testing.assert_array_equal(labels.for_layers(w[:, 0], network), w[:, [0] * 6])


def test_classes_take_turns():
    network = random_network(resolution=8, num_labels=3)
    found = labels.draw_w(network, [4, 5, 6], [2, 0])
    np.testing.assert_array_equal(found, network.map(network.latents([4, 5, 6]), [2, 0, 2])[:, 0])
    mixed = labels.draw_mixed_w(network, [4, 5, 6], [2, 0])
    np.testing.assert_array_equal(mixed[:, 0], found)


def test_a_seed_in_two_lines_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("seed,old\n7,1\n8,0\n7,0\n")
    with pytest.raises(ValueError, match="a.csv has the seed 7 in two lines; give each image one"):
        labels.read_csv(tmp_path / "a.csv")
