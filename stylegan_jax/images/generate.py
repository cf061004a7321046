"""`--mode=generate`: images of seeds, as files or as a grid."""

import collections
import concurrent.futures
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stylegan_jax.images import outputs
from stylegan_jax.runs import grid
from stylegan_jax.weights import classes
from stylegan_jax.weights.network import Network

MOST_PENDING = 32  # Images that wait to be written.


def save_images(
    network: Network,
    seeds: Sequence[int],
    folder: pathlib.Path,
    class_names: Sequence[str] = (),
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
    **look: Any,
) -> list[pathlib.Path]:
    """Writes the image of each seed, of each class, and returns the paths.

    A file's bytes are a function of its name, the network and `look`, whatever the other seeds are. Files that are
    there already stay.

    Args:
        network: network that makes the images.
        seeds: numbers of the images.
        folder: folder to write to; it must exist.
        class_names: classes of a conditional network, by name or number.
        progress_fn: called with the number of images that are done, and of all.
        **look: psi, cutoff, noise and noise_seed of the network's call.

    Returns:
        seed0007.png, or seed0007-class3.png of a conditional network.

    Raises:
        ValueError: a class or an argument that the network does not take, or other pictures are in the folder.
    """
    numbers = _checked(network, class_names, look)
    wanted = {f"seed{seed:04d}{_suffix(number)}.png": (seed, number) for number in numbers for seed in seeds}
    present = outputs.begin(folder, "generate", {"network": network.sha256, **look}, wanted)
    pending: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor() as pool:  # A PNG takes longer than an accelerator's image.
        for done, (name, (seed, number)) in enumerate(wanted.items(), 1):
            if name not in present:
                (image,) = network(seed, labels=number, **look)
                pending.append(pool.submit(grid.save_png, folder / name, image))
            if len(pending) > MOST_PENDING:
                pending.popleft().result()
            progress_fn(done, len(wanted))
        for one in pending:
            one.result()
    return [folder / name for name in wanted]


def save_grids(
    network: Network,
    seeds: Sequence[int],
    folder: pathlib.Path,
    class_names: Sequence[str] = (),
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
    **look: Any,
) -> list[pathlib.Path]:
    """Writes one picture of the images of all seeds, of each class, and returns the paths.

    Args and Raises: those of `save_images`.

    Returns:
        grid.png, or grid-class3.png of a conditional network.
    """
    numbers = _checked(network, class_names, look)
    paths = [folder / f"grid{_suffix(number)}.png" for number in numbers]
    about = {"network": network.sha256, "seeds": list(seeds), **look}
    outputs.begin(folder, "grid", about, [path.name for path in paths])
    for i, (path, number) in enumerate(zip(paths, numbers, strict=True)):
        cells = []
        for seed in seeds:
            cells.append(network(seed, labels=number, **look))
            progress_fn(i * len(seeds) + len(cells), len(numbers) * len(seeds))
        grid.save_png(path, grid.image_grid(np.concatenate(cells)))
    return paths


def _suffix(number: int | None) -> str:
    return "" if number is None else f"-class{number}"


def _checked(network: Network, class_names: Sequence[str], look: dict[str, Any]) -> list[int | None]:
    """Returns the numbers of classes. Raises ValueError if the network does not take the arguments; writes nothing."""
    numbers = numbers_of(network, class_names)
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"--classes={','.join(class_names)} names a class twice; name each once.")
    network(0, labels=numbers[0], **look)
    return numbers


def numbers_of(network: Network, class_names: Sequence[str]) -> list[int | None]:
    """Returns the numbers of classes, which are given by name or number; [None] for a network without classes.

    Raises:
        ValueError: there is no such class, or none is named and the network has some.
    """
    num_classes = network.model.num_labels
    if not num_classes:
        if class_names:
            raise ValueError(f"this network has no classes, and so no {class_names[0]!r}; leave out --classes.")
        return [None]
    how = "Put commas between classes; put a name that has a comma in double quotes: --classes='\"salt, pepper\",7'."
    if not class_names:
        listed = ", ".join(network.class_names[: classes.MAX_LISTED]) or f"0 to {num_classes - 1}"
        raise ValueError(f"this network has {num_classes} classes; name those to draw with --classes: {listed}.\n{how}")
    try:
        return [classes.number_of(name, network.class_names, num_classes) for name in class_names]
    except ValueError as error:
        raise ValueError(f"{error}\n{how}") from None
