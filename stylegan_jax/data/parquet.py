"""Pictures in rows of parquet files, as Hugging Face has them."""

import bisect
import contextlib
import dataclasses
import itertools
import json
import pathlib
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stylegan_jax.data import folder, labels
from stylegan_jax.data.source import Source, file_identity, readable, unchanged_since_now

PICTURE_NAME = "image"  # Name of the column of pictures, in any case, where several may hold them.
RECENT_BYTES = 2**28  # Memory for decoded rows.

_LABEL_TYPES = (
    r"u?int\d+|(large_)?string|dictionary<values=(large_)?string,.*|"
    r"(large_|fixed_size_)?list<\w+: (u?int\d+|float|double)( not null)?>(\[\d+\])?"
)


@dataclasses.dataclass(frozen=True)
class _Tables:
    """Parquet files of one source, and what is known of them without reading a row."""

    path: str  # Path of the source.
    files: dict[str, pathlib.Path]  # Files by their names, sorted.
    metadata: dict[str, Any]  # Metadata by the same names.
    schemas: list[Any]  # Schemas in the same order.
    types: dict[str, str]  # Types that all files have: of columns, and of their fields as COLUMN.FIELD.

    def read(self, name: str, columns: Sequence[str], group: int | None = None) -> Any:
        """Returns columns of a file, or of a row group of it."""
        from pyarrow import parquet

        # It is opened each time, for there may be hundreds of files; that is quick with the known metadata.
        with parquet.ParquetFile(self.files[name], metadata=self.metadata[name]) as table:
            return table.read(columns) if group is None else table.read_row_group(group, columns)

    def read_column(self, column: str) -> list[Any]:
        """Returns the values of a column in all files."""
        values = []
        for name, file in self.files.items():
            with readable(str(file), "parquet"):
                values += self.read(name, [column]).column(0).to_pylist()
        return values


def open_source(path: str) -> Source:
    """Returns the encoded pictures of a parquet file, or of a folder of them, sorted by file and row.

    The column of pictures is of type struct<bytes, path> or binary. Classes come from a column of names, of one-hot
    vectors or of whole numbers, which Hugging Face's metadata may name. Pictures are named by their path if each has
    its own, else FILE#ROW. A picture is read when it is asked for; its neighbours are decoded too, and kept for a
    while.

    Raises:
        ValueError: there is no such file, or it is not parquet, is cut short or has no rows; or it is not clear which
            column has the pictures.
    """
    tables, identities, unchanged_fn = _open(path)
    column, notes = _picture_column(path, tables.schemas[0], tables.types)
    names = _names(tables, column)
    classes, unused_labels = labels.or_reason(lambda: _own_classes(tables, column))
    splits = sorted({word for name in tables.files for word in re.split(r"[^a-z]+", name.lower())} & labels.SPLITS)
    note = f"{path} has the splits {', '.join(splits)}: all are taken; name a file to take fewer"
    return Source(
        path,
        names,
        identities,
        _reader(tables, column, names),
        classes,
        notes=(*notes, note) if len(splits) > 1 else notes,
        unused_labels=unused_labels,
        unchanged_fn=unchanged_fn,
    )


def _open(path: str) -> tuple[_Tables, list[str], Callable[[Iterable[int]], bool]]:
    """Returns the files of a source, the identity of each row, and what tells whether the files are unchanged."""
    from pyarrow import parquet

    with readable(path, "parquet"):
        place = pathlib.Path(path).expanduser()
        files = {place.name: place}
        if place.is_dir():
            files = {name: place / name for name in folder.find(str(place), (".parquet",))}
        unchanged_fn = unchanged_since_now(files.values())
    metadata, schemas, identities = {}, [], []
    for name, file in files.items():
        with readable(str(file), "parquet"), parquet.ParquetFile(file) as table:
            metadata[name] = table.metadata
            schemas.append(table.schema_arrow)
            identities += [file_identity(file)] * table.metadata.num_rows
    if not identities:
        raise ValueError(f"{path} has no pictures: {len(files)} .parquet files without rows. Name another path.")
    types = dict(set.intersection(*(set(_types(schema).items()) for schema in schemas)))
    return _Tables(path, files, metadata, schemas, types), identities, unchanged_fn


