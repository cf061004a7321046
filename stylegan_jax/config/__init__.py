"""Every setting of a run, once: its meaning, unit and default.

A file in configs/ starts from `default()` and states only what differs:

    from stylegan_jax import config

    def get_config():
        settings = config.default()
        settings.model.resolution = 64
        return settings

The defaults are the paper's FFHQ run at 1024x1024 (configuration F).
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import ml_collections

from stylegan_jax.config import checks, typed


@dataclasses.dataclass(frozen=True)
class Model:
    """Shape of the networks, the paper's ablations (Tables 1, 2 and 4), and the precision of their arithmetic."""

    architecture: Literal["stylegan", "stylegan2"] = "stylegan"
    resolution: int = 1024  # Height and width of the images, px; a power of two, 8..1024.
    channels: int = 3  # Colour channels: 1 gray, 3 RGB, 4 RGBA.
    num_labels: int = 0  # Classes of a conditional model; 0 is unconditional.
    z_size: int = 512  # Elements of a latent z.
    w_size: int = 512  # Elements of an intermediate latent w.
    mapping_layers: int = 8  # Dense layers from z to w, 0..8; 0 needs w_size == z_size.
    mapping_fmaps: int = 512  # Units of the mapping network's hidden layers.
    mapping_lr_multiplier: float = 0.01  # Learning rate of the mapping network, relative to the others'.
    normalize_latents: bool = True  # Scale z to unit mean square before the mapping.
    embed_labels: bool = True  # Learn an embedding of the label; False appends it to z as it is.
    fmap_base: int = 8192  # Feature maps at resolution r: min(fmap_base / (r/2)**fmap_decay, fmap_max).
    fmap_decay: float = 1.0
    fmap_max: int = 512
    # Pairs (resolution px, feature maps) that replace the formula; at 2 px: units of the discriminator's dense layer.
    fmaps_by_resolution: tuple[tuple[int, int], ...] = ()
    use_styles: bool = True  # AdaIN from w; False feeds w to the first layer alone.
    const_input: bool = True  # Start from a learned constant; False from a dense layer on w.
    use_noise: bool = True  # Per-pixel noise after each convolution.
    use_pixel_norm: bool = False  # Progressive GAN's feature normalization.
    use_instance_norm: bool = True  # The normalization in AdaIN.
    instance_norm_epsilon: float = 1e-8  # Term that it adds to the variance; PyTorch's own instance norm has 1e-5.
    blur_filter: tuple[int, ...] | None = (1, 2, 1)  # Low-pass filter of the resampling; None: no filter.
    # Add the bias of each upscaling convolution of the synthesis network before the blur, as in
    # rosinality/style-based-gan-pytorch; False adds it after the noise, as in the official code. The blur takes pixels
    # outside the picture as zeros, so the borders differ, and through the instance norm the whole picture.
    bias_before_blur: bool = False
    nonlinearity: Literal["lrelu", "relu"] = "lrelu"
    # StyleGAN2's connections (its Fig. 7): sums of images, residual blocks, or none, as in StyleGAN.
    g_connections: Literal["skip", "resnet", "orig"] = "skip"
    d_connections: Literal["skip", "resnet", "orig"] = "resnet"
    conv_clamp: float | None = None  # StyleGAN2: bound of each layer's features; None: no bound.
    embed_size: int | None = None  # StyleGAN2: units of the labels' embedding; None: w_size.
    # StyleGAN2: the discriminator's own mapping network, of labels alone.
    d_mapping_layers: int = 8  # Its dense layers.
    d_mapping_lr_multiplier: float = 0.01  # Its learning rate, relative to the others'.
    d_mapping_size: int | None = None  # Its units; None: fmaps(4).
    use_equalized_lr: bool = True  # Unit-variance weights scaled at run time (Progressive GAN, Sec. 4.1).
    stddev_group: int = 4  # Images in a group of the minibatch standard deviation; 0 leaves it out.
    stddev_features: int = 1  # Feature maps that the minibatch standard deviation appends.
    remat: bool = False  # Compute features again for the gradients: less memory, more time.
    # Precision of features and convolutions; parameters, statistics, images, scores and losses are always float32.
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    # Precision of float32 products, except those of latents. "highest" is float32, "high" is faster, "default" is what
    # JAX chooses: TF32 on recent NVIDIA GPUs, bfloat16 on TPUs, float32 on CPUs, unless jax_default_matmul_precision
    # says otherwise.
    matmul_precision: Literal["default", "high", "highest"] = "default"

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The resolutions that the networks grow through, px: 4, 8, ... resolution."""
        return tuple(2**k for k in range(2, self.resolution.bit_length()))

    @property
    def num_layers(self) -> int:
        """Number of w's that an image takes: two for each resolution, or one without styles."""
        return 2 * len(self.resolutions) if self.use_styles else 1

    @property
    def noise_sizes(self) -> tuple[int | None, ...]:
        """Heights and widths of the noise maps, px: two for each resolution; None where a layer has no noise."""
        sizes = [r if self.use_noise else None for r in self.resolutions for _ in range(2)]
        return (None, *sizes[1:]) if self.architecture == "stylegan2" else tuple(sizes)

    def fmaps(self, resolution: int) -> int:
        """Returns the number of feature maps at `resolution` px."""
        stated = dict(self.fmaps_by_resolution)
        if resolution in stated:
            return stated[resolution]
        return min(int(self.fmap_base / (resolution / 2) ** self.fmap_decay), self.fmap_max)


