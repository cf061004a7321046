"""Perceptual path length: against the official code's recorded numbers, and against exact derivatives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.data import faces
from stylegan_jax.metrics import ppl
from stylegan_jax.metrics.features import vgg
from stylegan_jax.networks import generator, sampling
from tests import official
from tests.random_networks import random_network

FILE = "metric_ppl"
Z_SIZE = 6


def _recorded(goldens, *path: str) -> dict[str, np.ndarray]:
    with np.load(goldens.joinpath(*path)) as npz:
        return {key: npz[key] for key in npz.files if key != "meta"}


def _square(a, b):
    """Returns the mean squared difference of images on a scale of 255, which the recordings take for a distance."""
    return jnp.mean(jnp.square((a - b) * 127.5), axis=(1, 2, 3))


# ---- recorded by the official code


@pytest.fixture
def recorded(goldens):
    return _recorded(goldens, f"{FILE}.npz")


@pytest.mark.goldens
def test_interpolation_on_the_sphere_equals_the_official_one(recorded):
    a, b, t = (recorded[f"slerp/{name}"] for name in "abt")
    np.testing.assert_allclose(ppl.slerp(a, b, t[:, 0]), recorded["slerp/y"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(ppl.slerp(a, b, t[:, 0] + 1e-4), recorded["slerp/y_eps"], rtol=0, atol=1e-6)


@pytest.mark.goldens
def test_outliers_are_rejected_as_in_the_official_code(recorded, goldens):
    np.testing.assert_allclose(ppl.path_length(recorded["filter/distances"]), recorded["filter/mean"], rtol=1e-6)
    later = goldens / "metrics2" / "ppl.npz"
    if later.exists():
        with np.load(later) as npz:
            result, plain = (float(npz[f"reduction/{name}"]) for name in ("result", "plain_mean"))
            ours = ppl.path_length(npz["reduction/distances"])
        assert abs(ours / result - 1) < 1e-6 < abs(ours / plain - 1)


@pytest.mark.goldens
def test_the_crop_and_the_boxes_equal_the_official_ones(recorded):
    nhwc = functools.partial(np.moveaxis, source=1, destination=3)
    np.testing.assert_array_equal(ppl.prepared(nhwc(recorded["crop/x"]), crop=True), nhwc(recorded["crop/y"]))
    for size in (64, 256, 512, 1024):
        rows, columns = np.arange(size)[:, None, None], np.arange(size)[None, :, None]
        channels = np.arange(1, 4)
        images = [np.sin(0.01 * channels * rows) * np.cos(0.013 * columns + n) for n in range(2)]
        ours = [(ppl.prepared(jnp.asarray(x, jnp.float32)[None], crop=True) + 1) * 127.5 for x in images]
        stride = ours[0].shape[1] // 32
        for name, x in zip(("e0", "e1"), ours, strict=True):
            expected = nhwc(recorded[f"analytic_res{size}/{name}_strided"])
            np.testing.assert_allclose(x[:, ::stride, ::stride], expected, rtol=0, atol=1e-3)
        distance = jnp.mean(jnp.square(ours[0] - ours[1])) / 0.1**2
        np.testing.assert_allclose(distance, recorded[f"analytic_res{size}/distance"][0], rtol=1e-5)


@pytest.mark.goldens
@pytest.mark.slow
@pytest.mark.parametrize("case", ["z_full_res32", "z_end_res32", "w_full_res32", "w_end_res32"])
def test_the_official_evaluation_of_a_network_is_repeated(recorded, goldens, case, monkeypatch):
    monkeypatch.setenv("STYLEGAN_GOLDENS", str(goldens))
    network = official.Network.read(FILE, f"{case}/vars")
    space, sampling, _ = case.split("_")
    definition = ppl.Definition(space, sampling, crop=True, num_pairs=64, epsilon=1e-2)

    def map_fn(z, key):
        return official.map_latents(network.params["mapping"], z, None, model=network.model)

    def synthesize_fn(w, key):
        ws = jnp.broadcast_to(w[:, None], (len(w), network.model.num_layers, w.shape[1]))
        resolution = network.model.resolution
        return official.synthesize(
            network.params["synthesis"], ws, network.noise, None, model=network.model, resolution=resolution
        )

    latents, t = recorded[f"{case}/latents"], recorded[f"{case}/lerp_t"]
    arrays = (latents[0::2], latents[1::2], t, jax.random.key(0))
    ours = jax.jit(functools.partial(ppl.pair_distances, map_fn, synthesize_fn, _square, definition))(*arrays)
    expected = recorded[f"{case}/distances"]
    # Differences of images for a step of 1e-2: rounding to float32 shows.
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-4 * expected.max())
    np.testing.assert_allclose(ppl.path_length(ours), recorded[f"{case}/result"], rtol=1e-4)


# ---- recorded with LPIPS, in float64


@pytest.mark.goldens
@pytest.mark.slow
@pytest.mark.parametrize("case", ["z_full", "z_end", "w_full", "w_end"])
def test_path_lengths_with_the_real_network_equal_recorded_ones(goldens, real_vgg, case):
    found = _recorded(goldens, "metrics2", "ppl.npz")
    with jax.enable_x64(True):
        arrays = {name: found[name].astype(np.float64) for name in ("z1", "z2", "t", "map_matrix", "basis", "bias")}
        params = {name: value.astype(np.float64) for name, value in real_vgg.params.items()}
        space, sampling = case.split("_")
        t = arrays["t"] if sampling == "full" else np.zeros(64)
        for crop in ("crop", "nocrop"):
            if f"{case}/{crop}/distances" not in found:
                continue
            definition = ppl.Definition(space, sampling, crop == "crop", num_pairs=64)

            def map_fn(z, key):
                z = z / jnp.sqrt(jnp.mean(jnp.square(z), axis=1, keepdims=True) + 1e-8)
                return jnp.tanh(z @ arrays["map_matrix"])

            def synthesize_fn(w, key):
                images = arrays["bias"][None] + jnp.einsum("nk,kchw->nchw", w, arrays["basis"])
                return images.transpose(0, 2, 3, 1)

            distance_fn = functools.partial(vgg.lpips, params)
            measured = jax.jit(functools.partial(ppl.pair_distances, map_fn, synthesize_fn, distance_fn, definition))
            num_pairs = 64 if crop == "crop" else 16  # Whole images take four times as long.
            parts = [slice(k, k + 8) for k in range(0, num_pairs, 8)]
            ours = [measured(arrays["z1"][p], arrays["z2"][p], t[p], jax.random.key(0)) for p in parts]
            ours = np.concatenate(ours)
            np.testing.assert_allclose(ours, found[f"{case}/{crop}/distances"][:num_pairs], rtol=1e-5)
            if num_pairs == 64:
                np.testing.assert_allclose(ppl.path_length(ours), found[f"{case}/{crop}/result"], rtol=1e-6)


# ---- known truths


def _faces():
    """Returns the ends of paths of smooth factors, and the renderer, which is differentiable."""
    smooth = (
        "yaw",
        "pitch",
        "roll",
        "zoom",
        "head_width",
        "skin",
        "smile",
        "eye_size",
        "nose_length",
        "background_value",
    )
    columns = [k for k, factor in enumerate(faces.FACTORS) if factor.name in smooth]
    assert len(columns) >= 5
    factors = faces.sample_factors(np.arange(64), 3)
    w1, w2 = factors[:32].copy(), factors[:32].copy()
    w2[:, columns] = factors[32:, columns]
    return jnp.asarray(w1), jnp.asarray(w2), lambda w: faces.render(w, jnp.arange(32, dtype=jnp.int32), 16, jnp)


def _waves():
    """Returns the ends of paths, and a generator of waves."""
    rng = np.random.default_rng(0)
    w1, w2, matrix = (rng.standard_normal(shape).astype(np.float32) for shape in ((32, 4), (32, 4), (4, 192)))
    return w1, w2, lambda w: jnp.sin(jnp.matmul(w, matrix, precision="highest")).reshape(32, 8, 8, 3)


@pytest.mark.parametrize("make", [_waves, pytest.param(_faces, marks=pytest.mark.slow)])
def test_path_lengths_equal_exact_derivatives(make):
    """The limit of small steps is the squared length of the derivative of the image along the path."""
    w1, w2, image_of = make()
    t = jnp.asarray(np.random.default_rng(0).random(32), jnp.float32)
    definition = ppl.Definition("w", "full", crop=False, num_pairs=32, epsilon=1e-3)
    measured = functools.partial(
        ppl.pair_distances, lambda z, key: z, lambda w, key: image_of(w), _mean_square, definition
    )
    ours = jax.jit(measured)(w1, w2, t, jax.random.key(0))
    path = functools.partial(ppl.lerp, w1, w2)
    _, slopes = jax.jit(lambda t: jax.jvp(lambda t: image_of(path(t)), (t,), (jnp.ones_like(t),)))(t)
    exact = jnp.mean(jnp.square(slopes), axis=(1, 2, 3))
    assert float(jnp.min(exact)) > 0
    np.testing.assert_allclose(ppl.path_length(ours), ppl.path_length(exact), rtol=0.01)


def _linear(scale: float = 1.0):
    """Returns a generator whose images are latents times a matrix, and the matrix."""
    matrix = np.random.default_rng(0).standard_normal((Z_SIZE, 64)).astype(np.float32)

    def synthesize_fn(w, key):
        noise = 10 * jax.random.normal(key, (len(w), 64))
        images = scale * jnp.matmul(w, matrix, precision="highest") + noise
        return images.reshape(len(w), 8, 8, 1)

    return synthesize_fn, matrix


def _mean_square(a, b):
    return jnp.mean(jnp.square(a - b), axis=(1, 2, 3))


W_END = ppl.Definition("w", "end", crop=False, num_pairs=20, epsilon=0.5)


def _measure(definition, map_fn=lambda z, key: z, synthesize_fn=None, seed=0, batch=8):
    batches = ppl.measure(
        map_fn,
        synthesize_fn or _linear()[0],
        _mean_square,
        definition,
        z_size=Z_SIZE,
        key=jax.random.key(seed),
        batch=batch,
    )
    return list(batches)


def test_both_images_of_a_pair_have_the_same_noise():
    """A linear generator's distances do not depend on where a step begins, and not at all on its noise."""
    full = dataclasses.replace(W_END, sampling="full")
    quiet, _ = _linear()
    for definition in (W_END, full):
        ours = np.concatenate(_measure(definition))
        silent = np.concatenate(_measure(definition, synthesize_fn=lambda w, key: quiet(w, jax.random.key(3))))
        np.testing.assert_allclose(ours, silent, rtol=1e-3)


