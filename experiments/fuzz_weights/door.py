"""Changes whole files of networks at random, in their arrays and in their bytes, and opens them by the one door."""

import argparse
import collections
import pathlib
import random
import resource
import time
import traceback
import warnings
from typing import Any

import numpy as np

from stylegan_jax.weights import load
from stylegan_jax.weights.files import pickle_writer, pickles, torch_files
from stylegan_jax.weights.files.pickle_machine import Record
from stylegan_jax.weights.layouts import official_pickles
from tests.random_networks import random_network

MAX_SEC = 20.0  # Of a processor, for one file: a new shape may have to be compiled.
MAX_BYTES = 2**31
REPORT_SEC = 30
CAUGHT_LAST = "values of another kind than networks have"  # The sentence of an error that no check foresaw.
OF_ROSINALITY = {"bias_before_blur": True, "instance_norm_epsilon": 1e-5, "z_size": 6, "w_size": 6, "mapping_fmaps": 6}
SIZES = {"resolution": 8, "fmap_max": 4, "z_size": 5, "w_size": 6, "mapping_fmaps": 7, "mapping_layers": 2}
VALUES = (None, True, -1, 0, 1, 3, 2**40, 0.5, float("nan"), "", "text", [], {}, np.zeros(2, np.float32), np.int64(7))


def originals(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns paths of sound files, one of each kind."""
    paths = []
    for i, (suffix, changes) in enumerate(
        [
            (".pkl", {}), (".pkl", {"num_labels": 2}), (".pth", {}), (".pth", {"num_labels": 3, "const_input": False}),
            (".model", OF_ROSINALITY), (".npz", {"num_labels": 2}), (".safetensors", {"channels": 1}),
        ]
    ):  # fmt: skip
        paths.append(random_network(**SIZES | changes).save(folder / f"original{i}{suffix}"))
    return paths


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Returns each (container, key) of a tree."""
    if isinstance(tree, Record):
        return nodes(tree.state)
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    elif isinstance(tree, tuple):
        return [node for part in tree for node in nodes(part)]
    else:
        return []
    return [(tree, key) for key, _ in items] + [node for _, value in items for node in nodes(value)]


def change(tree: Any, rng: random.Random) -> None:
    """Changes one value, array or name of a tree in place."""
    container, key = rng.choice(nodes(tree))
    value = container[key]
    kind = rng.randrange(7)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict) and isinstance(key, str):
        other = rng.choice([str(k) for k in container])
        container[rng.choice([key + "x", key.replace("0", "1"), key.replace("1", "7"), other])] = container.pop(key)
    elif kind == 2 and isinstance(value, np.ndarray):
        axes = list(value.shape) or [1]
        axes[rng.randrange(len(axes))] = rng.choice([0, 1, 2, 5, 1000])
        container[key] = np.resize(value, axes) if value.size else np.zeros(axes, np.float32)
    elif kind == 3 and isinstance(value, np.ndarray):
        container[key] = value.astype(rng.choice(["f2", "f8", "i4", "u1", "?"]))
    elif kind == 4 and isinstance(value, np.ndarray):
        container[key] = rng.choice([value.T, value[None], value.reshape(-1), np.full(value.shape, np.inf, np.float32)])
    elif kind == 5:
        container[key] = rng.choice(VALUES)
    else:
        container[key] = rng.choice(
            [container[k] for k in (container if isinstance(container, dict) else range(len(container)))]
        )


def changed(path: pathlib.Path, rng: random.Random, target: pathlib.Path) -> None:
    """Writes a changed copy of a file to `target`."""
    data = bytearray(path.read_bytes())
    if path.suffix in (".pth", ".model") and rng.random() < 0.7:
        tree = torch_files.load(path)
        tree = _mutable(tree)
        for _ in range(rng.choice([1, 1, 2, 5])):
            change(tree, rng)
        try:
            return torch_files.save(tree, target)
        except (TypeError, ValueError):
            pass
    elif path.suffix == ".pkl" and rng.random() < 0.7:
        with path.open("rb") as file:
            tree = _mutable(pickles.load(file, official_pickles.ALLOWED))
        for _ in range(rng.choice([1, 1, 2, 5])):
            change(tree, rng)
        try:
            with target.open("wb") as file:
                return pickle_writer.dump(tree, file)
        except (TypeError, ValueError):
            pass
    for _ in range(rng.choice([1, 2, 8])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.2:
        del data[rng.randrange(len(data)) :]
    target.write_bytes(data)


def _mutable(tree: Any) -> Any:
    if isinstance(tree, Record):
        return Record(tree.name, tree.args, _mutable(tree.state))
    if isinstance(tree, collections.OrderedDict):
        return collections.OrderedDict((key, _mutable(value)) for key, value in tree.items())
    if isinstance(tree, dict):
        return {key: _mutable(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_mutable(value) for value in tree]
    return tree


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.fuzz_weights.door", description=__doc__)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where finds are kept")
    parser.add_argument("--seconds", type=int, default=1200, help="how long to go on")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    paths, begin, reasons = originals(options.folder), time.time(), set()
    for path in paths:
        load.load(path)
    warnings.simplefilter("error")
    used_bytes = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + MAX_BYTES, resource.RLIM_INFINITY))
    counts, reported, seed = collections.Counter(), begin, 0
    while time.time() - begin < options.seconds:
        seed += 1
        rng = random.Random(seed)
        path = rng.choice(paths)
        target = options.folder / f"changed{path.suffix}"
        target.unlink(missing_ok=True)
        changed(path, rng, target)
        begin_sec, reason = time.process_time(), None
        try:
            load.load(target)
            counts["read"] += 1
        except ValueError as error:
            counts["refused"] += 1
            message = str(error)
            if CAUGHT_LAST in message:  # It is a sentence, but a better one could be given.
                reason = message[message.index(CAUGHT_LAST) :]
            elif type(error) is not ValueError or "\n" in message or not message.startswith(str(target)):
                reason = f"message: {message[:300]}"
        except BaseException as error:
            reason = f"{type(error).__name__} at {traceback.extract_tb(error.__traceback__)[-1]}"
        if time.process_time() - begin_sec > MAX_SEC:
            reason = "slow"
        if reason is not None and reason not in reasons:
            reasons.add(reason)
            target.rename(options.folder / f"find{seed}{path.suffix}")
            print(f"FIND {seed}: {reason}", flush=True)
        if time.time() - reported > REPORT_SEC:
            reported = time.time()
            print(f"{reported - begin:.0f} s, {seed} files, {dict(counts)}, {len(reasons)} finds", flush=True)
    print(f"{time.time() - begin:.0f} s, {seed} files, {dict(counts)}, {len(reasons)} finds", flush=True)


if __name__ == "__main__":
    main()
