"""Data sets of TFDS (TensorFlow Datasets), read without TensorFlow.

A data set is downloaded and prepared once, as array records; most need no TensorFlow for that. Then its pictures are
read in any order, as the files that they were.
"""

import contextlib
import difflib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from stylegan_jax.data import labels
from stylegan_jax.data.source import Source, hash_lines

PREFIX = "tfds:"
FACES = "procedural_faces"  # Name of this package's own data set.
FILE_FORMAT = "array_record"
CHANNELS = (1, 3, 4, None)  # Channels of arrays that are pictures; None: any number.
RECORDS_AT_ONCE = 256  # Records read at once for their labels.


def open_tfds(spec: str, split: str, folder: str | None = None) -> Source:
    """Returns the pictures of a TFDS data set; it is downloaded and prepared first if that was not done.

    The picture of a record is its only feature that is one, or the one called "image": an Image, which is read as the
    file that it was, or uint8 [h, w, c]. The class is the ClassLabel called "label", or the only one; to know it, all
    records are read once, but no picture is decoded.

    Args:
        spec: "tfds:" and NAME, NAME/CONFIG, NAME/CONFIG:VERSION, or the path of a prepared data set, which begins with
            / or ~ or a dot.
        split: name of a split, or a part or a sum of splits: "train[:10%]", "train+test".
        folder: where data sets are prepared; None for TFDS's own, ~/tensorflow_datasets.

    Raises:
        ValueError: there is no such data set or split, it cannot be prepared, or it is not clear what its pictures are.
    """
    rest = spec.removeprefix(PREFIX)
    with _quiet():
        if rest.startswith(("/", "~", ".")):
            builder = _open_folder(rest, spec)
        else:
            builder = _find_builder(rest, spec, folder)
            _prepare(builder, spec)
        records = [_open_records(builder, spec, split)]  # Emptied when the source is closed.
    features = builder.info.features
    key = _picture_key(features, spec)
    picture = tfds.features.FeaturesDict({key: features[key]})  # The other features of a record are not decoded.
    decoders = {key: tfds.decode.SkipDecoding()} if isinstance(features[key], tfds.features.Image) else None

    def read(index: int) -> bytes | np.ndarray:
        with _reading(spec):
            return picture.deserialize_example_np(records[0][int(index)], decoders=decoders)[key]

    splits = [f"{info.name} {info.shard_lengths} {int(info.num_bytes)}" for info in builder.info.splits.values()]
    length, identity = len(records[0]), hash_lines([builder.info.full_name, *sorted(splits)])
    classes, unused_labels = labels.or_reason(lambda: _read_classes(records[0], features, spec))
    names = [f"{split}#{i:06d}" for i in range(length)]
    return Source(spec, names, [identity] * length, read, classes, unused_labels=unused_labels, close_fn=records.clear)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back the warnings of TFDS and of its downloads."""
    loggers = {logger: logger.level for logger in map(logging.getLogger, ("absl", "urllib3"))}
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def _open_folder(path: str, spec: str) -> Any:
    """Returns TFDS's builder of a prepared data set."""
    try:
        return tfds.builder_from_directory(path)
    except Exception as error:
        raise ValueError(
            f"data.source is {spec!r}, which TFDS cannot open: {_line(error)}; name the folder of a dataset_info.json."
        ) from error


def _find_builder(full_name: str, spec: str, folder: str | None) -> Any:
    """Returns TFDS's builder of a data set, prepared or not."""
    name = full_name.partition("/")[0].partition(":")[0]
    if name == FACES:
        from stylegan_jax.data.faces import builder  # noqa: F401 - TFDS knows it from then on.
    try:
        return tfds.builder(full_name, data_dir=folder)
    except tfds.core.registered.DatasetNotFoundError as error:
        close = difflib.get_close_matches(name, [FACES, *tfds.list_builders(with_community_datasets=False)], n=1)
        hint = f"did you mean {close[0]}?" if close else "https://www.tensorflow.org/datasets lists them."
        raise ValueError(f"data.source is {spec!r}, but TFDS has no data set {name!r}; {hint}") from error
    except Exception as error:  # AssertionErrors among others; the first line says what is wrong.
        reason = str(error).rpartition('}": ')[2].partition("\n")[0].partition(" Here are")[0].rstrip(".")
        with contextlib.suppress(Exception):  # The name may be malformed, or not a data set's.
            configs = ", ".join(tfds.builder_cls(name).builder_configs)
            reason += f"; its configurations are {configs}" if configs else ""
        raise ValueError(
            f"data.source is {spec!r}, which TFDS cannot open: {reason}. Use tfds:NAME, tfds:NAME/CONFIG, "
            "tfds:NAME/CONFIG:VERSION or tfds:/FOLDER."
        ) from error


