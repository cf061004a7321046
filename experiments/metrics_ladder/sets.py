"""The three sets of pictures, in random order, and which of them belong to a group that a generator might miss."""

import dataclasses
import gzip
import io
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from stylegan_jax.data import faces

FACES_SEED = 16  # No run, and not the attribute network, has these faces.
FACES_PX = 64
EMOJI_PX = 64
FASHION_PX = 32
POOL = 5  # A pool holds this many times the pictures that are compared, if there are so many.
LEAST_POOL = 4

_SHOES, _BAG, _FEW_CLASSES = (5, 7, 9), 8, (0, 7, 8)  # Of Fashion-MNIST; the few are shirts, sneakers and bags.
_DARK_TONES = {"1f3fe", "1f3ff"}  # Code points that follow an emoji's, and give it a skin tone.
_TONES = {"1f3fb", "1f3fc", "1f3fd"} | _DARK_TONES
_EMOTICONS = {f"{code:x}" for code in range(0x1F600, 0x1F650)}  # Unicode's block: faces, cats and gestures.


@dataclasses.dataclass(frozen=True)
class Pool:
    """Pictures of one set in random order.

    Attributes:
        name: of the set.
        images: uint8. [n, px, px, c]
        kept: by the name of a fault, which pictures a generator with that fault still makes. bool [n] each
    """

    name: str
    images: np.ndarray
    kept: dict[str, np.ndarray]


def most_comparable(num_pictures: int) -> int:
    """Returns how many pictures of a set can be compared with as many others, and leave some to choose among."""
    return num_pictures // LEAST_POOL


def procedural_faces(count: int) -> Pool:
    """Returns POOL * count faces of 64 px."""
    indices = np.arange(POOL * count)
    found = faces.attributes(faces.sample_factors(indices, FACES_SEED))
    has = dict(zip(faces.ATTRIBUTES, found.T, strict=True))
    kept = {
        "no hats": ~has["hat"],
        "no long hair": ~has["long_hair"],
        "only short hair on light skin": ~has["long_hair"] & ~has["dark_skin"],
    }
    return Pool("faces", faces.images(indices, FACES_SEED, FACES_PX), kept)


def emoji(path: str, count: int, rng: np.random.Generator) -> Pool:
    """Returns the emoji of a zip, on white, reduced to 64 px; their files are named emoji_uCODE_CODE.png.

    Raises:
        ValueError: there are too few such files.
        OSError: the file cannot be read.
    """
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if pathlib.PurePath(name).match("emoji_u*.png")]
        if most_comparable(len(names)) < count:
            raise ValueError(
                f"{path} has {len(names)} files emoji_u*.png, enough to compare {most_comparable(len(names))}, and "
                f"{count} are asked for; lower --count or name another zip."
            )
        names = [names[k] for k in rng.permutation(len(names))[: POOL * count]]
        images = np.stack([_on_white(file.read(name)) for name in names])
    codes = [set(pathlib.PurePath(name).stem.removeprefix("emoji_u").split("_")) for name in names]
    kept = {
        "no emoticons": ~_any_of(_EMOTICONS, codes),
        "no dark skin": ~_any_of(_DARK_TONES, codes),
        "only people with a skin tone": _any_of(_TONES, codes),
    }
    return Pool("emoji", images, kept)


def _any_of(wanted: set[str], codes: Sequence[set[str]]) -> np.ndarray:
    return np.array([bool(wanted & found) for found in codes])


def _on_white(png: bytes) -> np.ndarray:
    """Returns a PNG on white as uint8 [EMOJI_PX, EMOJI_PX, 3]."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return np.asarray(white.convert("RGB").resize((EMOJI_PX, EMOJI_PX), Image.Resampling.BOX))


def fashion(folder: str, count: int, rng: np.random.Generator) -> Pool:
    """Returns POOL * count photographs of Fashion-MNIST, with a black edge of 2 px: 32 px, one channel.

    Args:
        folder: holds train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, and t10k-... of both.
        count: pictures to compare.
        rng: chooses the photographs.

    Raises:
        ValueError: a file is damaged, or there are too few photographs.
        OSError: a file cannot be read.
    """
    images, labels = (
        np.concatenate([_read_idx(pathlib.Path(folder, f"{part}-{kind}-ubyte.gz")) for part in ("train", "t10k")])
        for kind in ("images-idx3", "labels-idx1")
    )
    if most_comparable(len(images)) < count:
        raise ValueError(
            f"{folder} has {len(images)} photographs, enough to compare {most_comparable(len(images))}, and {count} "
            "are asked for; lower --count."
        )
    rows = rng.permutation(len(images))[: POOL * count]
    edge = (FASHION_PX - images.shape[1]) // 2
    padded = np.pad(images[rows], ((0, 0), (edge, edge), (edge, edge)))[..., None]
    kept = {
        "no bags": labels[rows] != _BAG,
        "no shoes": ~np.isin(labels[rows], _SHOES),
        "only 3 of 10 classes": np.isin(labels[rows], _FEW_CLASSES),
    }
    return Pool("fashion", padded, kept)


def _read_idx(path: pathlib.Path) -> np.ndarray:
    """Returns the uint8 array of an idx file: 0, 0, 8, the number of axes, their big-endian sizes, the numbers."""
    with gzip.open(path) as file:
        content = file.read()
    num_axes = content[3] if content[:3] == b"\0\0\x08" else 0
    sizes = tuple(np.frombuffer(content, ">u4", num_axes, 4).tolist()) if num_axes else ()
    start = 4 + 4 * num_axes
    if not num_axes or len(content) - start != np.prod(sizes):
        raise ValueError(f"{path} is no whole idx file of bytes; take it from the Debian package again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)
