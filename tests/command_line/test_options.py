"""Flags of the command line: seeds, and which mode takes which."""

import io
import sys
import types

import pytest

from stylegan_jax.command_line import flags, options

OF_EVALUATE = ("metrics", "fakes", "reals")


def given(monkeypatch, text: str) -> None:
    parts = [part for part in text.split(",") if part]
    monkeypatch.setattr(flags, "SEEDS", types.SimpleNamespace(value=parts))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0", [0]),
        ("5,7", [5, 7]),
        ("0-2", [0, 1, 2]),
        ("3-3", [3]),
        ("7,0-2,5", [7, 0, 1, 2, 5]),
        ("4294967295", [2**32 - 1]),
        ("0-999", list(range(1000))),
    ],
)
def test_seeds_are_numbers_and_ranges_in_their_order(monkeypatch, text, numbers):
    given(monkeypatch, text)
    assert options.seeds() == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "--seeds=a: 'a' is no number and no range; use 0-2 or 5,7"),
        ("-1", "'-1' is no number and no range"),
        ("1-", "'1-' is no number"),
        ("1-2-3", "'1-2-3' is no number"),
        ("1.5", "'1.5' is no number"),
        ("3-1", "--seeds=3-1: '3-1' is no range; use numbers from 0 to 4294967295, the smaller one first"),
        ("3-1,5", "--seeds=3-1,5: '3-1' is no range"),
        ("4294967296", "use numbers from 0 to 4294967295"),
        ("0-4294967295", "at most 1000 of them"),
        ("0-99999999999999999999", "from 0 to 4294967295"),
        ("0,0", "--seeds=0,0: use different numbers, at least one"),
        ("0-2,1", "use different numbers"),
        ("", "--seeds=: use different numbers, at least one"),
    ],
)
def test_other_seeds_are_refused_with_what_to_use(monkeypatch, text, message):
    given(monkeypatch, text)
    with pytest.raises(ValueError, match=message):
        options.seeds()


@pytest.mark.parametrize("mode", ["train", "inspect", "plan", "prepare", "generate", "export", "weights"])
@pytest.mark.parametrize("flag", OF_EVALUATE)
def test_a_flag_of_evaluate_is_refused_in_other_modes(monkeypatch, flag, mode):
    monkeypatch.setattr(options.absl_flags.FLAGS[flag], "present", 1)
    with pytest.raises(ValueError, match=f"--{flag} is for --mode=evaluate alone; leave it out with --mode={mode}"):
        options.check_flags(mode)
    options.check_flags("evaluate")


@pytest.mark.parametrize("flag", ["download", "topology", "classes", "out", "license", "init_from"])
def test_a_flag_of_other_modes_is_refused_in_evaluate(monkeypatch, flag):
    monkeypatch.setattr(options.absl_flags.FLAGS[flag], "present", 1)
    with pytest.raises(ValueError, match=f"--{flag} is for .* alone; leave it out with --mode=evaluate"):
        options.check_flags("evaluate")


def test_layers_are_numbers_and_ranges_and_all_without_the_flag(monkeypatch):
    assert options.layers() is None
    monkeypatch.setattr(flags, "LAYERS", types.SimpleNamespace(value=["0-3", "8"], present=1))
    assert options.layers() == [0, 1, 2, 3, 8]
    monkeypatch.setattr(flags, "LAYERS", types.SimpleNamespace(value=["18"], present=1))
    with pytest.raises(ValueError, match="--layers=18: '18' is no range; use numbers from 0 to 17"):
        options.layers()


def test_letters_that_the_output_does_not_have_are_printed_with_escapes(monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii", errors="strict"))
    options.open_streams()
    print("\u00e9\udcff", flush=True)
    assert output.getvalue() == b"\\xe9\\udcff\n"
