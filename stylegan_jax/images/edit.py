"""`--mode=edit`: pictures whose styles move along directions, or toward those of another picture."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stylegan_jax.images import direction_files, directions, generate, outputs, projection_files, styles
from stylegan_jax.images.directions import Direction
from stylegan_jax.runs import grid
from stylegan_jax.weights import trees
from stylegan_jax.weights.files import npz
from stylegan_jax.weights.network import Network


def edit(ws: np.ndarray, vector: np.ndarray, strength: float, layers: Sequence[int] | None = None) -> np.ndarray:
    """Returns ws + strength * vector in some layers.

    Args:
        ws: styles. [n, num_layers, w_size]
        vector: of a direction. [w_size] or [num_layers, w_size]
        strength: how far to go: 1 adds the vector.
        layers: numbers of the layers to change, from 0; None: all.

    Returns:
        float32 [n, num_layers, w_size]

    Raises:
        ValueError: the shapes do not fit, or there is no such layer.
    """
    ws, vector = np.asarray(ws, np.float32), np.asarray(vector, np.float32)
    if ws.ndim != 3 or vector.shape not in (ws.shape[1:], ws.shape[2:]):
        raise ValueError(
            f"ws is {list(ws.shape)} and vector {list(vector.shape)}; give [n, num_layers, w_size], and [w_size] or "
            "[num_layers, w_size]."
        )
    return np.where(_is_moved(ws, layers), ws + np.float32(strength) * vector, ws)


def transfer(ws: np.ndarray, other: np.ndarray, amount: float = 1.0, layers: Sequence[int] | None = None) -> np.ndarray:
    """Returns ws that move toward those of another picture in some layers: hair-style transfer and the like.

    Args:
        ws: styles. [n, num_layers, w_size]
        other: those of the other picture, or of one for each. [1 or n, num_layers, w_size]
        amount: 0 leaves ws as they are, 1 takes the other's.
        layers: numbers of the layers to change, from 0; None: all.

    Returns:
        float32 [n, num_layers, w_size]

    Raises:
        ValueError: the shapes do not fit, or there is no such layer.
    """
    ws, other = np.asarray(ws, np.float32), np.asarray(other, np.float32)
    if ws.ndim != 3 or other.shape not in (ws.shape, (1, *ws.shape[1:])):
        raise ValueError(f"ws is {list(ws.shape)} and other {list(other.shape)}; give [n, num_layers, w_size] of both.")
    amount = np.float32(amount)  # With 1, the styles are the other's to the bit.
    return np.where(_is_moved(ws, layers), (1 - amount) * ws + amount * other, ws)


def _is_moved(ws: np.ndarray, layers: Sequence[int] | None) -> np.ndarray:
    """Returns which layers change. bool [num_layers, 1]"""
    num_layers = ws.shape[1]
    if layers is not None and not {*layers} <= {*range(num_layers)}:
        raise ValueError(f"layers are {list(layers)}; there are those from 0 to {num_layers - 1}.")
    return np.isin(np.arange(num_layers), np.arange(num_layers) if layers is None else np.asarray(layers))[:, None]


# ---- pictures to edit, and what is done to them


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture that a network makes."""

    name: str
    ws: np.ndarray  # float32 [num_layers, w_size]
    noise: Any = "const"  # As `Network.images` takes it.
    noise_seed: int = 0
    is_of_seed: bool = False  # Whether the name says which it is.


@dataclasses.dataclass(frozen=True, eq=False)
class Move:
    """What is done to pictures: a function of ws [1, num_layers, w_size] and a strength to such ws."""

    name: str
    apply_fn: Callable[[np.ndarray, float], np.ndarray]
    arrays: dict[str, np.ndarray]  # What it depends on.


def open_pictures(
    network: Network,
    files: Sequence[str],
    seeds: Sequence[int],
    class_names: Sequence[str] = (),
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: str = "const",
    noise_seed: int = 0,
) -> list[Picture]:
    """Returns the pictures of files, or without any those of seeds, of each class, as --mode=generate makes them.

    Raises:
        ValueError: an argument or a file that this network cannot take.
        OSError: a file cannot be opened.
    """
    styles.check_styles(network)
    if files:
        return [_picture(file, network, noise, noise_seed) for file in files]
    found = []
    for number in generate.numbers_of(network, class_names):
        suffix = "" if number is None else f"-class{number}"
        for seed in seeds:
            (ws,) = network.map(network.latents(seed), number, psi, cutoff)
            found.append(Picture(f"seed{seed:04d}{suffix}", ws, noise, noise_seed, is_of_seed=True))
    return found


def _picture(path: str, network: Network, noise: str, noise_seed: int) -> Picture:
    """Returns the picture of a file. With "const" noise, a projection keeps the noise maps it was found with."""
    file = pathlib.Path(path)
    name = file.stem.removesuffix(".projection")
    if file.suffix != ".safetensors":
        return Picture(name, _ws(file, network), noise, noise_seed)
    ws, maps, _ = projection_files.decoded(file.read_bytes(), network, path)
    if maps is None or noise != "const":
        return Picture(name, ws[0], noise, noise_seed)
    if noise_seed:
        raise ValueError(f"--noise_seed={noise_seed} has no effect on {path}, which has noise maps; leave it out.")
    return Picture(name, ws[0], maps)


