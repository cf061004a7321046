"""Sets of features: the arrays that a feature network gives for a set of images, one row an image."""

import dataclasses

import numpy as np

BLOCK_NUMBERS = 2**23  # Largest block of a matrix of all pairs: 0.07 GB in float64.


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number that was estimated from each of several parts of a set.

    Attributes:
        of_parts: the number of each part. float64 [num_parts]
    """

    of_parts: np.ndarray

    @property
    def mean(self) -> float:
        """The mean over the parts: what is quoted."""
        return float(self.of_parts.mean())

    @property
    def std(self) -> float:
        """The population standard deviation over the parts."""
        return float(self.of_parts.std())


def checked(features: np.ndarray, name: str = "features") -> np.ndarray:
    """Returns features as a NumPy array of their own dtype.

    Args:
        features: any real dtype, all finite. [n, d], n >= 1
        name: what the message calls them.

    Raises:
        ValueError: the shape is another, or a number is NaN or infinite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or features.shape[0] == 0:
        raise ValueError(f"{name} must have shape [n, d] with n >= 1, and have {list(features.shape)}.")
    finite = np.concatenate([np.isfinite(features[rows]).all(axis=1) for rows in blocks(*features.shape)])
    if not finite.all():
        raise ValueError(f"{(~finite).sum()} of {len(features)} {name} hold NaN or infinity; look at their images.")
    return features


def checked_pair(fakes: np.ndarray, reals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two sets of features of one network. [n, d], [m, d]

    Raises:
        ValueError: a set is malformed, or the two have different d.
    """
    fakes, reals = checked(fakes, "features of fakes"), checked(reals, "features of reals")
    if fakes.shape[1] != reals.shape[1]:
        raise ValueError(
            f"The fakes have {fakes.shape[1]} and the reals {reals.shape[1]} dimensions; "
            "use one feature network for both."
        )
    return fakes, reals


def blocks(num_rows: int, row_size: int) -> list[slice]:
    """Returns parts of the rows of a matrix, each of at most BLOCK_NUMBERS numbers, or of one row."""
    step = max(1, BLOCK_NUMBERS // row_size)
    return [slice(first, min(first + step, num_rows)) for first in range(0, num_rows, step)]
