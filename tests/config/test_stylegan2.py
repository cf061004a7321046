"""configs/stylegan2.py has the values that the official train.py turns its options into."""

import json
import pathlib
import runpy

import pytest

from stylegan_jax import config
from tests import official

pytestmark = pytest.mark.goldens

FILE = pathlib.Path(__file__).parent.parent.parent / "configs" / "stylegan2.py"
OFFICIAL_DEFAULTS = {"pl_weight": 2, "style_mixing_prob": 0.9, "ada_kimg": 500}  # Of the loss and the loop.
OF_BGC = {
    "xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac",
    "brightness", "contrast", "lumaflip", "hue", "saturation",
}  # fmt: skip


def recorded():
    """Returns (our name, resolution px, official settings) of each run that is chosen by --cfg and --gpus alone."""
    with open(official.folder() / "sg2" / "train_options.json") as file:
        for entry in json.load(file):
            options, resolution = entry["options"], entry["dataset"]["resolution"]
            if options.keys() <= {"gpus", "cfg"} and "error" not in entry:
                name = options.get("cfg") or f"auto-{resolution}-{options['gpus']}"
                yield pytest.param(name, resolution, entry["training_loop_kwargs"], id=name)


@pytest.mark.parametrize(("name", "resolution", "kwargs"), list(recorded()))
def test_every_value_that_has_a_counterpart_is_the_official_one(name, resolution, kwargs):
    ours = config.from_dict(runpy.run_path(str(FILE))["get_config"](name).to_dict())
    model, schedule, train = ours.model, ours.schedule, ours.train
    g, d, loss = kwargs["G_kwargs"], kwargs["D_kwargs"], OFFICIAL_DEFAULTS | kwargs["loss_kwargs"]
    if name.startswith("auto-"):  # The others are for pictures of any size there.
        assert model.resolution == resolution
    assert ours.data.source == ("data/cifar10" if name == "cifar" else "data/ffhq")
    assert (model.architecture, model.g_connections) == ("stylegan2", "skip")
    assert model.d_connections == d.get("architecture", "resnet")
    assert (model.z_size, model.w_size, model.mapping_fmaps) == (g["z_dim"], g["w_dim"], g["w_dim"])
    assert model.mapping_layers == g["mapping_kwargs"]["num_layers"]
    assert model.stddev_group == d["epilogue_kwargs"]["mbstd_group_size"]
    for of_network in (g["synthesis_kwargs"], d):
        base, most = of_network["channel_base"], of_network["channel_max"]
        assert [model.fmaps(r) for r in model.resolutions] == [min(base // r, most) for r in model.resolutions]
        assert model.conv_clamp == of_network["conv_clamp"]
    assert (schedule.total_kimg, schedule.batch_at(resolution)) == (kwargs["total_kimg"], kwargs["batch_size"])
    assert schedule.initial_resolution == model.resolution and schedule.lr_by_resolution == ()
    for optimizer in (kwargs["G_opt_kwargs"], kwargs["D_opt_kwargs"]):
        assert (schedule.lr, [0, train.adam_beta2], train.adam_eps) == (
            optimizer["lr"], optimizer["betas"], optimizer["eps"]
        )  # fmt: skip
    assert train.r1_gamma == pytest.approx(loss["r1_gamma"], rel=1e-12)
    assert (train.pl_weight, train.style_mixing_prob) == (loss["pl_weight"], loss["style_mixing_prob"])
    assert (train.r1_interval, train.pl_interval) == (16, 4)
    assert (train.ema_halflife_kimg, train.ema_rampup) == (kwargs["ema_kimg"], kwargs["ema_rampup"])
    assert (train.augment, train.augment_p) == ("ada", kwargs.get("augment_p"))
    assert {key for key, value in kwargs["augment_kwargs"].items() if value == 1} == OF_BGC
    assert (train.ada_target, train.ada_kimg) == (kwargs["ada_target"], kwargs.get("ada_kimg", loss["ada_kimg"]))
    assert ours.report.image_ticks == kwargs["image_snapshot_ticks"]
    assert ours.report.checkpoint_ticks == kwargs["network_snapshot_ticks"]


@pytest.mark.parametrize("name", ["paper128", "auto-256", "auto-256-x", "auto-256-8-2", "auto-256-0", "auto-0-8"])
def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(name):
    with pytest.raises(ValueError, match=r"auto-256-8"):
        runpy.run_path(str(FILE))["get_config"](name)
