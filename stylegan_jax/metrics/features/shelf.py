"""The folder of weights of feature networks: what is in it, which file a network is read from, and what is missing."""

import dataclasses
import functools
import os
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence

from stylegan_jax.devices import backend
from stylegan_jax.metrics.features import alex, celeba, clip, dinov2, inception, known, stored, vgg
from stylegan_jax.runs.text import printable

COMMAND = "python -m stylegan_jax.main --mode=weights"
_READERS: dict[str, Callable[[pathlib.Path], object]] = {
    "inception": inception.read, "vgg": vgg.read, "vgg_convolutions": vgg.read, "celeba": celeba.read,
    "dinov2": dinov2.read, "clip": clip.read, "alex": alex.read, "alex_convolutions": alex.read,
}  # fmt: skip
_SETS = {  # Networks that are one file, or one of convolutions and one of heads.
    "vgg": (("vgg",), ("vgg_convolutions", "lpips_heads")),
    "alex": (("alex",), ("alex_convolutions", "alex_heads")),
}
_SMALLEST_BYTES = 2**20  # Of a file that is known by its name alone: heads, and downloads that failed, are smaller.


class MissingWeights(ValueError):
    """The folder has no file of a network; the message says which files would do, and where they are published."""


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What a file is.

    Attributes:
        path: where it is.
        published: the file of known.TABLE that it is, by its SHA-256; None for another.
        networks: names of what can be read from it, of known.NETWORKS.
        what: a phrase that follows its name, such as "holds VGG19 of torchvision".
    """

    path: pathlib.Path
    published: known.Known | None
    networks: tuple[str, ...]
    what: str


def default_folder() -> pathlib.Path:
    """Returns the user's own folder of weights, ~/.cache/stylegan_jax/weights, or below XDG_CACHE_HOME.

    Raises:
        ValueError: there is no home.
    """
    return backend.cache_folder("weights")


def published(network: str) -> tuple[known.Known, ...]:
    """Returns the published files of a network of known.NETWORKS. Of celeba all 40 are needed; of others, one is."""
    entries = tuple(entry for entry in known.TABLE if network in entry.networks)
    if network != "celeba":
        return entries
    url = entries[0].url.removesuffix(entries[0].name)
    return tuple(
        dataclasses.replace(entries[0], name=name, url=url + name, what=f"NVIDIA's classifier of {attribute}")
        for attribute, name in ((attribute, celeba.file_name(attribute)) for attribute in celeba.ATTRIBUTES)
    )


def find(network: str, folder: str | os.PathLike, metric: str = "") -> pathlib.Path:
    """Returns the first of `files`."""
    return files(network, folder, metric)[0]


def files(network: str, folder: str | os.PathLike, metric: str = "") -> tuple[pathlib.Path, ...]:
    """Returns the files that a network is read from: what its `read` takes, in order.

    They are known by their published names. If there is none, every file is read once, and known by its SHA-256 or,
    where that is unknown, by its layout. Nothing is executed.

    Args:
        network: a name of known.NETWORKS.
        folder: where to look; it need not exist.
        metric: what the message calls who asks.

    Returns:
        One file; of "vgg" and "alex", maybe one without heads and one of heads; of "celeba", 40, by celeba.ATTRIBUTES.

    Raises:
        MissingWeights: there are none.
        ValueError: there is no such network, or the folder is a file.
    """
    folder = pathlib.Path(folder)
    if network not in known.NETWORKS:
        raise ValueError(f"there is no feature network {network!r}; use one of {', '.join(known.NETWORKS)}.")
    if network == "celeba":
        paths = [folder / entry.name for entry in published(network)]
        if all(path.is_file() for path in paths):
            return tuple(paths)
    else:
        for parts in _SETS.get(network, ((network,),)):
            found = [_find(part, folder) for part in parts]
            if all(found):
                return tuple(found)
    raise MissingWeights(_missing(network, folder, metric))


def read_vgg(folder: str | os.PathLike, metric: str = "") -> known.Weights:
    """Returns VGG16 with the heads of LPIPS, from one file or from two; arguments and errors as of `files`."""
    return vgg.read(*files("vgg", folder, metric))


def _find(network: str, folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the file of a network in a folder; of several, that of the first place in known.TABLE."""
    for entry in published(network):
        path = folder / entry.name
        if path.is_file() and path.stat().st_size >= _SMALLEST_BYTES:
            return path
    fitting = [found for found in map(recognise, listed(folder)) if network in found.networks]
    order = {entry: place for place, entry in enumerate(known.TABLE)}
    first = min(fitting, key=lambda found: order.get(found.published, len(order)), default=None)
    return first.path if first else None