def _prepare(builder: Any, spec: str) -> None:
    """Downloads a data set and writes it as array records, if that was not done before."""
    if builder.is_prepared():
        return
    try:  # The prepared data sets at gs://tfds-data are not array records.
        settings = tfds.download.DownloadConfig(try_download_gcs=False)
        builder.download_and_prepare(file_format=FILE_FORMAT, download_config=settings)
    except Exception as error:  # TensorFlow or the network is missing, or a file that must be downloaded by hand.
        raise ValueError(
            f"{spec} cannot be prepared ({type(error).__name__}: {_line(error)}); mend that; or, where it can be, run "
            f'tfds.builder("{spec.removeprefix(PREFIX)}").download_and_prepare(file_format="{FILE_FORMAT}"), copy the '
            "folder that it makes, and use tfds:/FOLDER."
        ) from error


def _open_records(builder: Any, spec: str, split: str) -> Any:
    """Returns the serialized records of a split, a sequence of bytes. It may be read by many threads."""
    formats = sorted(found.value for found in builder.info.available_file_formats())
    if FILE_FORMAT not in formats:
        raise ValueError(
            f"{spec} was prepared as {' and '.join(formats)} in {builder.data_dir}, which takes TensorFlow to read; "
            f"set TFDS_DATA_DIR to another folder, and it is prepared there as {FILE_FORMAT}."
        )
    try:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        records = builder.as_data_source(split, deserialize_method=raw, file_format=FILE_FORMAT)
        len(records)  # It raises where a slice ends before it begins.
        return records
    except Exception as error:  # Whatever TFDS raises on a split that is unknown, is not well-formed or has no records.
        splits = ", ".join(f"{info.name} ({info.num_examples} records)" for info in builder.info.splits.values())
        raise ValueError(
            f"data.split is {split!r} ({_line(error)}), but {spec} has the splits {splits}; use one, a part such as "
            "'train[:10%]', or a sum such as 'train+test'."
        ) from error


def _picture_key(features: Any, spec: str) -> str:
    """Returns the name of the feature that is the picture."""
    by_key = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    found = [key for key, feature in by_key.items() if _is_image(feature)]
    found = found or [key for key, feature in by_key.items() if _is_array(feature)]
    chosen = found[0] if len(found) == 1 else "image"
    if chosen not in found:
        listed = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in by_key.items()) or str(features)
        raise ValueError(
            f"{spec} has {len(found)} features that are pictures, and none of them called image: {listed}; a record "
            "needs one tfds.features.Image or uint8 [h, w, c]."
        )
    return chosen


def _is_image(feature: Any) -> bool:
    """Returns whether a feature is a picture file. One of float32 has its bits spread over RGBA."""
    return type(feature) is tfds.features.Image and len(feature.shape) == 3 and feature.np_dtype != np.float32


def _is_array(feature: Any) -> bool:
    """Returns whether a feature is an array that can be a picture."""
    is_uint8 = type(feature) is tfds.features.Tensor and feature.np_dtype == np.uint8
    return is_uint8 and len(feature.shape) == 3 and feature.shape[2] in CHANNELS


def _read_classes(records: Any, features: Any, spec: str) -> labels.Classes | None:
    """Returns the classes of all records, or None if nothing is called a label.

    Raises:
        labels.NotClasses: it is unclear which feature has them, it is not a ClassLabel, or some records have no class.
    """
    found = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel) and f.num_classes]
    if "label" not in found and len(found) != 1:
        called = found or [name for name in features if name.lower() in labels.LABEL_NAMES]
        if called:
            kinds = ", ".join(f"{name} ({type(features[name]).__name__})" for name in sorted(called))
            raise labels.NotClasses(f"{spec} has the labels {kinds}; one ClassLabel, or one called label, is needed.")
        return None
    key = "label" if "label" in found else found[0]
    label, names = tfds.features.FeaturesDict({key: features[key]}), tuple(features[key].names)
    numbers = np.empty(len(records), np.int64)
    for start in range(0, len(records), RECORDS_AT_ONCE):
        chunk = range(start, min(start + RECORDS_AT_ONCE, len(records)))
        with _reading(spec):
            serialized = records.__getitems__(list(chunk))
            numbers[chunk.start : chunk.stop] = [label.deserialize_example_np(record)[key] for record in serialized]
    num_without = int(np.sum((numbers < 0) | (numbers >= len(names))))
    if num_without:
        raise labels.NotClasses(f"{spec}: {num_without} of {len(numbers)} records have no class.")
    return labels.Classes(numbers, names)


@contextlib.contextmanager
def _reading(spec: str) -> Iterator[None]:
    """Turns what TFDS, Protobuf and array records raise into ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{spec} has a record that cannot be read: {_line(error)}; prepare it again.") from error


def _line(error: Exception) -> str:
    """Returns an error's message as one line."""
    return " ".join(str(error).split()).rstrip(".")
