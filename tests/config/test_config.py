import math

import pytest

from stylegan_jax import config
from stylegan_jax.config import checks
from stylegan_jax.config.schedule import phase_at
from tests.small import CONFIGS, read_config, settings


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_file_is_valid(path):
    values = read_config(path)
    assert config.to_dict(config.from_dict(values)) == values


def test_defaults_survive_the_round_trip():
    assert config.from_dict(config.default().to_dict()) == config.Config()


def test_paper_has_18_layers_and_its_feature_maps():
    model = config.Model()
    assert model.num_layers == 18
    assert [model.fmaps(r) for r in model.resolutions] == [512, 512, 512, 512, 256, 128, 64, 32, 16]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "no field modle; did you mean model"),
        ({"train": {"r1_gama": 1.0}}, "no field train.r1_gama; did you mean train.r1_gamma"),
        ({"train": {"r1_gamma": "ten"}}, "train.r1_gamma is 'ten' of type str; it must be float"),
        ({"model": {"resolution": 48}}, "model.resolution is 48; use 8, 16"),
        ({"model": {"resolution": 16.0}}, "it must be int"),
        ({"model": {"channels": 2}}, r"model.channels is 2; use 1 \(gray\), 3 \(RGB\) or 4 \(RGBA\)"),
        ({"model": {"mapping_layers": 0, "z_size": 8}}, "model.w_size is 512; .* use 8"),
        ({"model": {"nonlinearity": "gelu"}}, "'lrelu', 'relu'"),
        ({"data": {"background": (0, 0)}}, "data.background"),
        ({"data": {"on_bad_image": "ignore"}}, "'fail', 'skip'"),
        ({"schedule": {"batch": 30}}, "batch of 30 at 128x128 .* use 28 or 32"),
        ({"schedule": {"initial_resolution": 12}}, "schedule.initial_resolution is 12"),
        ({"schedule": {"lr_by_resolution": ((8, 1, 2),)}}, "entries are"),
        ({"schedule": {"lr": 0.0}}, "schedule.lr"),
        ({"train": {"d_loss": "hinge"}}, "with d_loss 'hinge' use 'wgan'"),
        ({"train": {"d_loss": "relativistic"}}, "with d_loss 'relativistic' use 'relativistic'"),
        ({"train": {"g_loss": "relativistic"}}, "with d_loss 'logistic' use 'logistic_nonsaturating' or"),
        ({"train": {"adam_beta2": 1.0}}, "train.adam_beta2"),
        ({"schedule": {"accumulation": 0}}, "schedule.accumulation is 0; use more than 0"),
        ({"schedule": {"accumulation": 3}}, r"batch of 256 at 8x8 .* \(=3\) parts .* \(=4\); use 1 or 2 or 4 or 8"),
        ({"train": {"r1_interval": 0}}, "train.r1_interval is 0; use 1 to"),
        ({"train": {"r1_interval": 16, "r1_gamma": 0.0}}, "train.r1_interval is 16; with r1_gamma 0 use 1"),
        (
            {"train": {"freeze_d": 9}},
            "train.freeze_d is 9; at model.resolution=1024 .* 8 blocks above 4 px: use 0 to 8",
        ),
        ({"train": {"freeze_d": -1}}, "train.freeze_d is -1"),
        ({"model": {"compute_dtype": "float16"}}, "model.compute_dtype is 'float16'; .* 'float32', 'bfloat16'"),
        ({"data": {"num_heldout": 0}}, r"data.num_heldout is 0; .* 2 or more; .* report.metric_ticks=0 \(it is 10\)"),
        ({"data": {"num_heldout": 1}}, "data.num_heldout is 1"),
        (
            {"schedule": {"stable_kimg": 0.0, "fade_kimg": 0.0}},
            r"schedule.stable_kimg is 0.0; with schedule.fade_kimg \(=0.0\) .* stay at 8 px: .*initial_resolution=1024",
        ),
        ({"model": {"matmul_precision": "low"}}, "'default', 'high', 'highest'"),
        *(
            ({"model": {"instance_norm_epsilon": value}}, rf"model.instance_norm_epsilon is {value}; use 1e-30 or more")
            for value in (-1e-5, 0.0, 1e-46, 1.0, math.inf, math.nan)
        ),
        (
            {"model": {"instance_norm_epsilon": 1e-5, "use_instance_norm": False}},
            "model.instance_norm_epsilon is 1e-05; with model.use_instance_norm=False it has no effect: use 1e-08",
        ),
        (
            {"model": {"bias_before_blur": True, "blur_filter": None}},
            "model.bias_before_blur is True; with model.blur_filter=None it has no effect: use False",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(values, message):
    with pytest.raises(ValueError, match=message):
        config.from_dict(values)


STYLEGAN2 = {"architecture": "stylegan2"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *(
            ({name: value}, f"model.{name} is .*; with model.architecture='stylegan' it has no effect: use")
            for name, value in {
                "g_connections": "resnet", "d_connections": "skip", "conv_clamp": 256.0, "embed_size": 8,
                "d_mapping_layers": 2, "d_mapping_lr_multiplier": 0.1, "d_mapping_size": 8,
            }.items()
        ),
        *(
            (STYLEGAN2 | {name: value}, f"model.{name} is .*; with model.architecture='stylegan2' it has no effect")
            for name, value in {
                "normalize_latents": False, "embed_labels": False, "use_styles": False, "const_input": False,
                "use_pixel_norm": True, "use_instance_norm": False, "instance_norm_epsilon": 1e-5,
                "bias_before_blur": True, "use_equalized_lr": False,
            }.items()
        ),
        (STYLEGAN2 | {"blur_filter": (1, 2)}, "takes a symmetric filter"),
        (STYLEGAN2 | {"blur_filter": None}, "takes a symmetric filter, such as .* for none"),
        (STYLEGAN2 | {"fmaps_by_resolution": ((2, 8), (4, 8))}, "nothing at 2 px"),
        (STYLEGAN2 | {"d_mapping_layers": 9}, "model.d_mapping_layers is 9; use 0 to 8"),
        (STYLEGAN2 | {"conv_clamp": 0.0}, "model.conv_clamp is 0.0; use more than 0"),
        (STYLEGAN2 | {"embed_size": 0}, "model.embed_size is 0; use more than 0"),
        (STYLEGAN2 | {"d_mapping_size": -1}, "model.d_mapping_size is -1; use more than 0"),
        (STYLEGAN2 | {"d_mapping_lr_multiplier": 0.0}, "model.d_mapping_lr_multiplier is 0.0; use more than 0"),
        (STYLEGAN2 | {"mapping_layers": 0, "z_size": 8}, "model.w_size is 512; .* use 8"),
        (
            STYLEGAN2 | {"mapping_layers": 0, "z_size": 8, "num_labels": 3, "embed_size": 4},
            "model.w_size is 512; .* use 12",
        ),
    ],
)  # fmt: skip
def test_what_the_architecture_does_not_have_keeps_its_default(values, message):
    with pytest.raises(ValueError, match=message):
        checks.check_model(config.Model(**values))