def test_distances_are_divided_by_the_square_of_the_step():
    small, large = (np.concatenate(_measure(dataclasses.replace(W_END, epsilon=e))) for e in (0.25, 0.5))
    np.testing.assert_allclose(small, large, rtol=1e-3)


def test_steps_in_z_are_of_normalized_latents():
    """On the unit circle of a linear generator the length of a small step is the angle between the latents."""
    definition = ppl.Definition("z", "end", crop=False, num_pairs=20, epsilon=1e-2)

    def synthesize_fn(w, key):
        return 8 * w[:, None, :, None]

    ours = np.concatenate(_measure(definition, synthesize_fn=synthesize_fn))
    assert np.all(ours < 64 * np.pi**2 / Z_SIZE) and np.all(ours > 0)
    scaled = np.concatenate(_measure(definition, map_fn=lambda z, key: z, synthesize_fn=synthesize_fn))
    np.testing.assert_array_equal(ours, scaled)


def test_pairs_come_in_batches_and_the_last_one_is_cut():
    batches = _measure(W_END, batch=8)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    np.testing.assert_array_equal(np.concatenate(_measure(W_END, batch=8)), np.concatenate(batches))
    assert not np.array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], _measure(W_END, seed=1)[0])


def test_labels_are_the_same_at_both_ends():
    """What the mapping draws by its key is the same for both latents of a pair."""

    def map_fn(z, key):
        return jnp.zeros_like(z) + 100 * jax.random.normal(key, (len(z), 1))

    assert np.concatenate(_measure(W_END, map_fn=map_fn)).max() == 0


