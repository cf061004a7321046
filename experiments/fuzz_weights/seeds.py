"""Valid and hostile files to begin with, and pickles put together from whole opcodes."""

import pickle
from collections.abc import Iterator

import numpy as np

from stylegan_jax.weights.files import torch_tensors
from stylegan_jax.weights.files.pickle_machine import Global, Record
from tests.weights.files import hostile, hostile_archives, small_files

MAX_SEED_BYTES = 4000
PICKLE, ZIP, LEGACY, OPCODES, OPCODES_IN_ZIP, OPCODES_IN_LEGACY, OPCODES_IN_SCRIPT = range(7)


def seeds() -> Iterator[tuple[int, bytes]]:
    """Yields the kind of an input and its bytes."""
    value = {"a": np.arange(3, dtype=np.float32), "b": [np.float32(1), (1, "x", b"y", 2.5, None, True)], 5: 2**70}
    pickles = [pickle.dumps(value, protocol) for protocol in range(6)] + [small_files.network_pickle()]
    for cases in (hostile.calls("/nonexistent/canary"), hostile.too_large(), hostile.garbage()):
        pickles += [case for case in cases.values() if len(case) < MAX_SEED_BYTES]
    yield from ((PICKLE, data) for data in pickles)
    module = Record("__torch__.Net", (), {"w": small_files.tensor(), "n": 3, "sub": Record("__torch__.A", (), {})})
    tree = {
        "w": small_files.tensor(),
        "p": Record("torch._utils._rebuild_parameter", (small_files.tensor(), True, None)),
    }
    yield ZIP, hostile_archives.zip_file(tree)
    yield ZIP, hostile_archives.zip_file(module, **{"constants.pkl": b""})
    yield ZIP, hostile_archives.COMPRESSED
    yield (
        LEGACY,
        hostile_archives.legacy_file(
            {"w": [small_files.legacy_tensor(), small_files.legacy_tensor(shape=(3, 2), strides=(1, 3))]}
        ),
    )
    yield from ((ZIP, data) for data in hostile_archives.ARCHIVES.values() if len(data) < MAX_SEED_BYTES)
    yield from ((LEGACY, data) for data in hostile_archives.LEGACIES.values() if len(data) < MAX_SEED_BYTES)
    for kind in (OPCODES, OPCODES_IN_ZIP, OPCODES_IN_LEGACY, OPCODES_IN_SCRIPT):
        yield from ((kind, bytes(range(begin, begin + 32))) for begin in range(0, len(PIECES) - 32, 16))
        yield kind, bytes(range(len(PIECES)))
        yield from ((kind, bytes([number])) for number in range(len(PIECES)))


def _pieces() -> list[bytes]:
    pieces = [code.encode("latin1") for code in "()]}NtlduaesbRQ02\x81\x85\x86\x87\x88\x89\x93\x94"]
    pieces += [b"q" + bytes([index]) for index in range(4)] + [b"h" + bytes([index]) for index in range(4)]
    pieces += [b"K" + bytes([number]) for number in (0, 1, 2, 3, 6)] + [b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\x7f" * 8]
    pieces += [
        hostile.text(text) for text in ("storage", "0", "cpu", "f4", "<", "latin1", "w", "_metadata", "numpy", "dtype")
    ]
    pieces += [b"B\x18\0\0\0" + bytes(24), b"B\x04\0\0\0abcd", b"U\x04abcd", b"G" + bytes(8), b"I7\n", b"S'a\\x41'\n"]
    names = (*torch_tensors.CALLS, "dnnlib.tflib.network.Network", "__torch__.Net", "os.system")
    pieces += [small_files.torch_pickle(Global(name))[2:-1] for name in names]
    pieces += [small_files.torch_pickle(tensor)[2:-1] for tensor in (small_files.tensor(), small_files.legacy_tensor())]
    storages = (small_files.STORAGE, small_files.LEGACY_STORAGE)
    return pieces + [small_files.torch_pickle(storage)[2:-1] for storage in storages] + [hostile.array_opcodes()]


PIECES = _pieces()


def file_of(kind: int, data: bytes) -> bytes:
    """Returns the file that an input stands for: itself, or opcodes that its bytes number, within a valid file."""
    if kind <= LEGACY:
        return data
    pickled = b"\x80\x02" + b"".join(PIECES[number % len(PIECES)] for number in data) + b"."
    storages = {"0": bytes(24)}
    if kind == OPCODES_IN_ZIP:
        return small_files.torch_zip(pickled, storages)
    if kind == OPCODES_IN_SCRIPT:
        return small_files.torch_zip(pickled, storages, **{"constants.pkl": b""})
    return small_files.torch_legacy(pickled, storages) if kind == OPCODES_IN_LEGACY else pickled