def _ws(file: pathlib.Path, network: Network) -> np.ndarray:
    """Returns an array "ws" in a .npz, or that of a .npy. float32 [num_layers, w_size]"""
    path, model = str(file), network.model
    if file.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: styles come in projections (.safetensors), .npy or .npz files.")
    arrays = npz.load(file) if file.suffix == ".npz" else {"ws": direction_files.read_npy(file)}
    if "ws" not in arrays:
        raise ValueError(f"{path} has no array 'ws', but {', '.join(arrays) or 'nothing'}.")
    found = arrays["ws"]
    ws = found[0] if found.ndim == 3 and len(found) == 1 else found
    with np.errstate(over="ignore"):
        values = ws.astype(np.float32) if ws.dtype.kind == "f" else None
    if values is None or ws.shape != (model.num_layers, model.w_size) or not np.isfinite(values).all():
        raise ValueError(
            f"{path}: ws is {found.dtype} {list(found.shape)}; a picture of this network has finite floats "
            f"[{model.num_layers}, {model.w_size}], in float32 too."
        )
    return values


def along(direction: Direction) -> Move:
    """Returns the move along a direction."""
    return Move(
        direction.name,
        lambda ws, strength: edit(ws, direction.vector, strength),
        {f"direction {direction.name}": direction.vector},
    )


def toward(other: Picture, layers: Sequence[int] | None) -> Move:
    """Returns the move toward another picture: its strength is the amount of `transfer`."""
    name = f"toward-{other.name}"
    return Move(
        name, lambda ws, amount: transfer(ws, other.ws[None], amount, layers), {f"picture {other.name}": other.ws}
    )


# ---- what the mode writes


def save(
    network: Network,
    pictures: Sequence[Picture],
    moves: Sequence[Move],
    strengths: Sequence[float],
    folder: pathlib.Path,
    about: dict[str, Any],
    is_grid: bool = False,
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> list[pathlib.Path]:
    """Writes each picture after each move at each strength, and returns the paths. What is there already stays.

    Args:
        network: network that makes the images.
        pictures: what is edited.
        moves: what is done to it.
        strengths: how far, each.
        folder: folder to write to; it must exist.
        about: what else decides about the images, as JSON has it.
        is_grid: whether to write one grid.png: a row for each picture and move, a column for each strength.
        progress_fn: called with the number of images that are done, and of all.

    Returns:
        seed0007-smiling+3.png and so on, or grid.png.

    Raises:
        ValueError: other pictures are in the folder, or two would have one name.
    """
    rows = [(picture, move) for picture in pictures for move in moves]
    cells = [(f"{p.name}-{m.name}{s:+g}.png".replace("/", "_"), p, m, s) for p, m in rows for s in strengths]
    names = ["grid.png"] if is_grid else [name for name, *_ in cells]
    if len({name for name, *_ in cells}) < len(cells):
        raise ValueError("two pictures, directions or strengths have one name; give each once.")
    arrays = {k: v for move in moves for k, v in move.arrays.items()} | {
        f"picture {p.name}": p.ws for p in pictures if not p.is_of_seed or is_grid
    }
    arrays |= {
        f"noise {i} of {p.name}": m
        for p in pictures
        for i, m in enumerate(() if isinstance(p.noise, str) else p.noise)
        if m is not None
    }
    about = {"network": network.sha256, "styles": trees.sha256(arrays), **about}
    about |= {"strengths": list(strengths)} if is_grid else {}
    network.images(pictures[0].ws[None], pictures[0].noise, pictures[0].noise_seed)  # Refuses noise before all else.
    present = outputs.begin(folder, "edit", about, names)
    images = []
    for done, (name, picture, move, strength) in enumerate(cells, 1):
        if name not in present and not present >= {"grid.png"}:
            ws = move.apply_fn(picture.ws[None], strength)
            (image,) = network.images(ws, picture.noise, picture.noise_seed)
            if is_grid:
                images.append(image)
            else:
                grid.save_png(folder / name, image)
        progress_fn(done, len(cells))
    if images:
        grid.save_png(folder / "grid.png", grid.image_grid(np.stack(images), columns=len(strengths)))
    return [folder / name for name in names]


def open_directions(
    network: Network, paths: Sequence[str], names: Sequence[str], hold: Sequence[str], layers: Sequence[int] | None
) -> tuple[list[Direction], list[str]]:
    """Returns the directions of --apply from files, without those of --hold, and notes about them."""
    applied, every = direction_files.chosen(paths, names, network)
    if layers is not None:
        applied = [directions.restricted(d, layers, network.model.num_layers) for d in applied]
    if hold:
        held = every if list(hold) == ["all"] else direction_files.chosen(paths, hold, network)[0]
        if not any(d.name != other.name for d in applied for other in held):
            raise ValueError(f"--hold={','.join(hold)} names no direction but the one to move along; name others.")
        applied = [directions.held(d, held) for d in applied]
    foreign = [d.name for d in applied if d.network not in (None, network.sha256)]
    unknown = [d.name for d in applied if d.network is None]
    notes = []
    if foreign:
        notes.append(f"{', '.join(foreign)}: found for another network; it may mean something else in this one.")
    if unknown:
        notes.append(f"{', '.join(unknown)}: the file does not say for which network; strength 1 adds it as it is.")
    return applied, notes
