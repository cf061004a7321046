"""Pictures that lie as rows of one file: LSUN's lmdb, Hugging Face's parquet, HDF5, and NumPy's .npy and .npz."""

# lmdb, pyarrow and h5py are imported where they are used: that takes long, and most runs need none of them.
import bisect
import contextlib
import dataclasses
import itertools
import json
import pathlib
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stylegan_jax.data import labels, pictures
from stylegan_jax.data.source import Source, file_identity

LABEL_NAMES = ("label", "labels", "class", "cls", "y")  # Of columns and arrays of classes, the best first.
PICTURE_NAMES = ("image", "img", "picture", "jpg", "png")  # Of columns of pictures, the best first.
RECENT_BYTES = 2**28  # Of decoded rows that a compressed file keeps in memory.

_LABEL_TYPES = r"u?int\d+|(large_)?string|dictionary<values=(large_)?string,.*"
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}

# lmdb opens a file only once in a process, so sources of one file share it. It closes with the last of them.
_environments: weakref.WeakValueDictionary[tuple[int, int], Any] = weakref.WeakValueDictionary()
_environments_lock = threading.Lock()


def open_lmdb(path: str) -> Source:
    """Returns the encoded pictures of an lmdb (LSUN), given its folder or its data.mdb, in the order of their keys.

    Nothing is written beside it. A file cut short is told by its size; other damage is not, as lmdb has no checksums.

    Raises:
        ValueError: no such file, no lmdb, cut short, or empty.
    """
    with _readable(path, "lmdb (data.mdb, or its folder)"):
        file = pathlib.Path(path).expanduser()
        file = file / "data.mdb" if file.is_dir() else file
        shared = [_environment(file)]
        size = file.stat().st_size
        full_size = (shared[0].info()["last_pgno"] + 1) * shared[0].stat()["psize"]
    if size < full_size:  # To read on would end the process, as the file is mapped into memory.
        raise ValueError(f"{path} is cut short: {size} bytes of {full_size}. Copy or download it again.")
    with _readable(path, "lmdb"), shared[0].begin() as transaction:
        keys = list(transaction.cursor().iternext(values=False))
        identity = file_identity(file)
    if not keys:
        raise ValueError(f"{path} has no pictures: it is an empty lmdb. Name another file.")

    names = [key.decode("ascii", "backslashreplace") for key in keys]

    def read(index: int) -> bytes:
        with _readable(path, "lmdb"), shared[0].begin() as transaction:
            return transaction.get(keys[index]) or b""  # None if pages are in disorder; neither is a picture.

    return Source(path, names, [identity] * len(keys), read, close_fn=shared.clear)


def _environment(file: pathlib.Path) -> Any:
    """Returns lmdb's environment of a file, to be read by many threads."""
    import lmdb

    options = {"subdir": False, "readonly": True, "lock": False, "readahead": False}
    key = (file.stat().st_dev, file.stat().st_ino)
    with _environments_lock:
        _environments[key] = environment = _environments.get(key) or lmdb.open(str(file), max_readers=1024, **options)
        return environment


def open_parquet(path: str) -> Source:
    """Returns the encoded pictures of a parquet file, or of a folder of them (Hugging Face), sorted by file and row.

    The column of pictures is of type struct<bytes, path> or binary. Classes come from a column of names, or of whole
    numbers, which Hugging Face's metadata may name. Pictures are named by their path if each has its own, else
    FILE#ROW. None is read before it is asked for; its neighbours are then decoded too, and kept for a while.

    Raises:
        ValueError: no such file, no parquet, cut short, without rows, or it is not clear which column has the pictures.
    """
    from pyarrow import compute, parquet

    with _readable(path, "parquet"):
        files = _parquet_files(pathlib.Path(path).expanduser())
    metadata, schemas, identities = {}, [], []
    for name, file in files.items():
        with _readable(str(file), "parquet"), parquet.ParquetFile(file) as table:
            metadata[name] = table.metadata
            schemas.append(table.schema_arrow)
            identities += [file_identity(file)] * table.metadata.num_rows
    if not identities:
        raise ValueError(f"{path} has no pictures: {len(files)} .parquet files without rows. Name another path.")
    types = dict(set.intersection(*(set(_types(schema).items()) for schema in schemas)))
    column = _picture_column(path, schemas[0], types)
    label = next((name for name in LABEL_NAMES if re.fullmatch(_LABEL_TYPES, types.get(name, ""))), None)
    has_paths = types.get(f"{column}.path") == "string"

    def read_columns(name: str, columns: list[str], group: int | None = None) -> Any:
        # Opened each time, for there may be hundreds of files; that is quick with the known metadata.
        with parquet.ParquetFile(files[name], metadata=metadata[name]) as table:
            return table.read(columns) if group is None else table.read_row_group(group, columns)

    paths, values = [], []
    for name, file in files.items():
        with _readable(str(file), "parquet"):
            table = read_columns(name, [f"{column}.path"] * has_paths + [label] * (label is not None))
            paths += compute.struct_field(table.column(column), "path").to_pylist() if has_paths else [None]
            values += table.column(label).to_pylist() if label is not None else []
    names = [f"{name}#{row:06d}" for name in files for row in range(metadata[name].num_rows)]
    names = paths if all(paths) and len(set(paths)) == len(names) else names
    classes, notes = _classes(path, values, _class_names(schemas[0], label)) if values else (None, ())
    splits = sorted({word for name in files for word in re.split(r"[^a-z]+", name.lower())} & _SPLITS)
    note = f"{path} has the splits {', '.join(splits)}: all are taken; name a file to take less"
    notes += (note,) if len(splits) > 1 else ()
    groups = [(name, group) for name in files for group in range(metadata[name].num_row_groups)]
    ends = list(itertools.accumulate(metadata[name].row_group(group).num_rows for name, group in groups))
    leaf = f"{column}.bytes" if f"{column}.bytes" in types else column
    decode = _keep_recent(lambda i: read_columns(groups[i][0], [leaf], groups[i][1]).column(0), len(groups))

    def read(index: int) -> bytes:
        group = bisect.bisect_right(ends, index)
        with _readable(str(files[groups[group][0]]), "parquet"):
            value = decode(group)[index - ends[group]].as_py()  # Counted from the end of its group.
        encoded = value["bytes"] if isinstance(value, dict) else value
        if encoded is None:
            raise ValueError(f"{path}: {names[index]} has no bytes; pictures must lie in the file, not beside it.")
        return encoded

    return Source(path, names, identities, read, classes, notes=notes)