def listed(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of a folder by name, without hidden ones; none if it does not exist.

    Raises:
        ValueError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --weights names a folder.")
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def recognise(path: pathlib.Path) -> Recognised:
    """Returns what a file is. It is read once in a process, unless it changes."""
    status = path.stat()
    return _recognise(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _recognise(path: pathlib.Path, num_bytes: int, changed_ns: int) -> Recognised:
    try:
        found = stored.read(path)
        entry = known.of_digest(found.sha256)
        if entry:
            what = f"{found.description}, by its SHA-256"
            return Recognised(path, entry, entry.networks, what)
        networks = known.networks_of(found.arrays)
        if found.is_tensorflow:  # The names of its arrays tell little, so that the readers are asked.
            networks = tuple(network for network in ("vgg", "celeba") if _problem(network, path) is None)
        problem = _problem(networks[0], path) if networks else None
    except (ValueError, OSError) as error:  # The message begins with the path.
        return Recognised(path, None, (), printable(str(error).removeprefix(str(path)).lstrip(": ")))
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError) as error:
        what = f"is damaged: values in it are of another kind than networks have ({type(error).__name__}: {error})."
        return Recognised(path, None, (), printable(what))
    if problem or not networks:
        return Recognised(path, None, (), printable(problem or f"is another file: it {found.description}"))
    what = f"fits as {known.NETWORKS[networks[0]]}; its SHA-256 is none that is known here"
    return Recognised(path, None, networks, what)


def _problem(network: str, path: pathlib.Path) -> str | None:
    """Returns why a network cannot be read from a file, or None."""
    try:
        if network in _READERS:
            _READERS[network](path)
    except ValueError as error:
        return str(error).removeprefix(str(path)).lstrip(": ")
    return None


def _missing(network: str, folder: pathlib.Path, metric: str) -> str:
    """Returns what is missing, where it is published, and how to get it."""
    where = "" if folder == default_folder() else f" --weights={shlex.quote(str(folder))}"
    asks = f"{metric} needs" if metric else "the metric needs"
    entries: tuple[known.Known, ...] = published(network)
    if network == "celeba":
        absent = [entry.name for entry in entries if not (folder / entry.name).is_file()]
        text = f"{asks} {known.NETWORKS[network]}, and {len(absent)} of their files are not in {folder}, such as "
        text += f"{absent[0]}. Put them there, under their published names: {entries[0].url} and so on "
        return f"{text}({entries[0].licence}); {COMMAND}{where} --download=celeba fetches them."
    for convolutions, heads in _SETS.get(network, ())[1:]:
        if _find(convolutions, folder):
            asks = f"{asks} {known.NETWORKS[network]}: beside {known.NETWORKS[convolutions]} it needs"
            entries, network = (*published(heads), *entries), heads
    first, *rest = entries
    text = f"{asks} {known.NETWORKS[network]}, and {folder} has no file of it. Put {first.name} there, from "
    text += f"{_source(first)} ({first.licence}); {COMMAND}{where} --download={first.name} fetches it."
    if rest:
        text += f" Read too: {', '.join(entry.name for entry in rest)}; {COMMAND}{where} says what they are."
    others = [found for found in map(recognise, listed(folder)) if not found.networks][:3]
    return " ".join([text, *(f"{printable(found.path.name)} {found.what.rstrip('.')}." for found in others)])


def _source(entry: known.Known) -> str:
    return f"{entry.member} within {entry.url}" if entry.member else entry.url


def report(
    folder: pathlib.Path,
    metrics_of: Mapping[str, Sequence[str]],
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Returns which files a folder has, which metrics need which, and where each is published, in lines.

    Args:
        folder: of weights; it need not exist.
        metrics_of: networks, and the metrics that need each.
        progress_fn: is told (files read, files in all); each is read whole.
    """
    paths, found, used = listed(folder), [], []
    for number, path in enumerate(paths, 1):
        found.append(recognise(path))
        progress_fn(number, len(paths))
    lines = [f"folder of weights: {folder}{'' if folder.is_dir() else ', which does not exist yet'}"]
    for network, metrics in metrics_of.items():
        parts = {part for parts in _SETS.get(network, ((network,),)) for part in parts}
        entries = [entry for entry in known.TABLE if parts & set(entry.networks)]
        here = [each for each in found if parts & set(each.networks)]
        used += here
        try:
            is_ready = all(recognise(path).networks for path in files(network, folder))
        except MissingWeights:
            is_ready = False
        state = "ready" if is_ready else "missing"
        lines += ["", f"{network}: {state}", f"  what: {known.NETWORKS[network]}", f"  for: {', '.join(metrics)}"]
        lines += [f"  here: {_shown(each)}" for each in here]
        for entry in entries:
            lines.append(f"  published: {entry.name}, {entry.what} ({entry.licence})\n    {_source(entry)}")
        if network == "celeba":
            lines.append(f"    and {len(celeba.ATTRIBUTES) - 1} others beside it, one for each attribute")
    others = [each for each in found if each not in used]
    lines += ["", *(f"not used: {_shown(each)}" for each in others)] if others else []
    lines += [
        "",
        "All other metrics need none of these.",
        f"To fetch one: {COMMAND} --download={known.TABLE[0].name}",
    ]
    return "\n".join(lines)


def _shown(found: Recognised) -> str:
    return f"{printable(found.path.name)} ({found.path.stat().st_size / 1e6:.1f} MB) {found.what}"
