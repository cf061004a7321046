"""Published metrics by their names: which images, how many, which features, which formula. Names are never mixed.

A name may state another number of images, as "fid50k:2000": the same definition, but no number to compare with others.

Sources: NVlabs/stylegan, metrics/metric_base.py; NVlabs/stylegan3, metrics/metric_main.py; GaParmar/clean-fid;
mseitzer/pytorch-fid; clovaai/generative-evaluation-prdc; tkarras/progressive_growing_of_gans, metrics/.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from stylegan_jax.metrics import cmmd, frechet, inception_score, kid, mind, ppl, prdc, separability, swd
from stylegan_jax.metrics.collected import Collected
from stylegan_jax.metrics.pixel_sets import Pairs, Patches

Values = dict[str, float]
BIASED_BELOW = 10_000  # Images below which a Frechet distance says more of their number than of the pictures.


@dataclasses.dataclass(frozen=True)
class SetMetric:
    """A metric of two sets of images, or of the fakes alone.

    Attributes:
        features: name in feature_networks.KINDS.
        count: number of fakes.
        reals: "first": as many reals as fakes, in their order, from the first again if there are fewer; "all": all;
            "sample": as many as fakes, drawn at random, or all if there are fewer; "shuffled": the same in random
            order; "none".
        compute_fn: (fakes, reals, seed) -> values by their names' ends; "" is the metric's own name.
        what: a phrase.
        is_mirrored: whether each real is flipped with probability 1/2, if training flips them.
        max_reals: largest number of reals of "all"; the first ones count if there are more.
        needs_rows: whether the formula takes features, not their statistics alone.
        is_frechet: whether few images bias it upwards.
        floor: what it is compared with: "halves": one random half of the reals against the other; "reals": the value
            of the reals.
        fewest: fewest images of each kind that the formula takes.
    """

    features: str
    count: int
    reals: Literal["first", "all", "sample", "shuffled", "none"]
    compute_fn: Callable[[Collected, Collected | None, int], Values]
    what: str
    is_mirrored: bool = False
    max_reals: int | None = None
    needs_rows: bool = True
    is_frechet: bool = False
    floor: Literal["halves", "reals"] = "halves"
    fewest: int = 2


@dataclasses.dataclass(frozen=True)
class PathLength:
    """Perceptual path length; `definition` says which."""

    definition: ppl.Definition
    what: str

    @property
    def count(self) -> int:
        """Number of pairs of images."""
        return self.definition.num_pairs


@dataclasses.dataclass(frozen=True)
class Separability:
    """Linear separability of latents in `space`, by a method of separability.result."""

    space: Literal["z", "w"]
    method: Literal["legacy", "exact"]
    what: str
    count: int = separability.NUM_IMAGES


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric that is asked for.

    Attributes:
        name: as it was asked for: "fid50k", or "fid50k:2000".
        definition: what it is: a SetMetric, PathLength or Separability.
        count: number of fakes, or of pairs of them.
    """

    name: str
    definition: Any
    count: int


# ---- formulas


def _fid(fakes: Collected, reals: Collected, seed: int) -> Values:
    return {"": frechet.frechet_distance(fakes.statistics, reals.statistics)}


def _kid(fakes: Collected, reals: Collected, seed: int) -> Values:
    return {"": kid.stylegan2_ada(fakes.rows, reals.rows, seed).mean}


def _precision_recall(fakes: Collected, reals: Collected, seed: int) -> Values:
    return prdc.precision_recall(fakes.rows, reals.rows)


def _prdc(fakes: Collected, reals: Collected, seed: int) -> Values:
    return prdc.prdc(fakes.rows, reals.rows)


def _inception_score(fakes: Collected, reals: Collected | None, seed: int) -> Values:
    score = inception_score.stylegan2_ada(fakes.logits)
    return {"mean": score.mean, "std": score.std}


def _mind(fakes: Collected, reals: Collected, seed: int) -> Values:
    return {"": mind.mind(fakes.rows, reals.rows, seed)}


def _cmmd(fakes: Collected, reals: Collected, seed: int) -> Values:
    return {"": cmmd.cmmd(fakes.rows, reals.rows)}


def _swd(fakes: Patches, reals: Patches, seed: int) -> Values:
    by_level = {}
    for r in fakes.by_level:  # One level after another, so that the descriptors of one alone are held.
        first, second = (swd.descriptors({r: one.by_level[r]}) for one in (fakes, reals))
        by_level |= swd.distances(first, second, seed)
    return {"": float(np.mean(list(by_level.values())))} | {str(r): by_level[r] for r in sorted(by_level)}


def _ms_ssim(fakes: Pairs, reals: Pairs, seed: int) -> Values:
    return {"": float(fakes.similarities.mean())}


