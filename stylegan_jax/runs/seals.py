"""Seals, which tell whether an array, a file or a JSON value is still what it was."""

import json
import pathlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NAME = "files.json"


# ---- files


def seal_files(folder: pathlib.Path) -> None:
    """Writes the size and CRC of every file in `folder` to `NAME` in it."""
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    (folder / NAME).write_text(json.dumps({str(f.relative_to(folder)): _size_and_crc(f) for f in files}))


def first_bad_file(folder: pathlib.Path) -> str | None:
    """Returns what is wrong with the first file that differs from its seal, or None."""
    try:
        seal = json.loads((folder / NAME).read_text())
        for name, (size, crc) in seal.items():
            found_size, found_crc = _size_and_crc(folder / name)
            if found_size != size:
                return f"{folder.name}/{name} has {found_size} bytes instead of {size}"
            if found_crc != crc:
                return f"{folder.name}/{name} has changed since it was written"
    except FileNotFoundError as error:
        return f"{folder.name}/{pathlib.Path(error.filename).relative_to(folder)} is missing"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{folder.name}/{NAME} cannot be checked ({error})"
    return None


def _size_and_crc(file: pathlib.Path) -> list[int]:
    """Returns [bytes, CRC-32] of a file."""
    size, crc = 0, 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


# ---- values


def crc_of_json(value: Any) -> int:
    """Returns the CRC of plain JSON values."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def describe(tree: Any) -> dict[str, list]:
    """Returns {path of a leaf: [dtype, shape]}, in the order of jax.tree.leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(k, simple=True, separator="/"): [str(x.dtype), list(x.shape)] for k, x in leaves}


def checksums(tree: Any) -> np.ndarray:
    """Returns the `checksum` of each leaf, in the order of jax.tree.leaves. uint32 [num_leaves]"""
    return np.asarray(jnp.stack([checksum(leaf) for leaf in jax.tree.leaves(tree)]))


@jax.jit
def checksum(x: jax.Array) -> jax.Array:
    """Returns sum_i mix(bits_i ^ mix(i)) mod 2**32, over the elements i of `x`. uint32 scalar.

    mix is a bijection, so one changed element always changes the sum. Moved elements, and changes that cancel in a
    plain or weighted sum of the bits, go unseen once in 2**32. Integer sums have no order, so the sharding of `x`
    has no effect.
    """
    if x.dtype == jnp.bool_:
        bits = x.astype(jnp.uint32)
    else:
        bits = jax.lax.bitcast_convert_type(x, {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32))
    index = jax.lax.iota(jnp.uint32, bits.size).reshape(bits.shape)
    return jnp.sum(_mix(bits.astype(jnp.uint32) ^ _mix(index)), dtype=jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    """Returns the bits of `x`, uint32, scattered one to one: the finalizer of MurmurHash3 (Appleby 2011)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
