"""NumPy's npz files, read as data: an array is copied from the mapped file once it is known to be there."""

import io
import math
import mmap
import pathlib

import numpy as np

from stylegan_jax.weights.files.archives import Archive
from stylegan_jax.weights.files.pickle_machine import Refusal, sentences, shown

MAX_HEADER_BYTES = 4096
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz file by name; arrays of objects are refused.

    Raises:
        ValueError: it is damaged, or has anything but arrays of numbers.
    """
    with path.open("rb") as file, sentences(path):
        archive = Archive(file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), is_in_folder=False)
        return {name.removesuffix(".npy"): _array(archive, name) for name in archive.members}


def _array(archive: Archive, name: str) -> np.ndarray:
    part = archive.checked_part(name)
    head = io.BytesIO(part.buffer[part.begin : part.begin + min(part.num_bytes, MAX_HEADER_BYTES)])
    shape, is_fortran, dtype = READERS[np.lib.format.read_magic(head)](head)
    num_bytes = part.num_bytes - head.tell()
    if dtype.kind not in "biuf":
        raise Refusal(f"has an array {shown(name)} of {dtype}; only booleans, integers and floats are read.")
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != num_bytes:
        raise Refusal(f"is damaged: its array {shown(name)} has the shape {shape} and {num_bytes} bytes.")
    order = "F" if is_fortran else "C"
    return np.array(np.ndarray(shape, dtype, part.buffer, part.begin + head.tell(), order=order))