def test_a_model_of_stylegan2_may_have_all_that_is_its_own():
    fields = {"g_connections": "orig", "d_connections": "skip", "conv_clamp": 256.0, "blur_filter": (1,)}
    labels = {"num_labels": 3, "embed_size": 8, "d_mapping_layers": 0, "d_mapping_size": 16}
    checks.check_model(config.Model(**STYLEGAN2, **fields, **labels, d_mapping_lr_multiplier=0.1))


def test_networks_of_other_codes_have_an_epsilon_and_a_place_of_the_bias():
    changes = {"instance_norm_epsilon": 1e-5, "bias_before_blur": True}
    model = config.from_dict({"model": changes}).model
    assert (model.instance_norm_epsilon, model.bias_before_blur) == (1e-5, True)
    assert config.from_dict({"model": {"use_instance_norm": False, "blur_filter": None}})


def test_a_batch_that_does_not_divide_names_the_nearest_that_do():
    with pytest.raises(ValueError, match=r"among 3 devices; .*\n  8 at 8x8: use 12\n  8 at 16x16: use 12"):
        checks.check_devices(settings(), 3)
    with pytest.raises(ValueError, match=r"among 3 devices; .*\n  256 at 8x8: use 252 or 264\n"):
        checks.check_devices(config.Config(), 3)
    checks.check_devices(config.Config(), 8)
    in_parts = settings(schedule={"batch": 48, "accumulation_by_resolution": ((16, 4),)})
    with pytest.raises(ValueError, match=r"among 8 devices; .*\n  48 in 4 parts at 16x16: use 32 or 64\Z"):
        checks.check_devices(in_parts, 8)
    checks.check_devices(in_parts, 4)
    halved = settings(train={"pl_weight": 2.0}, schedule={"batch": 4})
    checks.check_devices(halved, 2)
    with pytest.raises(ValueError, match=r"among 4 devices; path lengths .* take half .*\n  4 at 8x8: use 8"):
        checks.check_devices(halved, 4)


