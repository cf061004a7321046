"""Programs that run without this package compute the network's images: in StableHLO, and in ONNX."""

import dataclasses
import re
import subprocess
import sys

import jax
import numpy as np
import onnxruntime
import pytest

from stylegan_jax.devices import backend
from stylegan_jax.networks import generator
from stylegan_jax.weights import onnx_graph, programs
from tests.random_networks import random_network
from tests.small import GPU


def make_stablehlo(path, network, **options):
    """Writes a program, and returns a function of its inputs, by name, that runs what was written."""
    programs.save_stablehlo(path, programs.stablehlo(*parts(network), **options))
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    return lambda inputs: np.asarray(program.call(**inputs))


def make_onnx(path, network, **options):
    onnx_graph.save_onnx(path, onnx_graph.onnx_model(*parts(network), **options))
    session = onnxruntime.InferenceSession(path)
    return lambda inputs: session.run(["images"], inputs)[0]


def parts(network):
    return network.params, network.model, network.w_avg, network.noise, network.resolution, network.alpha


FORMATS = [
    pytest.param(make_stablehlo, 1e-5, id="stablehlo"),
    pytest.param(make_onnx, 1e-4, id="onnx"),
]
MAKERS = [pytest.param(each.values[0], id=each.id) for each in FORMATS]
PSI = np.asarray(0.7, np.float32)


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=16, fmap_base=64)


def latents(n, size=10):
    return np.random.default_rng(n).standard_normal((n, size), dtype=np.float32)


def images_of(network, z, labels=None, psi=1.0, cutoff=None, noise="const"):
    """Returns the network's own images, at the resolution that it is trained at."""
    ws = network.map(z, labels)
    if psi != 1:
        ws = np.asarray(generator.truncate(ws, network.w_avg, psi, cutoff))
    repeats = network.model.resolution // network.resolution
    return network.synthesize(ws, noise=noise)[:, ::repeats, ::repeats]


