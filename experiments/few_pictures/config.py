"""StyleGAN2 on 1,000 emoji at 64x64: the same run with four remedies against having few pictures, or none.

    python -m stylegan_jax.main --config=experiments/few_pictures/config.py:ada --config.data.source=chosen.zip \
        --workdir=DIR

README.md beside this file has the numbers.
"""

import ml_collections

from experiments.architectures.config import small

REMEDIES = ("none", "diffaugment", "ada", "pairing")


def get_config(remedy: str = "ada") -> ml_collections.ConfigDict:
    """Returns the settings of a remedy."""
    if remedy not in REMEDIES:
        raise ValueError(f"there is no remedy {remedy!r}; use one of {', '.join(REMEDIES)}")
    settings = small()
    settings.model.architecture = "stylegan2"
    settings.data.source = "chosen.zip"
    settings.data.num_heldout = settings.report.metric_ticks = 0  # The other emoji are held out, in a file of theirs.
    settings.schedule.tick_kimg = 4.0
    settings.schedule.total_kimg = 100.0
    settings.train.adam_form = "pytorch"
    settings.report.checkpoint_ticks = settings.report.image_ticks = 5
    settings.report.keep_checkpoints = 1
    settings.report.keep_every_kimg = 20.0
    if remedy in ("diffaugment", "ada"):
        settings.train.augment = remedy
    if remedy == "ada":
        settings.train.ada_kimg = 100.0  # With the default of 500, p could move by 0.2 in the whole run.
    if remedy == "pairing":
        settings.train.g_loss = settings.train.d_loss = "relativistic"
        settings.train.r1_interval = 1
        settings.train.r2_gamma = settings.train.r1_gamma
    return settings