def _parquet_files(place: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns parquet files by their sorted names: the place itself, or what lies below it and is not hidden."""
    if not place.is_dir():
        return {place.name: place}
    names = sorted(file.relative_to(place).as_posix() for file in place.rglob("*.parquet") if file.is_file())
    return {name: place / name for name in names if "/." not in f"/{name}"}


def _types(schema: Any) -> dict[str, str]:
    """Returns the type of each column, and as COLUMN.FIELD of what lies in it."""
    types = [(field.name, field.type) for field in schema]
    inner = [(name, kind.field(i)) for name, kind in types for i in range(kind.num_fields)]
    return {name: str(kind) for name, kind in types + [(f"{name}.{field.name}", field.type) for name, field in inner]}


def _picture_column(path: str, schema: Any, types: Mapping[str, str]) -> str:
    """Returns the column of pictures, of those that all files have with the same type (`types`)."""
    held = {name: types.get(f"{name}.bytes") or types.get(name, "") for name in schema.names}
    fitting = [name for name, kind in held.items() if kind in ("binary", "large_binary")]
    chosen = [name for known in PICTURE_NAMES for name in fitting if name.lower() == known][:1] or fitting
    if len(chosen) != 1:
        found = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise ValueError(
            f"{path}: columns that may hold pictures are {', '.join(chosen) or 'none'}, of {found}. Expected in all "
            f"files one of struct<bytes: binary, path: string> or binary, named {' or '.join(PICTURE_NAMES)}; rename."
        )
    return chosen[0]


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Returns the names of the classes in Hugging Face's metadata, or none."""
    with contextlib.suppress(ValueError, KeyError, TypeError):  # It is JSON of anybody's making.
        return tuple(map(str, json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]))
    return ()


def _keep_recent(load_fn: Callable[[int], Any], length: int) -> Callable[[int], Any]:
    """Returns `load_fn`, of numbers below `length`, with its last RECENT_BYTES of results kept, for many threads."""
    recent: dict[int, Any] = {}  # The latest last.
    lock = threading.Lock()
    locks = [threading.Lock() for _ in range(length)]  # What several ask for at once is loaded once.

    def load(number: int) -> Any:
        with locks[number]:
            with lock:
                result = recent.pop(number, None)
            result = load_fn(number) if result is None else result
            with lock:
                recent[number] = result
                while len(recent) > 1 and sum(kept.nbytes for kept in recent.values()) > RECENT_BYTES:
                    del recent[next(iter(recent))]
            return result

    return load


def open_hdf5(path: str) -> Source:
    """Returns the pictures of an HDF5 file: of its arrays of pictures (see `open_npy`) those of the largest height.

    So Progressive GAN's files, with data2x2 ... data1024x1024, give their largest pictures.

    Raises:
        ValueError: no such file, no HDF5, cut short, or without an array of pictures.
    """
    import h5py

    with contextlib.ExitStack() as stack:
        with _readable(path, "HDF5"):
            options = {"locking": False, "rdcc_nbytes": RECENT_BYTES}  # Many network drives refuse HDF5's own lock.
            file = stack.enter_context(h5py.File(pathlib.Path(path).expanduser(), "r", **options))
            names: list[str] = []
            file.visit(names.append)
            # Scalars are left out, and what has no value and so no shape. A name that is no UTF-8 comes as bytes.
            arrays = {str(name): file[name] for name in names if getattr(file[name], "shape", None)}
        opened = _from_arrays(path, arrays, threading.Lock())  # HDF5 is not made for threads.
        return dataclasses.replace(opened, close_fn=stack.pop_all().close)


