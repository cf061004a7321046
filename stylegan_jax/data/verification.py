"""Tells whether a prepared store still has what was prepared."""

import hashlib
import pathlib

import numpy as np

from stylegan_jax.data import decode, records, square, store, survey

AT_ONCE = 16  # Pictures whose levels are compared at once.


def verify(path: str, num_workers: int) -> list[str]:
    """Returns a sentence for each file of a store that differs from what was prepared; none if it is whole.

    Each picture is decoded. The hash of all that was prepared tells whether pictures and classes are the same, and
    the levels must be box means of the pictures.

    Args:
        path: path of the store.
        num_workers: number of threads that decode.

    Raises:
        ValueError: it is not a store.
        OSError: a file cannot be read.
    """
    folder, source = pathlib.Path(path), store.open_source(path)
    record = store.read_record(folder)
    ends = np.cumsum(record["shard_lengths"])
    num_shards, raw_sizes = len(ends), store.level_sizes(record["resolution"])
    hashes, bad_levels, errors = [""] * num_shards, set[pathlib.Path](), dict[int, str]()

    def look_at_shard(shard: int) -> str:
        digest, start, end = hashlib.sha256(), int(ends[shard]) - record["shard_lengths"][shard], int(ends[shard])
        for first in range(start, end, AT_ONCE):
            some = np.arange(first, min(first + AT_ONCE, end))
            pictures = [decode.pixels(source.read_fn(int(i)), source.channels) for i in some]
            for i, pixels in zip(some, pictures, strict=True):
                label = None if source.classes is None else int(source.classes.labels[i])
                digest.update(pixels.tobytes() + str(label).encode())
            means = [square.box_means(pixels, raw_sizes) for pixels in pictures]
            for size in raw_sizes:
                level = np.empty((len(some), size, size, source.channels), np.uint8)
                source.read_many_fn(some, level)
                if (level != [of[size] for of in means]).any():
                    bad_levels.add(store.level_path(folder, size, shard, num_shards))
        return digest.hexdigest()

    def look(shards: range) -> None:
        for shard in shards:
            try:
                hashes[shard] = look_at_shard(shard)
            except ValueError as error:
                errors[shard] = str(error)

    survey.in_threads(look, num_shards, 1, num_workers)
    sentences = [errors[shard] for shard in sorted(errors)]
    sentences += [f"{file} differs from the pictures that it was made of" for file in sorted(bad_levels)]
    if hashlib.sha256("".join(hashes).encode()).hexdigest() == record["sha256"]:
        return sentences
    known = record.get("shard_sha256", [])
    bad = [i for i, of_shard in enumerate(known) if of_shard != hashes[i] and i not in errors]
    files = [str(records.shard_path(folder, shard, num_shards)) for shard in bad]
    files += [] if files or errors else [f"a file of {folder}"]
    labels = "" if source.classes is None else f", or {folder / store.LABELS} other classes,"
    return [*sentences, *(f"{file} has other pictures{labels} than were prepared" for file in files)]
