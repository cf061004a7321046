"""The procedural faces, prepared by TFDS, are those that the package draws."""

import io
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from stylegan_jax.config import Data
from stylegan_jax.data import builders, faces
from stylegan_jax.data.faces import builder

R, NUM_FACES = 16, 600  # At 16 px, 512 faces are drawn at once.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tfds.core.DatasetBuilder:
    """A small data set of faces."""
    settings = builder.FacesConfig(name="small", resolution=R, num_faces=NUM_FACES)
    found = tfds.builder("procedural_faces", config=settings, data_dir=tmp_path_factory.mktemp("tfds"))
    found.download_and_prepare(file_format="array_record")
    return found


def test_images_are_bit_for_bit_those_that_the_package_draws(prepared):
    records = prepared.as_data_source("train")
    assert len(records) == NUM_FACES and list(prepared.info.splits) == ["train"]
    chosen = [0, 1, 511, 512, 599]
    np.testing.assert_array_equal([records[i]["image"] for i in chosen], faces.images(np.array(chosen), 0, R))
    assert [records[i]["index"] for i in chosen] == chosen
    assert "tensorflow" not in sys.modules


def test_factors_and_attributes_are_those_of_the_face(prepared):
    records = prepared.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    for i in (0, 7, 513):
        factors = faces.sample_factors(np.array([i]), 0)
        np.testing.assert_array_equal(records[i]["factors"], factors[0])
        np.testing.assert_array_equal(records[i]["attributes"], faces.attributes(factors)[0])
        assert records[i]["factors"].dtype == np.float32 and records[i]["attributes"].dtype == np.bool_


def test_faces_open_as_any_prepared_data_set(prepared):
    source = builders.open_tfds(f"tfds:{prepared.data_dir}", "train[500:]")
    assert source.length == NUM_FACES - 500 and source.classes is None
    face = np.asarray(Image.open(io.BytesIO(source.read_fn(12))))
    np.testing.assert_array_equal(face, faces.images(np.array([512]), 0, R)[0])


def test_faces_are_prepared_when_they_are_named(tmp_path, monkeypatch):
    settings = builder.FacesConfig(name="few", resolution=R, num_faces=3)
    monkeypatch.setitem(builder.ProceduralFaces.builder_configs, "few", settings)
    source = builders.open_tfds("tfds:procedural_faces/few", "train", str(tmp_path))
    assert source.length == 3 and (tmp_path / "procedural_faces" / "few" / "1.0.0").is_dir()


def test_named_configurations_have_as_many_faces_as_the_default_source():
    configs = builder.ProceduralFaces.builder_configs
    assert set(configs) == {"32px", "64px", "128px", "256px", "512px", "1024px"}
    for name, settings in configs.items():
        assert (f"{settings.resolution}px", settings.num_faces) == (name, Data.num_faces)


def test_description_names_all_factors_and_attributes(prepared):
    assert all(factor.name in prepared.info.description for factor in faces.FACTORS)
    assert all(name in prepared.info.description for name in faces.ATTRIBUTES)
    assert "@misc" in prepared.info.citation and prepared.release_notes == {"1.0.0": "Initial release."}
