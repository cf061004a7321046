"""Films are written whole, with every frame, in the order and at the speed that is asked for."""

import pathlib
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from stylegan_jax.images import film


def frames(n: int, channels: int = 3) -> list[np.ndarray]:
    """Returns gray frames, each brighter than the one before."""
    return [np.full((16, 16, channels), 20 * i + 20, np.uint8) for i in range(n)]


def read(path: pathlib.Path) -> tuple[str, np.ndarray]:
    """Returns what ffmpeg says of a film, and its frames of 256 px."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    found = subprocess.run(command, capture_output=True, check=True)
    return found.stderr.decode(), np.frombuffer(found.stdout, np.uint8).reshape(-1, 256, 256, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_mp4_has_all_frames_enlarged_to_what_players_show(tmp_path, channels):
    film.save(tmp_path / "walk.mp4", frames(10, channels), 25)
    about, found = read(tmp_path / "walk.mp4")
    assert len(found) == 10 and "25 fps" in about and "h264" in about and "256x256" in about
    assert np.abs(found.mean(axis=(1, 2, 3)) - np.arange(20, 220, 20)).max() < 4
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]


def test_a_gif_has_all_frames_with_their_own_colors(tmp_path):
    film.save(tmp_path / "walk.gif", frames(5), 20)
    with Image.open(tmp_path / "walk.gif") as picture:
        assert picture.n_frames == 5 and picture.size == (256, 256)
        for i in range(5):
            picture.seek(i)
            assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - (20 * i + 20)).max() <= 1


def test_a_film_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield from frames(3)
        raise ValueError("the fourth frame")

    with pytest.raises(ValueError, match="the fourth frame"):
        film.save(tmp_path / "walk.mp4", broken(), 25)
    assert not list(tmp_path.iterdir())


def test_what_ffmpeg_says_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(film.ENCODINGS, ".mp4", ["-c:v", "nothing", "-f", "mp4"])
    with pytest.raises(OSError, match="walk.mp4 could not be written: .*nothing"):
        film.save(tmp_path / "walk.mp4", frames(3), 25)
    assert not list(tmp_path.iterdir())


def test_names_that_no_film_can_have_are_refused(tmp_path):
    (tmp_path / "there.mp4").touch()
    for name, message in (
        ("walk.avi", "name a file that ends with .mp4 or .gif"),
        ("there.mp4", "is there already; choose another name"),
        ("nowhere/walk.gif", "nowhere is no folder; make it first"),
    ):
        with pytest.raises(ValueError, match=message):
            film.check(tmp_path / name, 30)
    film.check(tmp_path / "walk.gif", 50)
    with pytest.raises(ValueError, match="--fps=51: a .gif has at most 50 frames a second"):
        film.check(tmp_path / "walk.gif", 51)


def test_a_full_disk_is_told_in_a_word(tmp_path, monkeypatch):
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\ncat > /dev/null\necho 'muxer: No space left on device, trailer, -28' >&2\nexit 228\n")
    script.chmod(0o755)
    monkeypatch.setattr(film.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(script))
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device$"):
        film.save(tmp_path / "walk.mp4", frames(3), 25)


def test_a_film_that_another_program_wrote_meanwhile_stays(tmp_path):
    def slow():
        yield from frames(3)
        (tmp_path / "walk.mp4").write_bytes(b"another's")

    with pytest.raises(ValueError, match="walk.mp4 was written by another program meanwhile, and stays"):
        film.save(tmp_path / "walk.mp4", slow(), 25)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("walk.mp4", b"another's")]
