"""Pickles are read as data: each valid one gives its values, each other one a sentence, and none is executed."""

import collections
import contextlib
import io
import pathlib
import pickle
import re
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

from stylegan_jax.weights.files import pickles
from stylegan_jax.weights.files.pickle_machine import Persistent
from tests.memory import peak_kib
from tests.weights.files import hostile, small_files, values

ALLOWED = {
    **pickles.NUMPY,
    **pickles.records("dnnlib.tflib.network.Network"),
    "collections.OrderedDict": pickles.make_dict,
}
ROOT = pathlib.Path(__file__).parents[3]
MAX_RSS_KIB = 2**20
CANARY = "/nonexistent/canary"  # Names of parametrized cases; the tests write into folders of their own.


def _load(data: bytes, **options: Any) -> Any:
    return pickles.load(io.BytesIO(data), ALLOWED, name="net.pkl", **options)


def _refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        _load(data)
    return _sentence(str(caught.value))


def _sentence(message: str) -> str:
    assert re.fullmatch(r"net\.pkl .*\.", message) and len(message) < 500, message
    return message


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", values.PLAIN)
def test_plain_values_come_back_from_every_protocol(protocol, name):
    assert values.same(_load(pickle.dumps(values.PLAIN[name], protocol)), values.PLAIN[name])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", values.ARRAYS)
def test_arrays_come_back_from_every_protocol(protocol, name):
    assert values.same(values.ARRAYS[name], _load(pickle.dumps(values.ARRAYS[name], protocol)))


@pytest.mark.parametrize("name", values.ARRAYS)
def test_arrays_come_back_from_the_names_of_numpy_1(name):
    data = pickle.dumps(values.ARRAYS[name], 2)
    assert values.same(values.ARRAYS[name], _load(data.replace(b"numpy._core", b"numpy.core")))


def test_order_of_columns_is_kept():
    data = pickle.dumps(values.ARRAYS["columns first"], 4)
    assert _load(data).flags.f_contiguous


def test_arrays_of_python_2_are_read_from_its_strings():
    expected = np.arange(6, dtype=np.float32).reshape(2, 3) - 300
    data = b"\x80\x02" + hostile.array_opcodes(data=expected.tobytes()) + b"."
    np.testing.assert_array_equal(_load(data), expected)


def test_strings_of_python_2_are_latin_1():
    data = b"(S'a\\xe9\\n\\\\\\'\"'\nU\x01\xe9T\x02\x00\x00\x00\xe9\xffV\\u4e00\nt."
    assert _load(data) == ("aé\n\\'\"", "é", "éÿ", "\u4e00")


def test_ordered_dicts_of_python_2_come_from_lists_of_pairs():
    data = b"\x80\x02ccollections\nOrderedDict\n]" + hostile.text("k") + b"K\x05\x86a\x85R."
    assert _load(data) == {"k": 5}


def test_networks_become_inert_records():
    networks = _load(small_files.network_pickle())
    assert [(network.name, network.args, network.state["name"]) for network in networks] == [
        ("dnnlib.tflib.network.Network", (), "G"),
        ("dnnlib.tflib.network.Network", (), "D"),
        ("dnnlib.tflib.network.Network", (), "Gs"),
    ]
    np.testing.assert_array_equal(networks[2].state["variables"][1][1], [[0, 1], [2, 3]])


def test_file_is_left_right_behind_each_pickle():
    file = io.BytesIO(b"head" + pickle.dumps([1], 2) + pickle.dumps("two", 4) + b"rest")
    file.seek(4)
    assert [pickles.load(file, {}), pickles.load(file, {}), file.read()] == [[1], "two", b"rest"]


def test_persistent_ids_are_given_to_the_function():
    data = small_files.torch_pickle([Persistent(("a", 1)), Persistent(("b", 2))])
    assert pickles.read(io.BytesIO(data), {}, lambda key: {"seen": key}) == [{"seen": ("a", 1)}, {"seen": ("b", 2)}]


