"""Films: frames written as they come, to an .mp4 or a .gif, by the ffmpeg that imageio-ffmpeg brings."""

import contextlib
import errno
import itertools
import os
import pathlib
import subprocess
from collections.abc import Iterable

import imageio_ffmpeg
import numpy as np

from stylegan_jax.images import outputs
from stylegan_jax.runs import grid, whole

SMALLEST_PX = 256  # Smaller frames are enlarged by repeating pixels: players blur them otherwise.
ENCODINGS = {
    ".mp4": ["-c:v", "libx264", "-crf", "16", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"],
    # Its 256 colors are chosen for the whole film.
    ".gif": ["-filter_complex", "[0:v]split[a][b];[a]palettegen[p];[b][p]paletteuse", "-f", "gif"],
}
# A GIF's frames last whole hundredths of a second, and browsers slow down those that last one.
MOST_FPS = {".mp4": 240, ".gif": 50}


def check(path: pathlib.Path, fps: int) -> None:
    """Raises ValueError if a film of this name cannot be written, or is too fast for its format."""
    outputs.check_new_file(path, list(ENCODINGS))
    if fps > MOST_FPS[path.suffix]:
        raise ValueError(f"--fps={fps}: a {path.suffix} has at most {MOST_FPS[path.suffix]} frames a second.")


def save(path: pathlib.Path, frames: Iterable[np.ndarray], fps: int) -> None:
    """Writes a film, whole or not at all.

    Args:
        path: path of the file, whose end tells the format; its folder must exist.
        frames: uint8 [h, w, c], all of one size.
        fps: frames a second.

    Raises:
        ValueError: a file of this name is there when the film is made.
        OSError: ffmpeg failed.
    """
    frames = iter(frames)
    first = _shown(next(frames))
    h, w = first.shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", str(fps), "-i", "-"]
    partial = whole.partial_path(path)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, *ENCODINGS[path.suffix], partial]
    # A session of its own: Ctrl-C is for this process, which deletes what is half written.
    try:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            try:
                with contextlib.suppress(BrokenPipeError):  # ffmpeg says why it ended.
                    for frame in itertools.chain([first], map(_shown, frames)):
                        process.stdin.write(frame.tobytes())
                _, message = process.communicate()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            text = " ".join(message.decode(errors="replace").split())
            if os.strerror(errno.ENOSPC) in text:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise OSError(f"{path} could not be written: {text}")
        if path.exists():
            raise ValueError(f"{path} was written by another program meanwhile, and stays; choose another name.")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _shown(frame: np.ndarray) -> np.ndarray:
    """Returns a frame as RGB of at least SMALLEST_PX. uint8 [h, w, 3]"""
    pixels = grid.visible_channels(frame)
    pixels = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]
    enlargement = max(1, SMALLEST_PX // pixels.shape[0])
    return np.ascontiguousarray(pixels.repeat(enlargement, axis=0).repeat(enlargement, axis=1))
