"""The procedural faces as a data set of TFDS, with the factors and attributes of each face.

Once this module is imported, TFDS knows "procedural_faces". It is prepared without TensorFlow:

    builder = tfds.builder("procedural_faces/64px")
    builder.download_and_prepare(file_format="array_record")
    faces = builder.as_data_source("train")
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from stylegan_jax.config import Data
from stylegan_jax.data import faces

RESOLUTIONS = (32, 64, 128, 256, 512, 1024)  # Resolutions of the named configurations, px.

_DESCRIPTION = f"""
Faces drawn by a program, to measure models of images: all that can be learnt from them is known. Each is drawn from
{len(faces.FACTORS)} factors, which decide {len(faces.ATTRIBUTES)} attributes. Face i depends on i and the resolution
alone.

* factors: {", ".join(factor.name for factor in faces.FACTORS)}.
* attributes: {", ".join(faces.ATTRIBUTES)}.
* index: i.
"""
_CITATION = """
@misc{procedural_faces,
  title = {Procedural faces},
  howpublished = {Drawn by stylegan\\_jax.data.faces, of the Python package stylegan\\_jax}
}
"""


@dataclasses.dataclass(eq=False)
class FacesConfig(tfds.core.BuilderConfig):
    """The resolution and the number of the faces."""

    resolution: int = 64  # px
    num_faces: int = Data.num_faces


class ProceduralFaces(tfds.core.GeneratorBasedBuilder):
    """Procedural faces, in the order of their numbers."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        FacesConfig(name=f"{size}px", description=f"{Data.num_faces} faces of {size} px.", resolution=size)
        for size in RESOLUTIONS
    ]

    def _info(self) -> Any:
        """Returns the description of the data set and of its records."""
        size = self.builder_config.resolution
        features = {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
            "factors": tfds.features.Tensor(shape=(len(faces.FACTORS),), dtype=np.float32),
            "attributes": tfds.features.Tensor(shape=(len(faces.ATTRIBUTES),), dtype=np.bool_),
            "index": tfds.features.Scalar(dtype=np.int64),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            citation=_CITATION,
            disable_shuffling=True,  # Record i is face i.
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """Returns the records of the one split."""
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields the number and the record of each face."""
        size, num_faces = self.builder_config.resolution, self.builder_config.num_faces
        step = max(1, faces.CHUNK_PX // size**2)
        for start in range(0, num_faces, step):
            indices = np.arange(start, min(start + step, num_faces))
            images = faces.images(indices, faces.SEED, size)
            factors = faces.sample_factors(indices, faces.SEED)
            attributes = faces.attributes(factors)
            for i, index in enumerate(indices.tolist()):
                record = {"factors": factors[i], "attributes": attributes[i], "index": index}
                yield index, record | {"image": Image.fromarray(images[i])}  # To encode an array takes TensorFlow.