@pytest.mark.parametrize("precision", ["default", "high"])
def test_products_of_lower_precision_are_refused(precision):
    def synthesize_fn(w, key):
        return jnp.matmul(w, jnp.ones((Z_SIZE, 64)), precision=precision).reshape(-1, 8, 8, 1)

    with pytest.raises(ValueError, match="a dot_general of the given functions has the precision .*HIGHEST"):
        _measure(W_END, synthesize_fn=jax.jit(synthesize_fn))


def test_narrow_values_are_refused():
    def synthesize_fn(w, key):
        return jnp.tile(w[:, :1, None, None].astype(jnp.bfloat16), (1, 8, 8, 1))

    with pytest.raises(
        ValueError, match="convert_element_type of the given functions has bfloat16 values; use float32"
    ):
        _measure(W_END, synthesize_fn=synthesize_fn)


def test_the_default_precision_becomes_the_highest():
    def synthesize_fn(w, key):
        return (w @ jnp.ones((Z_SIZE, 64))).reshape(-1, 8, 8, 1)

    with jax.default_matmul_precision("default"):
        assert len(_measure(W_END, synthesize_fn=synthesize_fn)) == 3


def test_steps_begin_anywhere_or_at_the_start():
    places = ppl.draw_places(jax.random.key(0), 1000, "full")
    assert 0 <= places.min() < 0.01 and 0.99 < places.max() < 1
    np.testing.assert_array_equal(ppl.draw_places(jax.random.key(0), 5, "end"), np.zeros(5))