def open_npy(path: str) -> Source:
    """Returns the pictures of a .npy, which is read row by row, or of a .npz, which is read whole.

    Pictures are an array uint8 [n, h, w], [n, h, w, c] or [n, c, h, w], with c of 1, 3 or 4; of several the one of the
    largest height, then the longest. The array as long that has a word of LABEL_NAMES in its name gives the classes.

    Raises:
        ValueError: no such file, neither .npy nor .npz, cut short, pickled objects, or without an array of pictures.
    """
    with _readable(path, ".npy or .npz of plain arrays that fits into memory"):
        place = pathlib.Path(path).expanduser()
        with place.open("rb") as file:  # Given a path, NumPy does not close a damaged .npz.
            is_npz = file.peek(2).startswith(b"PK")
            loaded = np.load(file if is_npz else place, mmap_mode=None if is_npz else "r", allow_pickle=False)
            arrays = dict(loaded) if is_npz else {"array": loaded}
    return _from_arrays(path, arrays, contextlib.nullcontext())


def _from_arrays(path: str, arrays: Mapping[str, Any], lock: contextlib.AbstractContextManager[Any]) -> Source:
    """Returns the pictures of one of a file's arrays, whose rows are read under the lock."""
    with _readable(path, "file of arrays"):
        found = ", ".join(f"{name}: {array.dtype} {list(array.shape)}" for name, array in arrays.items())
        axes = {name: _axes(array.shape) for name, array in arrays.items() if array.dtype == np.uint8}
        identity = file_identity(pathlib.Path(path).expanduser())
    fitting = sorted(name for name in axes if axes[name] is not None)
    if not fitting:
        raise ValueError(
            f"{path} has no array of pictures; found {found[:1000] or 'none'}. Expected uint8, 0..255, of shape "
            "[n, h, w], [n, h, w, c] or [n, c, h, w], with c of 1, 3 or 4; convert it and save it anew."
        )
    chosen = max(fitting, key=lambda name: (arrays[name].shape[1 + axes[name][0]], len(arrays[name]), len(axes[name])))
    rows, order = arrays[chosen], axes[chosen]
    classes, notes = _array_classes(path, arrays, len(rows))

    def read(index: int) -> np.ndarray:
        with _readable(path, "file of arrays"), lock:
            return np.array(rows[index].transpose(order), order="C")  # A copy. [h, w] or [h, w, c]

    names = [f"{i:0{len(str(len(rows) - 1))}}" for i in range(len(rows))]
    others = ", ".join(name for name in fitting if name != chosen)
    notes += (f"{path}: the pictures are those of {chosen}; passed over: {others}",) if others else ()
    return Source(path, names, [identity] * len(rows), read, classes, notes=notes)


def _axes(shape: Sequence[int]) -> tuple[int, ...] | None:
    """Returns the order of a picture's axes that makes them (h, w) or (h, w, c), or None if it is no picture."""
    if 0 in shape or len(shape) not in (3, 4):
        return None
    if len(shape) == 3:  # [64, 64, 3] is one picture, not 64 of 64x3 px.
        return (0, 1) if shape[2] not in pictures.MODES or shape[1] == shape[2] else None
    orders = [order for order in ((0, 1, 2), (1, 2, 0)) if shape[1 + order[2]] in pictures.MODES]
    # [n, 3, 4, 4] fits both: square pictures are likelier.
    return max(orders, key=lambda order: shape[1 + order[0]] == shape[1 + order[1]], default=None)


def _array_classes(path: str, arrays: Mapping[str, Any], length: int) -> tuple[labels.Classes | None, tuple[str, ...]]:
    """Returns the classes in the array of labels, [length] or [length, k], and a note if it is not used."""
    named = [name for name in arrays if set(re.split(r"[^a-z]+", name.lower())) & set(LABEL_NAMES)]
    named = [name for name in named if arrays[name].shape[:1] == (length,) and arrays[name].ndim < 3]
    if len(named) != 1:
        notes = (f"{path} has the arrays of labels {', '.join(named)}: none is used; leave one in it",)
        return None, notes if named else ()
    with _readable(path, "file of arrays"):
        values = np.asarray(arrays[named[0]])
    return _classes(path, list(values[:, 0] if values.shape[1:] == (1,) else values))


def _classes(path: str, values: list, names: tuple[str, ...] = ()) -> tuple[labels.Classes | None, tuple[str, ...]]:
    """Returns the classes, or None and a note, for pictures are of use even if labels are odd, or missing (-1)."""
    try:
        classes = labels.from_values(values, path)
        has_names = len(names) >= len(classes.names)  # Else they name something else.
        return labels.Classes(classes.labels, names) if has_names else classes, ()
    except (ValueError, OverflowError) as error:
        return None, (f"The labels in {path} are not used: {error}",)


@contextlib.contextmanager
def _readable(path: str, kind: str) -> Iterator[None]:
    """Turns what a library raises at a file, a dozen unrelated types, into a ValueError that names it."""
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is no readable {kind}: {reason}. Check the path, or copy it again.") from error
