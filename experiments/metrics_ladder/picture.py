"""The ladders as one picture: a row for each fault, a column for each metric."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.metrics_ladder import scores, table

NUM_SAMPLES = 3  # Pictures of each fault in the margin.
_SAMPLE_PX, _LABEL_PX, _CELL, _TITLE_PX, _GAP_PX = 32, 240, (78, 34), 62, 26
_LEFT_PX = _LABEL_PX + NUM_SAMPLES * (_SAMPLE_PX + 2) + 8
_FULL_Z = 200.0  # From here on, a color is at its strongest.
_LEGEND = {"seen": 30.0, "blind": 0.0, "praised": -30.0}  # What a color means, and a z score that has it.
_BLIND, _INK, _PAPER = (236, 236, 236), (30, 30, 30), (255, 255, 255)
_WEAK = {scores.Verdict.SEEN: (198, 224, 243), scores.Verdict.PRAISED: (252, 214, 183)}
_STRONG = {scores.Verdict.SEEN: (49, 130, 189), scores.Verdict.PRAISED: (217, 95, 14)}


def draw(ladders: list[table.Ladder]) -> Image.Image:
    """Returns the ladders below each other: blue where a metric sees a fault, gray where it does not, orange where
    it prefers the fault to other reals.
    """
    width = _LEFT_PX + _CELL[0] * max(len(ladder.metrics) for ladder in ladders) + _GAP_PX
    heights = [_TITLE_PX + _CELL[1] * (1 + len(ladder.rungs)) + _GAP_PX for ladder in ladders]
    image = Image.new("RGB", (width, sum(heights)), _PAPER)
    for ladder, top in zip(ladders, np.cumsum([0, *heights]).tolist(), strict=False):
        _draw_one(image, ladder, top)
    return image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def color(z: float) -> tuple[int, int, int]:
    """Returns the color of a score that is z deviations worse than the floor: stronger with the logarithm of z."""
    verdict = scores.verdict(z)
    if verdict is scores.Verdict.BLIND:
        return _BLIND
    strength = min(1.0, np.log(abs(z) / scores.LEAST_Z) / np.log(_FULL_Z / scores.LEAST_Z))
    weak, strong = np.array(_WEAK[verdict]), np.array(_STRONG[verdict])
    return tuple(np.rint(weak + strength * (strong - weak)).astype(int).tolist())


def _draw_one(image: Image.Image, ladder: table.Ladder, top: int) -> None:
    pen, small, large = ImageDraw.Draw(image), ImageFont.load_default(13), ImageFont.load_default(17)
    title = f"{ladder.name}: {ladder.count} pictures against {ladder.count}"
    pen.text((10, top + 10), title, _INK, large)
    for k, (text, z) in enumerate(_LEGEND.items()):
        left = _LEFT_PX + k * 2 * _CELL[0]
        pen.rectangle((left + 1, top + 12, left + 14, top + 25), color(z))
        pen.text((left + 20, top + 19), text, _INK, small, anchor="lm")
    for column, metric in enumerate(ladder.metrics):
        middle = _LEFT_PX + _CELL[0] * (column + 0.5)
        pen.text((middle, top + _TITLE_PX - 10), metric, _INK, small, anchor="ms")
    _draw_row(image, top + _TITLE_PX, "floor: reals against reals, mean", None, small)
    for column, metric in enumerate(ladder.metrics):
        _draw_cell(pen, column, top + _TITLE_PX, _PAPER, table.short(ladder.floor(metric).mean()), small)
    for row, (name, found) in enumerate(ladder.rungs.items(), 1):
        y, worse = top + _TITLE_PX + row * _CELL[1], ladder.z_scores(name)
        _draw_row(image, y, name, ladder.samples[name], small)
        for column, metric in enumerate(ladder.metrics):
            _draw_cell(pen, column, y, color(worse[metric]), table.short(found[metric]), small)


def _draw_row(image: Image.Image, y: int, name: str, samples: np.ndarray | None, font: ImageFont.ImageFont) -> None:
    """Draws the name of a row and its pictures."""
    ImageDraw.Draw(image).text((10, y + _CELL[1] / 2), name, _INK, font, anchor="lm")
    for k, sample in enumerate(() if samples is None else samples):
        small = Image.fromarray(sample.repeat(3 // sample.shape[2], axis=2))
        image.paste(
            small.resize((_SAMPLE_PX, _SAMPLE_PX), Image.Resampling.BOX), (_LABEL_PX + k * (_SAMPLE_PX + 2), y + 1)
        )


def _draw_cell(
    pen: ImageDraw.ImageDraw, column: int, y: int, fill: tuple, text: str, font: ImageFont.ImageFont
) -> None:
    left, (width, height) = _LEFT_PX + _CELL[0] * column, _CELL
    pen.rectangle((left + 1, y + 1, left + width - 1, y + height - 1), fill)
    pen.text((left + width / 2, y + height / 2), text, _INK, font, anchor="mm")