def test_persistent_id_is_a_tuple():
    with pytest.raises(ValueError, match="by a persistent id"):
        pickles.read(io.BytesIO(b"\x80\x02]Q."), {}, lambda key: key)


def test_versions_of_modules_are_left_out_of_ordered_dicts():
    items = collections.OrderedDict(a=1)
    items._metadata = {"": {"version": 1}}
    assert _load(pickle.dumps(items, 2)) == {"a": 1}


def test_other_attributes_of_ordered_dicts_are_refused():
    items = collections.OrderedDict(a=1)
    items.other = 1
    assert "gives a state to a dict" in _refusal(pickle.dumps(items, 2))


def test_shared_arrays_stay_one():
    array = np.arange(4.0)
    loaded = _load(pickle.dumps([array, array], 4))
    assert loaded[0] is loaded[1]


def test_arrays_are_read_without_a_second_copy():
    data = io.BytesIO(pickle.dumps([np.ones(2**20, np.float32) for _ in range(8)], 4))
    tracemalloc.start()
    try:
        pickles.load(data, ALLOWED)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.05 * 2**25


def test_file_without_a_name_is_called_the_pickle():
    with pytest.raises(ValueError, match=r"^The pickle wants to call os\.system, "):
        pickles.load(io.BytesIO(hostile.call("os.system")), ALLOWED)


def test_error_names_the_file(tmp_path):
    path = tmp_path / "cut.pkl"
    path.write_bytes(small_files.network_pickle()[:-1])
    with path.open("rb") as file, pytest.raises(ValueError, match=f"^{re.escape(str(path))} is cut short"):
        pickles.load(file, ALLOWED)


@pytest.mark.parametrize("name", hostile.calls(CANARY))
def test_nothing_is_executed(name, tmp_path):
    canary = tmp_path / "canary"
    message = _refusal(hostile.calls(canary)[name])
    assert not canary.exists()
    assert "nothing was executed, and the file is refused." in message or "wants to call" not in message


def test_refusal_says_which_name_the_file_wanted():
    expected = "wants to call os.system, which is no part of a network: nothing was executed, and the file is refused."
    assert _refusal(hostile.call("os.system")) == f"net.pkl {expected}"


def test_name_is_refused_before_its_arguments_are_read():
    assert "wants to call os.system" in _refusal(b"cos\nsystem\n\xff")


def test_name_that_cannot_be_printed_is_escaped():
    assert r"\x1b[2J" in _refusal(b"cos\nsys\x1b[2J\x00tem\n.")


@pytest.mark.parametrize("name", hostile.too_large())
def test_nothing_is_larger_than_the_file(name):
    _refusal(hostile.too_large()[name])


@pytest.mark.parametrize("name", hostile.garbage())
def test_damage_is_a_sentence(name):
    _refusal(hostile.garbage()[name])


def test_pickle_cut_at_any_byte_is_a_sentence():
    data = small_files.network_pickle()
    for end in range(len(data)):
        _refusal(data[:end])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("mask", [0x01, 0x04, 0x20, 0x80, 0xFF])
def test_pickle_with_any_byte_changed_is_read_or_a_sentence(protocol, mask):
    data = bytearray(
        pickle.dumps({"a": np.arange(3, dtype=np.float32), "b": [np.float32(1), (1, "x", b"y", 2.5)]}, protocol)
    )
    for place in range(len(data)):
        data[place] ^= mask
        try:
            _load(bytes(data))
        except ValueError as error:
            _sentence(str(error))
        data[place] ^= mask


def test_no_hostile_pickle_takes_a_gigabyte():
    subprocess.run([sys.executable, "-m", "tests.weights.files.test_pickles"], check=True, cwd=ROOT)


if __name__ == "__main__":
    for cases in (hostile.calls(CANARY), hostile.too_large(), hostile.garbage()):
        for name, data in cases.items():
            with contextlib.suppress(ValueError):
                _load(data)
            if peak_kib() > MAX_RSS_KIB:
                sys.exit(f"{name}: {peak_kib()} KiB")