def test_the_crop_keeps_rows_3_to_7_and_columns_2_to_6_of_8():
    places = np.moveaxis(np.mgrid[:16, :16], 0, 2)[None].astype(np.float32)
    np.testing.assert_array_equal(ppl.prepared(places, crop=True)[0, [0, -1], [0, -1]], [[6, 4], [13, 11]])
    assert ppl.prepared(places, crop=False) is places
    assert ppl.prepared(jnp.zeros((1, 1024, 1024, 1)), crop=True).shape == (1, 256, 256, 1)
    assert ppl.prepared(jnp.zeros((1, 512, 512, 1)), crop=False).shape == (1, 256, 256, 1)


@pytest.mark.parametrize("fields", [{}, {"matmul_precision": "high"}, {"compute_dtype": "bfloat16"}])
def test_generators_of_lower_precision_are_refused_by_their_settings(fields):
    network = random_network(resolution=8)
    model = dataclasses.replace(network.model, **fields)

    def map_fn(z, key):
        return sampling.map_latents(network.params, z, None, model)

    def synthesize_fn(w, key):
        noise = generator.make_noise(key, len(w), model, 8)
        ws = jnp.broadcast_to(w[:, None], (len(w), model.num_layers, w.shape[1]))
        return sampling.synthesize(network.params, ws, noise, None, model, 8)

    definition = ppl.Definition("w", "full", crop=False, num_pairs=2)

    def measure():
        how = {"z_size": model.z_size, "key": jax.random.key(0), "batch": 2}
        return ppl.measure(map_fn, synthesize_fn, _mean_square, definition, **how)

    if fields:
        with pytest.raises(ValueError, match=f"for a model here: {next(iter(fields))}"):
            measure()
    else:
        assert np.all(next(measure()) > 0)


def test_distances_that_are_not_finite_are_refused():
    for distances, count in (([1.0, np.nan, np.inf], "2 of 3"), ([], "0 of 0")):
        with pytest.raises(ValueError, match=f"{count} distances are not finite"):
            ppl.path_length(np.array(distances))


def test_percentiles_are_the_nearest_distances_and_count_themselves():
    distances = np.arange(200.0) ** 3
    np.testing.assert_allclose(ppl.path_length(distances), np.mean(distances[1:199]))


def test_definitions_are_the_official_ones():
    official_names = {"ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend"}
    assert ppl.DEFINITIONS.keys() == official_names | {"ppl2_wend"} | {f"{name}_nocrop" for name in official_names}
    for name in official_names:
        assert ppl.DEFINITIONS[f"{name}_nocrop"] == dataclasses.replace(ppl.DEFINITIONS[name], crop=False)
        definition = ppl.DEFINITIONS[name]
        assert name == f"ppl_{definition.space}{definition.sampling}"
        assert (definition.crop, definition.num_pairs, definition.epsilon) == (True, 100_000, 1e-4)
    assert ppl.DEFINITIONS["ppl2_wend"] == ppl.Definition("w", "end", crop=False, num_pairs=50_000, epsilon=1e-4)
