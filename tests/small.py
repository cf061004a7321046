"""Settings small enough for tests: 8 to 16 px and 16 feature maps."""

import pathlib
import runpy
import types

from stylegan_jax.config import Config, from_dict

CONFIGS = sorted((pathlib.Path(__file__).parent.parent / "configs").glob("*.py"))
MODEL = {"resolution": 16, "fmap_base": 128, "fmap_max": 16, "z_size": 16, "w_size": 16, "mapping_fmaps": 16}


# Devices that need not be here, for backend.forms_for.
CPU, TPU = (types.SimpleNamespace(platform=platform) for platform in ("cpu", "tpu"))
GPU, OLD_GPU, AMD_GPU = (
    types.SimpleNamespace(platform="gpu", compute_capability=name) for name in ("9.0", "7.0", "gfx90a")
)


def read_config(path: pathlib.Path) -> dict:
    """Returns the settings of a file in configs/."""
    return runpy.run_path(str(path))["get_config"]().to_dict()


def settings(**changes) -> Config:
    """Returns small settings; `changes` are dicts by group, such as train={"r1_gamma": 5.0}."""
    values = {
        "model": MODEL | {"mapping_layers": 2},
        "data": {"num_faces": 64, "num_heldout": 32},
        "schedule": {
            "stable_kimg": 0.064,
            "fade_kimg": 0.064,
            "total_kimg": 0.256,
            "batch": 8,
            "batch_by_resolution": (),
            "tick_kimg": 0.032,
            "tick_kimg_by_resolution": (),
        },
        "report": {"metric_ticks": 0, "checkpoint_ticks": 1},
    }
    for group, fields in changes.items():
        values[group] = values.get(group, {}) | fields if isinstance(fields, dict) else fields
    return from_dict(values)
