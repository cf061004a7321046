"""The scores of a set of pictures, and which of them see that something is wrong."""

import dataclasses
import enum

import numpy as np

from stylegan_jax.metrics import frechet, inception_score, kid, mind, ms_ssim, prdc, swd

SEED = 0  # Seed of projections and of patches' places.
NUM_PATCHES = 16  # Patches of an image and level for SWD, as in the training loop.

# The sign that a change of the score for the worse has.
WORSE = {
    "FD": 1,
    "KID": 1,
    "MIND": 1,
    "precision": -1,
    "recall": -1,
    "density": -1,
    "coverage": -1,
    "SWD": 1,
    "MS-SSIM": 1,
    "fd_faces": 1,
    "attribute IS": -1,
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A set of pictures and its features.

    Attributes:
        images: uint8. [n, px, px, c]
        features: of VGG16. [n, d]
        face_features: of the attribute network; None for pictures that are no faces. [n, 192]
        logits: its logits. [n, 34]
    """

    images: np.ndarray
    features: np.ndarray
    face_features: np.ndarray | None = None
    logits: np.ndarray | None = None

    def __getitem__(self, rows: np.ndarray) -> "Measured":
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Measured(*(None if value is None else value[rows] for value in values))


def scores(fakes: Measured, reals: Measured) -> dict[str, float]:
    """Returns all scores of two sets of equally many pictures, by the names in WORSE."""
    by_three = prdc.precision_recall(fakes.features, reals.features, 3)
    by_five = prdc.prdc(fakes.features, reals.features, 5)
    found = {
        "FD": _frechet(fakes.features, reals.features),
        "KID": kid.squared_mmd(fakes.features, reals.features),
        "MIND": mind.mind(fakes.features, reals.features, SEED),
        "precision": by_three["precision"],
        "recall": by_three["recall"],
        "density": by_five["density"],
        "coverage": by_five["coverage"],
        "SWD": _sliced_wasserstein(fakes.images, reals.images),
        "MS-SSIM": ms_ssim.mean_of_pairs(fakes.images[: len(fakes.images) // 2 * 2]),
    }
    if fakes.face_features is not None:
        found["fd_faces"] = _frechet(fakes.face_features, reals.face_features)
        found["attribute IS"] = attribute_score(fakes.logits)
    return found


def attribute_score(logits: np.ndarray) -> float:
    """Returns the inception score of yes-or-no questions: the geometric mean over them of each one's score, 1 to 2.

    Args:
        logits: of a yes to each question. [n, num_questions]
    """
    pairs = np.stack([np.zeros_like(logits), logits], axis=2)  # [n, num_questions, 2]
    each = [inception_score.stylegan2_ada(pairs[:, k], num_splits=1).mean for k in range(logits.shape[1])]
    return float(np.exp(np.log(each).mean()))


def _frechet(fakes: np.ndarray, reals: np.ndarray) -> float:
    return frechet.frechet_distance(frechet.statistics(fakes), frechet.statistics(reals))


def _sliced_wasserstein(fakes: np.ndarray, reals: np.ndarray) -> float:
    corners = swd.draw_corners(len(fakes), fakes.shape[1], SEED, num_patches=NUM_PATCHES)
    first, second = (swd.descriptors(swd.patches(images, corners)) for images in (fakes, reals))
    return float(np.mean(list(swd.distances(first, second, SEED).values())))


# ---- the criterion

LEAST_Z = 4.0  # Standard deviations of the floor from which a change is no accident.


class Verdict(enum.Enum):
    """What a metric says of a fault."""

    SEEN = "+"  # The score is worse than the floor.
    BLIND = "."  # It is within the floor's spread.
    PRAISED = "!"  # It is better than the floor, so a worse generator would win.


def z_scores(found: dict[str, float], floors: list[dict[str, float]]) -> dict[str, float]:
    """Returns how many standard deviations of the floor each score is worse than the floor's mean.

    Args:
        found: scores of a rung.
        floors: scores of reals against other reals, at least 2 times.
    """
    worse = {}
    for name, value in found.items():
        floor = np.array([scores[name] for scores in floors])
        difference, spread = WORSE[name] * (value - floor.mean()), floor.std(ddof=1)
        worse[name] = (
            float(difference / spread) if spread else float(np.sign(difference) * np.inf) if difference else 0.0
        )
    return worse


def verdict(z: float) -> Verdict:
    """Returns what a metric says of a fault whose score is z deviations worse than the floor."""
    if abs(z) <= LEAST_Z:
        return Verdict.BLIND
    return Verdict.SEEN if z > 0 else Verdict.PRAISED