def _names(tables: _Tables, column: str) -> list[str]:
    """Returns the paths of the pictures if each has its own, else FILE#ROW."""
    if tables.types.get(f"{column}.path") == "string":
        paths = [picture and picture["path"] for picture in tables.read_column(f"{column}.path")]
        if all(paths) and len(set(paths)) == len(paths):
            return paths
    return [f"{name}#{row:06d}" for name, known in tables.metadata.items() for row in range(known.num_rows)]


def _reader(tables: _Tables, column: str, names: Sequence[str]) -> Callable[[int], bytes]:
    """Returns a function of a picture's number that returns its encoded bytes."""
    groups = [(name, group) for name, known in tables.metadata.items() for group in range(known.num_row_groups)]
    ends = list(itertools.accumulate(tables.metadata[name].row_group(group).num_rows for name, group in groups))
    leaf = f"{column}.bytes" if f"{column}.bytes" in tables.types else column
    decode = _keep_recent(lambda i: tables.read(groups[i][0], [leaf], groups[i][1]).column(0), len(groups))

    def read(index: int) -> bytes:
        group = bisect.bisect_right(ends, index)
        with readable(str(tables.files[groups[group][0]]), "parquet"):
            value = decode(group)[index - ends[group]].as_py()  # Counted from the end of its group.
        encoded = value["bytes"] if isinstance(value, dict) else value
        if encoded is None:
            raise ValueError(f"{tables.path}: {names[index]} has no bytes; they must lie in the file, not beside it.")
        return encoded

    return read


def _types(schema: Any) -> dict[str, str]:
    """Returns the type of each column, and of each of its fields as COLUMN.FIELD."""
    types = [(field.name, field.type) for field in schema]
    inner = [(name, kind.field(i)) for name, kind in types for i in range(kind.num_fields)]
    return {name: str(kind) for name, kind in types + [(f"{name}.{field.name}", field.type) for name, field in inner]}


def _picture_column(path: str, schema: Any, types: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Returns the column of pictures among those of one type in all files (`types`), and a note if others may be, too.

    Raises:
        ValueError: there is none, or there are several, of which not exactly one is called image.
    """
    held = {name: types.get(f"{name}.bytes") or types.get(name, "") for name in schema.names}
    fitting = [name for name, kind in held.items() if kind in ("binary", "large_binary")]
    chosen = fitting if len(fitting) == 1 else [name for name in fitting if name.lower() == PICTURE_NAME]
    if len(chosen) != 1:
        found = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise ValueError(
            f"{path}: columns that may hold pictures are {', '.join(fitting) or 'none'}, of {found}. All files need "
            f"one of struct<bytes: binary, path: string> or binary; of several, call the one to take {PICTURE_NAME}."
        )
    others = ", ".join(name for name in fitting if name not in chosen)
    note = f"{path}: the pictures of the column {chosen[0]} are taken; {others}, which may hold others, are passed over"
    return chosen[0], (note,) if others else ()


def _own_classes(tables: _Tables, pictures: str) -> labels.Classes | None:
    """Returns the classes in the column of labels, or None if there is none beside the column of pictures.

    Raises:
        labels.NotClasses: there are several such columns, or it holds no classes.
    """
    columns = dict.fromkeys(name for schema in tables.schemas for name in schema.names if name != pictures)
    label = labels.label_name(columns, tables.path)
    if label is None:
        return None
    kind = tables.types.get(label)
    if kind is None:
        raise labels.NotClasses(f"{tables.path}: the column {label} differs among the files; write all alike.")
    if not re.fullmatch(_LABEL_TYPES, kind):
        raise labels.NotClasses(
            f"{tables.path}: the type of the column {label} is {kind}; use whole numbers, names or one-hot vectors."
        )
    classes = labels.from_values(tables.read_column(label), f"{tables.path}, column {label}")
    names, *others = (_class_names(schema, label) for schema in tables.schemas)
    if any(other != names for other in others):
        raise labels.NotClasses(
            f"{tables.path}: the files name the classes of {label} differently, so a number means several; write all "
            "alike, or name one file."
        )
    return labels.Classes(classes.labels, names) if len(names) >= len(classes.names) else classes


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Returns the names of the classes in Hugging Face's metadata, or none."""
    with contextlib.suppress(ValueError, KeyError, TypeError):  # Anybody may have written this JSON.
        return tuple(map(str, json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]))
    return ()


def _keep_recent(load_fn: Callable[[int], Any], length: int) -> Callable[[int], Any]:
    """Returns `load_fn`, of numbers below `length`, which keeps its last RECENT_BYTES of results; for many threads."""
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
