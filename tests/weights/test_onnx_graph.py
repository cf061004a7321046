"""The ONNX graph follows every switch of the model, with standard operators alone."""

import dataclasses
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from stylegan_jax.config import Model, architectures
from stylegan_jax.weights import onnx_graph
from tests.random_networks import random_network

PROGAN = {
    "use_styles": False,
    "const_input": False,
    "use_noise": False,
    "use_pixel_norm": True,
    "use_instance_norm": False,
    "blur_filter": None,
    "mapping_layers": 0,
    "w_size": 10,
}
SWITCHES = [
    PROGAN,
    {"use_styles": False},
    {"const_input": False},
    {"use_noise": False},
    {"use_pixel_norm": True},
    {"use_instance_norm": False},
    {"instance_norm_epsilon": 0.01},
    {"blur_filter": None},
    {"blur_filter": (1, 3)},
    {"bias_before_blur": True},
    {"nonlinearity": "relu"},
    {"use_equalized_lr": False},
    {"normalize_latents": False},
    {"mapping_lr_multiplier": 0.02},
    {"num_labels": 3, "embed_labels": False},
    {"channels": 4},
]
# Fields that the sizes of arrays tell, or that act on training or on the discriminator alone.
SIZES = {"resolution", "z_size", "mapping_fmaps", "fmap_base", "fmap_decay", "fmap_max", "fmaps_by_resolution"}
OTHERS = {"stddev_group", "stddev_features", "remat", "compute_dtype", "matmul_precision"}
OTHERS |= {"architecture", *architectures.OF_STYLEGAN2}


def model_of(network):
    w_avg = network.w_avg
    return onnx_graph.onnx_model(network.params, network.model, w_avg, network.noise, network.resolution)


def test_every_field_of_the_model_is_tested_or_known_not_to_matter():
    tested = {name for changes in SWITCHES for name in changes}
    assert {field.name for field in dataclasses.fields(Model)} - SIZES - OTHERS <= tested


@pytest.mark.parametrize("changes", SWITCHES, ids=str)
def test_the_graph_follows_the_switch(changes):
    network = random_network(resolution=16, fmap_base=64, **changes)
    inputs = {"z": np.random.default_rng(0).standard_normal((2, 10), dtype=np.float32)}
    if network.model.num_labels:
        inputs["labels"] = np.eye(3, dtype=np.float32)[[2, 0]]
    expected = network.synthesize(network.map(inputs["z"], inputs.get("labels")))
    if network.w_avg is not None:
        inputs["psi"] = np.ones((), np.float32)
    session = onnxruntime.InferenceSession(model_of(network).SerializeToString())
    (images,) = session.run(None, inputs)
    assert images.shape == expected.shape
    assert np.abs(images - expected).max() <= 1e-4 * np.abs(expected).max()


def test_operators_are_standard_and_none_is_random():
    proto = model_of(random_network(resolution=16, fmap_base=64, num_labels=3))
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 17)]
    operators = {node.op_type for node in proto.graph.node}
    assert not any("Random" in each for each in operators)
    assert all(onnx.defs.has(each) for each in operators) and not proto.functions


def test_without_onnx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install onnx"):
        model_of(random_network(resolution=16, fmap_base=64))