@dataclasses.dataclass(frozen=True)
class Data:
    """Where pictures come from and how they become squares of model.resolution."""

    # "faces", "digits", "tfds:NAME/CONFIG", or a path: a prepared store, or a folder, .zip, .tar, .parquet, .h5, .npy,
    # LSUN lmdb or official .tfrecords of pictures, on this machine or at gs://, s3:// or another scheme of fsspec.
    source: str = "faces"
    split: str = "train"  # Split of a tfds: source; also a sum or a slice: "train+test", "train[:10%]".
    # Where classes come from: "own", the source itself; "folders", one class for each folder; or the path of a .csv,
    # dataset.json or .npy.
    labels: str = "own"
    num_faces: int = 20_000  # Procedural faces to draw, when source is "faces".
    # How a picture becomes a square: "crop" takes its middle, "pad" adds background, "stretch" changes its shape, and
    # "wide" puts it at 4:3 between black bars, as LSUN's cars.
    fit: Literal["crop", "pad", "stretch", "wide"] = "crop"
    background: tuple[int, ...] = (255, 255, 255)  # RGB behind transparency and padding, 0..255.
    min_side_px: int = 0  # Shortest side that a picture may have, px; smaller pictures are left out and counted.
    max_pixels: int = 89_478_485  # Size of the largest picture that is decoded, px; larger ones are unreadable.
    white_level: int | None = None  # White in integers deeper than 8 bits; None: 65535. A 12-bit camera has 4095.
    on_bad_image: Literal["fail", "skip"] = "fail"  # What happens at an unreadable picture; skipped ones are counted.
    mirror: bool = False  # Flip each image left to right with probability 1/2.
    # Number of images kept from training. The metrics compare sets of this size, and take the distance of these images
    # as their floor. Without metrics (report.metric_ticks=0) it can be 0.
    num_heldout: int = 1024
    cache_gib: float = 4.0  # Memory for decoded images, GiB; they are kept there if all of them fit.
    num_workers: int = 4  # Threads that decode pictures in training; processes of --mode=prepare.
    remote_copy: str = "~/.cache/stylegan_jax/data"  # Folder that a remote source is copied to, once.


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Progressive growing (Progressive GAN, Sec. 2). Pairs are (resolution px, value)."""

    initial_resolution: int = 8  # Training starts here, px.
    stable_kimg: float = 600.0  # Length of training at a resolution before the next fades in.
    fade_kimg: float = 600.0  # Length of a fade.
    total_kimg: float = 25_000.0  # Length of the run.
    batch: int = 32  # Global batch at resolutions that batch_by_resolution leaves out.
    batch_by_resolution: tuple[tuple[int, int], ...] = ((4, 512), (8, 256), (16, 128), (32, 64), (64, 32))
    accumulation: int = 1  # Parts that a batch is computed in, one after another, to need less memory.
    accumulation_by_resolution: tuple[tuple[int, int], ...] = ()
    lr: float = 0.001  # Adam's learning rate at resolutions that lr_by_resolution leaves out.
    lr_by_resolution: tuple[tuple[int, float], ...] = ((128, 0.0015), (256, 0.002), (512, 0.003), (1024, 0.003))
    lr_rampup_kimg: float = 0.0  # Length of the linear warm-up at the start of the run.
    refresh_steps: int = 4  # Steps between updates of alpha, batch and learning rate.
    tick_kimg: float = 160.0  # Interval between reports, at resolutions that tick_kimg_by_resolution leaves out.
    tick_kimg_by_resolution: tuple[tuple[int, float], ...] = (
        (4, 160), (8, 140), (16, 120), (32, 100), (64, 80), (128, 60), (256, 40), (512, 30), (1024, 20),
    )  # fmt: skip

    def batch_at(self, resolution: int) -> int:
        """Returns the global batch at `resolution` px."""
        return dict(self.batch_by_resolution).get(resolution, self.batch)

    def num_parts(self, resolution: int) -> int:
        """Returns the accumulation at `resolution` px."""
        return dict(self.accumulation_by_resolution).get(resolution, self.accumulation)


@dataclasses.dataclass(frozen=True)
class Train:
    """Losses and updates (Secs. 3, A; Mescheder et al. 2018 for R1 and R2)."""

    # hinge goes with the wgan generator loss, relativistic (R3GAN, Huang et al. 2024) with itself.
    g_loss: Literal["logistic_nonsaturating", "logistic_saturating", "wgan", "relativistic"] = "logistic_nonsaturating"
    d_loss: Literal["logistic", "wgan", "hinge", "relativistic"] = "logistic"
    r1_gamma: float = 10.0  # Weight of the gradient penalty on reals; 0 leaves it out.
    # Iterations between updates by R1. At 1, R1 is part of every loss. At k (StyleGAN2: 16), an update by k times R1
    # alone comes before every k-th iteration; k is a multiple of schedule.refresh_steps.
    r1_interval: int = 1
    # Path length regularization (StyleGAN2, Sec. 3.2): an update by pl_interval times its loss alone, with half a
    # batch, comes before every pl_interval-th iteration (StyleGAN2: 4), a multiple of schedule.refresh_steps.
    pl_weight: float = 0.0  # Its weight (StyleGAN2: 2); 0 leaves it out.
    pl_interval: int = 4
    pl_decay: float = 0.01  # How much of a batch's mean path length goes into the running mean.
    r2_gamma: float = 0.0  # Weight of the gradient penalty on fakes; 0 leaves it out.
    gp_lambda: float = 0.0  # Weight of WGAN-GP's penalty; 10 in the papers, 0 leaves it out.
    gp_target: float = 1.0  # Gradient norm that WGAN-GP pulls towards.
    wgan_drift: float = 0.001  # Weight of the squared real scores in the wgan loss.
    # Augmentation of all that the discriminator sees, for few pictures: adaptive (ADA, Karras et al. 2020b), or
    # DiffAugment (Zhao et al. 2020), which is smaller. None: no augmentation.
    augment: Literal["ada", "diffaugment"] | None = None
    augment_p: float | None = None  # ADA: a fixed probability of each operation; None: it adapts, from 0 on.
    ada_target: float = 0.6  # Mean sign of the scores of reals that the probability is moved towards.
    ada_kimg: float = 500.0  # Thousands of images in which the probability can move by 1.
    adam_beta2: float = 0.99  # Decay of the second moment; beta1 is 0.
    adam_eps: float = 1e-8
    adam_form: Literal["tensorflow", "pytorch"] = "tensorflow"  # Where Adam adds eps: before or after nu's correction.
    style_mixing_prob: float = 0.9  # Share of images made from two latents.
    w_avg_beta: float = 0.995  # Decay of the running mean of w, for each batch.
    ema_halflife_kimg: float = 10.0  # Half-life of the generator's weight average.
    ema_rampup: float | None = None  # Greatest half-life, as a share of the images shown so far; None: no such limit.
    # Number of model.resolutions, from the highest down, whose parts of the discriminator are never updated: the block
    # of two layers at that resolution and its fromRGB (FreezeD, Mo et al. 2020; use it with --init_from). 0: none. The
    # layers at 4 px always train. While a run grows, parts of resolutions that are not in use yet are frozen too.
    freeze_d: int = 0


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run writes, and how often. A tick is schedule.tick_kimg images."""

    image_ticks: int = 1  # Ticks between grids of samples.
    figure_ticks: int = 0  # Ticks between drawings of the paper's figures; 0: at the end alone.
    checkpoint_ticks: int = 10  # Ticks between checkpoints.
    checkpoint_minutes: float = 20.0  # Longest time without a checkpoint, minutes; 0: only the ticks count.
    metric_ticks: int = 10  # Ticks between measurements of fd_faces and swd; 0: none.
    # Metrics that are measured besides, between the chunks of training: their names, such as "fid50k" or "fid50k:5000".
    # The weights that they need are found by --mode=weights; a metric without its weights is left out.
    metrics: tuple[str, ...] = ()
    evaluation_ticks: int = 50  # Ticks between measurements of report.metrics, which are measured at the end too.
    grid_columns: int = 8
    grid_rows: int = 6
    keep_checkpoints: int = 2  # Newest checkpoints kept.
    keep_every_kimg: float = 0.0  # Interval; the first checkpoint at or after each multiple stays. 0: none.
    keep_best: int = 0  # Number of checkpoints with the lowest best_metric that stay too.
    best_metric: Literal["fd_faces", "swd"] = "fd_faces"


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

    seed: int = 0  # The one seed; every random draw is a function of it and of nimg.
    model: Model = Model()
    data: Data = Data()
    schedule: Schedule = Schedule()
    train: Train = Train()
    report: Report = Report()


def default() -> ml_collections.ConfigDict:
    """Returns the defaults as a ConfigDict, for files in configs/ to change."""
    values = ml_collections.ConfigDict(to_dict(Config()))
    for section in (Model, Data, Train):  # What can be None takes values of its other type too.
        for name, kind in get_type_hints(section).items():
            if types.NoneType in get_args(kind):
                other = get_origin(get_args(kind)[0]) or get_args(kind)[0]
                place = ml_collections.config_dict.placeholder(str if other is Literal else other)
                place.set(getattr(section, name))
                values[section.__name__.lower()][name] = place
    return values.lock()


def to_dict(config: Config) -> dict[str, Any]:
    """Returns `config` as nested dicts of plain values."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """Returns the configuration with `values`, checked.

    Args:
        values: nested dicts, as `to_dict` returns them; what they leave out keeps its default.

    Raises:
        ValueError: a field that does not exist, a wrong type, a value out of range or an impossible combination.
    """
    config = typed.from_dict(Config, values)
    checks.check(config)
    return config
