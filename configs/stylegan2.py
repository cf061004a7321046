r"""StyleGAN2 with the settings of the official code, its train.py's --cfg (stylegan2-ada-pytorch).

    python -m stylegan_jax.main --config=stylegan2:paper256 --workdir=DIR --config.data.source=data/ffhq

After the colon: stylegan2 (FFHQ at 1024 px; without a name too), paper256, paper512, paper1024, cifar, or auto-R-N for
pictures of R px on N GPUs, such as auto-256-8. All have adaptive augmentation, as there (--config.train.augment=None
is its noaug), and all but cifar mirror their pictures (--config.data.mirror=False leaves that out).

    hours on one H100, at least: cifar 4.4, paper256 7.2, paper512 28, stylegan2 and paper1024 53

They are a floor, --mode=plan --topology=h100:1: the least that published limits allow the compiled program, without
ticks and metrics. We have not run these settings.

Differs: features are bfloat16 at every resolution, where the official code has float16 at the four highest; iterations
are not in the order G, path lengths, D, R1, average but path lengths, R1, D, average, G; one device computes the whole
batch. With cifar, the generator's learning rate is 0.0025 and its decay 0.99; the official code has 0.002 and 0.99**0.8
there, the correction for updates by path lengths, although it makes none.
"""

import ml_collections

from stylegan_jax import config

# By name: resolution px, kimg, batch, images in a group of the minibatch deviation, share of the feature maps below the
# limit of 512, learning rate, R1's gamma, the average's half-life in kimg, and its ramp-up.
SETTINGS = {
    "stylegan2": (1024, 25_000, 32, 4, 1.0, 0.002, 10.0, 10.0, None),
    "paper256": (256, 25_000, 64, 8, 0.5, 0.0025, 1.0, 20.0, None),
    "paper512": (512, 25_000, 64, 8, 1.0, 0.0025, 0.5, 20.0, None),
    "paper1024": (1024, 25_000, 32, 4, 1.0, 0.002, 2.0, 10.0, None),
    "cifar": (32, 100_000, 64, 32, 1.0, 0.0025, 0.01, 500.0, 0.05),
}


def auto(resolution: int, num_gpus: int) -> tuple:
    """Returns the settings that the official code chooses by the resolution, px, and the number of GPUs."""
    batch = max(min(num_gpus * min(4096 // resolution, 32), 64), num_gpus)
    group, maps = min(batch // num_gpus, 4), 1.0 if resolution >= 512 else 0.5
    lr, gamma = 0.002 if resolution >= 1024 else 0.0025, 0.0002 * resolution**2 / batch
    return resolution, 25_000, batch, group, maps, lr, gamma, batch * 10 / 32, 0.05


def get_config(name: str = "stylegan2") -> ml_collections.ConfigDict:
    """Returns the settings of that name."""
    if name.startswith("auto-"):
        parts = name.split("-")[1:]
        if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
            raise ValueError(f"{name!r} is no automatic setting; use auto-R-N for R px on N GPUs, such as auto-256-8")
        row = auto(*map(int, parts))
    elif name in SETTINGS:
        row = SETTINGS[name]
    else:
        raise ValueError(f"there is no {name!r}; use {', '.join(SETTINGS)} or auto-256-8")
    settings = config.default()
    model, schedule, train = settings.model, settings.schedule, settings.train
    model.architecture = "stylegan2"
    model.resolution, schedule.total_kimg, schedule.batch, model.stddev_group, maps = row[:5]
    schedule.lr, train.r1_gamma, train.ema_halflife_kimg, train.ema_rampup = row[5:]
    model.fmap_base = int(16384 * maps)
    model.conv_clamp = 256.0
    model.compute_dtype = "bfloat16"
    model.mapping_layers = 2 if name == "cifar" or name.startswith("auto-") else 8
    schedule.initial_resolution = model.resolution
    schedule.batch_by_resolution = schedule.lr_by_resolution = schedule.tick_kimg_by_resolution = ()
    schedule.tick_kimg = 4.0
    train.r1_interval = 16
    train.pl_weight = 2.0
    train.augment = "ada"
    train.adam_form = "pytorch"
    settings.report.image_ticks = settings.report.checkpoint_ticks = settings.report.metric_ticks = 50
    settings.data.source = "data/cifar10" if name == "cifar" else "data/ffhq"
    settings.data.mirror = name != "cifar"
    if name == "cifar":
        train.pl_weight = train.style_mixing_prob = 0.0
        model.d_connections = "orig"
    return settings