def assert_near(images, expected, tolerance):
    assert images.shape == expected.shape and images.dtype == np.float32
    assert np.abs(images - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(("make", "tolerance"), FORMATS)
def test_images_of_any_batch_are_the_networks(make, tolerance, network, tmp_path):
    program = make(tmp_path / "program", network)
    for n in (1, 3, 4):
        z = latents(n)
        assert_near(program({"z": z, "psi": PSI}), images_of(network, z, psi=0.7), tolerance)


@pytest.mark.parametrize(("make", "tolerance"), FORMATS)
def test_psi_acts_on_the_layers_below_the_cutoff(make, tolerance, network, tmp_path):
    program, z = make(tmp_path / "program", network, cutoff=3), latents(2)
    assert_near(program({"z": z, "psi": PSI}), images_of(network, z, psi=0.7, cutoff=3), tolerance)


@pytest.mark.parametrize(("make", "tolerance"), FORMATS)
def test_noise_can_be_an_input_for_each_image(make, tolerance, network, tmp_path):
    program, z = make(tmp_path / "program", network, has_noise_inputs=True), latents(2)
    rng, sizes = np.random.default_rng(0), [r for r in network.model.resolutions for _ in range(2)]
    noise = [rng.standard_normal((2, r, r, 1), dtype=np.float32) for r in sizes]
    inputs = {"z": z, "psi": PSI} | {f"noise{i}": each for i, each in enumerate(noise)}
    assert_near(program(inputs), images_of(network, z, psi=0.7, noise=noise), tolerance)


@pytest.mark.parametrize(("make", "tolerance"), FORMATS)
def test_labels_are_an_input_of_a_conditional_network(make, tolerance, tmp_path):
    network, z = random_network(resolution=16, fmap_base=64, num_labels=3), latents(3)
    program = make(tmp_path / "program", network)
    labels = np.eye(3, dtype=np.float32)[[2, 0, 1]]
    assert_near(program({"z": z, "labels": labels, "psi": PSI}), images_of(network, z, labels, psi=0.7), tolerance)


@pytest.mark.parametrize(("make", "tolerance"), FORMATS)
def test_a_network_in_a_fade_makes_images_of_its_resolution(make, tolerance, network, tmp_path):
    fading, z = dataclasses.replace(network, resolution=8, alpha=0.3), latents(2)
    images = make(tmp_path / "program", fading)({"z": z, "psi": PSI})
    assert images.shape == (2, 8, 8, 3)
    assert_near(images, images_of(fading, z, psi=0.7), tolerance)


@pytest.mark.parametrize(("make", "tolerance"), FORMATS)
def test_a_network_without_a_mean_of_w_takes_latents_alone(make, tolerance, network, tmp_path):
    plain, z = dataclasses.replace(network, w_avg=None), latents(2)
    assert_near(make(tmp_path / "program", plain)({"z": z}), images_of(plain, z), tolerance)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"noise": None}, {}, "no stored maps"),
        ({"noise": ()}, {}, r"maps of \[\]; expected .1, r, r, 1. for each r"),
        ({"w_avg": None}, {"cutoff": 3}, "cutoff is 3, but a network without w_avg"),
        ({}, {"cutoff": -1}, "cutoff is -1; use a number of layers .all are 6."),
        ({"resolution": 32}, {}, "resolution is 32; the network has 4, 8, 16 px"),
        ({"alpha": 1.5}, {}, "alpha is 1.5; use 0 to 1"),
    ],
)
@pytest.mark.parametrize("make", MAKERS)
def test_a_program_that_cannot_be_is_refused(make, changes, options, message, network, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "program", dataclasses.replace(network, **changes), **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", MAKERS)
def test_noise_inputs_of_a_network_without_noise_are_refused(make, tmp_path):
    network = random_network(resolution=16, use_noise=False)
    with pytest.raises(ValueError, match=r"the model has no noise \(use_noise=False\)"):
        make(tmp_path / "program", network, has_noise_inputs=True)


def test_stablehlo_has_one_form_for_all_devices(network):
    program = programs.stablehlo(*parts(network))
    assert program.platforms == ("cpu", "cuda", "tpu")
    text = program.mlir_module()
    assert set(re.findall(r"custom_call @(\w+)", text)) <= {"shape_assertion"}  # No kernel of one device.
    with backend.forms_for(GPU):
        assert programs.stablehlo(*parts(network)).mlir_module() == text


def test_stablehlo_holds_each_array_once():
    network = random_network(resolution=64, fmap_base=1024, fmap_max=32)
    arrays = [*jax.tree.leaves(network.params), *network.noise]
    assert len(programs.stablehlo(*parts(network)).serialize()) < 1.2 * sum(each.nbytes for each in arrays)


def test_stablehlo_says_nothing_of_this_machine(network):
    assert b".py" not in programs.stablehlo(*parts(network)).serialize()


READER = """
import sys, jax, numpy
from jax import export
program = export.deserialize(bytearray(open("program", "rb").read()))
inputs = numpy.load("inputs.npz")
numpy.save("images.npy", program.call(z=inputs["z"], psi=inputs["psi"]))
assert not any(name.startswith("stylegan_jax") for name in sys.modules)
"""


def test_a_process_without_this_package_runs_stablehlo(network, tmp_path):
    z = latents(2)
    programs.save_stablehlo(tmp_path / "program", programs.stablehlo(*parts(network)))
    np.savez(tmp_path / "inputs.npz", z=z, psi=PSI)
    result = subprocess.run([sys.executable, "-c", READER], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert_near(np.load(tmp_path / "images.npy"), images_of(network, z, psi=0.7), 1e-5)


@pytest.mark.parametrize("has_noise_inputs", [False, True])
def test_stablehlo_of_stylegan2_gives_its_images(tmp_path, has_noise_inputs):
    network = random_network(architecture="stylegan2", resolution=16, num_labels=2)
    program = make_stablehlo(tmp_path / "program", network, has_noise_inputs=has_noise_inputs)
    z, labels = latents(2), np.eye(2, dtype=np.float32)
    inputs = {"z": z, "psi": PSI, "labels": labels}
    if has_noise_inputs:  # The first layer at 4 px has none.
        inputs |= {f"noise{i}": m.repeat(2, axis=0) for i, m in enumerate(network.noise) if m is not None}
        assert "noise0" not in inputs and "noise1" in inputs
    assert_near(program(inputs), images_of(network, z, labels, psi=0.7), 1e-5)