@pytest.mark.parametrize("report", [{"metric_ticks": 0}, {"metric_ticks": 10, "checkpoint_ticks": 15}])
def test_the_best_checkpoints_are_kept_only_where_each_is_measured(report):
    with pytest.raises(ValueError, match=r"report.keep_best is 1; use 0, or a report.checkpoint_ticks .* multiple"):
        settings(report={"keep_best": 1} | report)
    settings(report={"keep_best": 1, "metric_ticks": 5, "checkpoint_ticks": 15})


def test_without_growth_training_begins_at_full_resolution():
    schedule = settings(schedule={"stable_kimg": 0.0, "fade_kimg": 0.0, "initial_resolution": 16}).schedule
    assert phase_at(0, schedule, 16).resolution == phase_at(10**6, schedule, 16).resolution == 16


def test_images_need_not_be_held_out_where_nothing_is_measured():
    assert settings(data={"num_heldout": 0}, report={"metric_ticks": 0}).data.num_heldout == 0


@pytest.mark.parametrize("name", ["batch", "accumulation", "lr", "tick_kimg"])
def test_a_setting_that_cannot_act_is_told_if_it_was_given(name):
    def notes(resolutions: tuple[int, ...], given: str) -> list[str]:
        changes = {f"{name}_by_resolution": tuple((r, 1) for r in resolutions)}
        return checks.without_effect(settings(schedule=changes), ["model.resolution", given])

    (note,) = notes((8, 16), f"schedule.{name}")
    assert note.startswith(f"schedule.{name}=") and f"--config.schedule.{name}_by_resolution='()'" in note
    assert notes((8,), f"schedule.{name}") == notes((4, 16, 32), f"schedule.{name}") == []
    assert notes((8, 16), "schedule.total_kimg") == []


@pytest.mark.parametrize(
    ("given", "values", "reason", "acting"),
    [
        (
            "data.num_faces=64",
            {"data": {"source": "digits"}},
            "data.source is not 'faces'",
            {"data": {"source": "faces"}},
        ),
        (
            "data.split='test'",
            {"data": {"split": "test"}},
            "data.source is not tfds:NAME",
            {"data": {"split": "test", "source": "tfds:mnist"}},
        ),
        ("train.gp_target=1.0", {"train": {"gp_lambda": 0.0}}, "train.gp_lambda is 0", {"train": {"gp_lambda": 10.0}}),
        (
            "train.wgan_drift=0.001",
            {"train": {"d_loss": "hinge", "g_loss": "wgan"}},
            "train.d_loss is not 'wgan'",
            {"train": {"d_loss": "wgan", "g_loss": "wgan"}},
        ),
        (
            "train.ada_target=0.6",
            {"train": {"augment": "ada", "augment_p": 0.5}},
            "train.augment is not 'ada' with train.augment_p=None",
            {"train": {"augment": "ada"}},
        ),
        (
            "model.embed_labels=True",
            {"model": {"num_labels": 0}},
            "model.num_labels is 0",
            {"model": {"num_labels": 2}},
        ),
        (
            "report.best_metric='fd_faces'",
            {"report": {"keep_best": 0}},
            "report.keep_best is 0",
            {"report": {"keep_best": 1, "metric_ticks": 5, "checkpoint_ticks": 5}},
        ),
    ],
)
def test_a_setting_that_acts_only_with_another_is_told_if_it_was_given(given, values, reason, acting):
    name = given.partition("=")[0]
    (note,) = checks.without_effect(settings(**values), [name, "schedule.total_kimg"])
    assert note == f"{given} has no effect: {reason}. Change that, or leave this out."
    assert checks.without_effect(settings(**acting), [name]) == []
    assert checks.without_effect(settings(**values), ["schedule.total_kimg"]) == []