# ---- the table

_FD = {"compute_fn": _fid, "needs_rows": False, "is_frechet": True}
_V1 = "StyleGAN's"
_ADA = "StyleGAN2-ADA's and StyleGAN3's"

TABLE: Mapping[str, SetMetric | PathLength | Separability] = {
    "fid50k": SetMetric(
        "inception", 50_000, "first", what=f"{_V1} Frechet Inception distance", is_mirrored=True, **_FD
    ),
    "fid50k_full": SetMetric("inception", 50_000, "all", what=f"{_ADA} Frechet Inception distance", **_FD),
    "kid50k_full": SetMetric(
        "inception", 50_000, "all", _kid, f"{_ADA} kernel Inception distance", max_reals=1_000_000
    ),
    "pr50k3_full": SetMetric(
        "vgg_dense", 50_000, "all", _precision_recall, f"{_ADA} precision and recall", max_reals=200_000, fewest=4
    ),
    "is50k": SetMetric("inception", 50_000, "none", _inception_score, f"{_ADA} inception score", fewest=10),
    "clean_fid50k": SetMetric("inception_clean", 50_000, "all", what="clean-fid's Frechet distance", **_FD),
    "clean_kid50k": SetMetric(
        "inception_clean", 50_000, "all", _kid, "clean-fid's kernel distance", max_reals=1_000_000
    ),
    "pytorch_fid50k": SetMetric("inception_torch", 50_000, "all", what="pytorch-fid's Frechet distance", **_FD),
    "mind50k": SetMetric(
        "inception", 50_000, "all", _mind, "Monge Inception distance of torch-fidelity", max_reals=1_000_000
    ),
    "prdc10k5": SetMetric(
        "vgg_dense", 10_000, "sample", _prdc, "precision, recall, density and coverage of Naeem et al.", fewest=6
    ),
    "fd_dinov2_50k": SetMetric("dinov2", 50_000, "all", what="Frechet distance of DINOv2's features", **_FD),
    "cmmd30k": SetMetric("clip", 30_000, "sample", _cmmd, "CLIP maximum mean discrepancy of Jayasumana et al."),
    "fd_faces10k": SetMetric("faces", 10_000, "sample", what="Frechet distance of our attribute network", **_FD),
    "kd_faces10k": SetMetric("faces", 10_000, "sample", _kid, "kernel distance of our attribute network"),
    "pr_faces10k": SetMetric(
        "faces", 10_000, "sample", _precision_recall, "precision and recall of our attribute network", fewest=4
    ),
    "swd16k": SetMetric("patches", 16_384, "sample", _swd, "Progressive GAN's sliced Wasserstein distance, times 1000"),
    "msssim10k": SetMetric(
        "pairs", 20_000, "shuffled", _ms_ssim, "Progressive GAN's similarity of 10,000 pairs", floor="reals"
    ),
    **{
        name: PathLength(
            definition,
            f"{_ADA if name[3] == '2' else _V1} perceptual path length"
            + (" of the middle of the images" if definition.crop else " of whole images"),
        )
        for name, definition in ppl.DEFINITIONS.items()
    },
    "ls_z": Separability("z", "legacy", f"{_V1} linear separability of z"),
    "ls_w": Separability("w", "legacy", f"{_V1} linear separability of w"),
    "ls_z_exact": Separability("z", "exact", "linear separability of z, by machines that have converged"),
    "ls_w_exact": Separability("w", "exact", "linear separability of w, by machines that have converged"),
}  # fmt: skip


def parse(names: Iterable[str]) -> list[Metric]:
    """Returns the metrics of these names.

    Args:
        names: such as "fid50k", or "fid50k:2000" for another number of images.

    Raises:
        ValueError: there is no such metric, the number cannot be used, or a name comes twice.
    """
    found: dict[str, Metric] = {}
    for name in names:
        base, colon, number = name.partition(":")
        if base not in TABLE:
            near = difflib.get_close_matches(base, TABLE, 1, 0.5)
            guess = f"; did you mean {near[0]}?" if near else f"; use one of {', '.join(TABLE)}."
            raise ValueError(f"there is no metric {name!r}{guess}")
        definition: Any = TABLE[base]
        if colon and not (number.isdecimal() and 2 <= int(number) <= 10_000_000):
            raise ValueError(f"metric {name!r}: after the colon stands a number of images, 2 or more: {base}:2000.")
        if name in found:
            raise ValueError(f"metric {name!r} is asked for twice.")
        found[name] = Metric(name, definition, int(number) if colon else definition.count)
    if not found:
        raise ValueError(f"no metric is asked for; use one or more of {', '.join(TABLE)}.")
    return list(found.values())
