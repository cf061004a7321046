"""Settings small enough for tests: 16 px and 16 feature maps, 8 px upwards."""

from stylegan_jax import config


def settings(**changes) -> config.Config:
    """Returns small settings; `changes` are dicts by group, such as train={"r1_gamma": 5.0}."""
    model = {"resolution": 16, "fmap_base": 128, "fmap_max": 16, "z_size": 16, "w_size": 16, "mapping_fmaps": 16}
    values = {
        "model": model | {"mapping_layers": 2},
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
    return config.from_dict(values)
