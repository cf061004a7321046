"""What the parts of a face share: coordinates, pose, colors and shading.

The frame spans -1 to 1, x to the right and y down. Head coordinates are frame coordinates without the head's place,
roll, zoom and width: every head reaches HEAD_X sideways and HEAD_Y up and down from the origin.
"""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from stylegan_jax.data.faces import shapes
from stylegan_jax.data.faces.factors import COLUMNS
from stylegan_jax.data.faces.shapes import Array

HEAD_X, HEAD_Y = 0.47, 0.60
MAX_YAW = 0.36  # Largest turn, radians; the far eye is still within the head.

SKIN = [(0.99, 0.86, 0.76), (0.93, 0.72, 0.57), (0.74, 0.51, 0.36), (0.43, 0.28, 0.19)]
HAIR = [(0.07, 0.06, 0.07), (0.27, 0.16, 0.09), (0.58, 0.24, 0.10), (0.90, 0.74, 0.42)]
GRAY = (0.72, 0.72, 0.74)


class Scene(NamedTuple):
    """One batch of faces about to be painted. Arrays are [n or 1, h or 1, w or 1], colors [n, 3, h or 1, w or 1]."""

    xp: ModuleType  # numpy or jax.numpy.
    factors: dict[str, Array]  # Each [n, 1, 1].
    seeds: Array  # Seeds of the random detail, uint32. [n, 1, 1]
    pixel: float  # Width of a pixel in the frame.
    frame_x: Array  # [1, 1, w]
    frame_y: Array  # [1, h, 1]
    x: Array  # Head coordinates. [n, h, w]
    y: Array
    middle_x: Array  # Middle of the face, between the eyes, in head coordinates. [n, 1, 1]
    middle_y: Array
    half_width: Array  # Half the width of the head at each height. [n, h, w]
    head: Array  # Signed distance to the head. [n, h, w]
    on_head: Array  # Coverage of the head. [n, h, w]
    light: Array  # Brightness of the skin. [n, h, w]
    strands: Array  # Noise along the hair. [n, h, w]
    curls: Array  # How far curls push the edge of the hair outwards. [n, h, w]
    skin: Array
    hair: Array  # One color per face.
    shaded_hair: Array  # Hair with strands and light.

    def cover(self, distance: Array, soft: float = 0.0) -> Array:
        """Returns the coverage of a shape whose edge is one pixel plus `soft` wide."""
        return shapes.cover(self.xp, distance, self.pixel + soft)

    def ellipse(self, x: Array, y: Array, radius_x: Array | float, radius_y: Array | float) -> Array:
        return shapes.ellipse(self.xp, x, y, radius_x, radius_y)

    def rgb(self, red: float, green: float, blue: float) -> Array:
        return shapes.rgb(self.xp, red, green, blue)

    def project(self, x: Array | float) -> tuple[Array, Array]:
        """Returns the place after yaw of a point that the front view shows at `x`, and how narrow the face is there.

        The head is a cylinder: x = HEAD_X sin(a + yaw), narrowed by cos(a + yaw) / cos(a), where sin(a) = x / HEAD_X.
        """
        sine = x / HEAD_X
        cosine = (1 - sine**2) ** 0.5
        turn = MAX_YAW * self.factors["yaw"]
        turn_sine, turn_cosine = self.xp.sin(turn), self.xp.cos(turn)
        return HEAD_X * (sine * turn_cosine + cosine * turn_sine), turn_cosine - turn_sine * sine / cosine


def make_scene(factors: Array, seeds: Array, resolution: int, xp: ModuleType) -> Scene:
    """Returns the scene of n faces; the arguments are those of `render`."""
    factors = xp.asarray(factors, dtype=np.float32)
    f = {name: factors[:, column, None, None] for name, column in COLUMNS.items()}
    seeds = xp.asarray(seeds).astype(np.uint32)[:, None, None]
    centers = ((np.arange(resolution) + 0.5) / resolution * 2 - 1).astype(np.float32)
    frame_x, frame_y = xp.asarray(centers[None, None, :]), xp.asarray(centers[None, :, None])
    pixel = 2 / resolution

    x, y = _head_coordinates(xp, f, frame_x, frame_y)
    middle_x, middle_y = HEAD_X * xp.sin(MAX_YAW * f["yaw"]), -0.07 * f["pitch"]
    half_width, head = _head_outline(xp, f, x, y)
    strands, curls = _hair_texture(xp, f, seeds, x, y, pixel)
    hair = shapes.ramp(xp, f["hair_color"], HAIR)
    hair = shapes.over(hair, shapes.rgb(xp, *GRAY), f["gray"])
    hair_light = 1 + 0.75 * strands + 0.16 * f["light"] * x - 0.25 * shapes.smoothstep(xp, 0, 1, y)
    return Scene(
        xp=xp,
        factors=f,
        seeds=seeds,
        pixel=pixel,
        frame_x=frame_x,
        frame_y=frame_y,
        x=x,
        y=y,
        middle_x=middle_x,
        middle_y=middle_y,
        half_width=half_width,
        head=head,
        on_head=shapes.cover(xp, head, pixel + 0.004),
        light=_skin_light(xp, f, x - 0.25 * middle_x, y, half_width),
        strands=strands,
        curls=curls,
        skin=shapes.ramp(xp, f["skin"], SKIN),
        hair=hair,
        shaded_hair=hair * xp.clip(hair_light, 0.35, 1.6)[:, None],
    )


def _head_coordinates(xp: ModuleType, f: dict[str, Array], frame_x: Array, frame_y: Array) -> tuple[Array, Array]:
    """Returns head coordinates x, y of each pixel. [n, h, w]"""
    angle = 0.16 * f["roll"]
    sine, cosine = xp.sin(angle), xp.cos(angle)
    zoom = 1.30 + 0.11 * f["zoom"]
    x, y = frame_x - 0.04 * f["yaw"], frame_y - 0.10
    wide = 1 + 0.10 * f["head_width"]
    return (x * cosine + y * sine) / (zoom * wide), (y * cosine - x * sine) / zoom


def _head_outline(xp: ModuleType, f: dict[str, Array], x: Array, y: Array) -> tuple[Array, Array]:
    """Returns half the width of the head at each height, less towards the chin, and the signed distance to the head."""
    chin = shapes.smoothstep(xp, 0.1, 1, y / HEAD_Y)
    half_width = HEAD_X * (1 - (0.26 - 0.16 * f["jaw"]) * chin + 0.03 * xp.cos(3 * xp.clip(y / HEAD_Y, -1, 1)))
    return half_width, shapes.ellipse(xp, x, y, half_width, HEAD_Y + 0.02 * f["jaw"])


def _skin_light(xp: ModuleType, f: dict[str, Array], x: Array, y: Array, half_width: Array) -> Array:
    """Returns the brightness of an egg lit from the front, from above and from one side."""
    across, down = x / half_width, y / HEAD_Y
    facing = xp.sqrt(xp.clip(1 - 0.85 * (across**2 + down**2), 0.02, 1))
    return xp.clip(0.42 + 0.55 * facing + 0.34 * f["light"] * across - 0.18 * down, 0.25, 1.25)


def _hair_texture(
    xp: ModuleType, f: dict[str, Array], seeds: Array, x: Array, y: Array, pixel: float
) -> tuple[Array, Array]:
    """Returns noise in strands that fall from the crown, and the outward push of the curls."""
    angle = xp.arctan2(x, xp.abs(y + 0.9) + 0.15)
    wave = 0.5 * f["curl"] * shapes.value_noise(xp, 4 * x, 6 * y, seeds, 21)
    across = angle + 0.25 * wave
    strands = shapes.value_noise(xp, 22 * across, 2.5 * y + 3 * wave, seeds, 22)
    fine = float(shapes.smoothstep(np, 0.30, 1, 1 / (40 * pixel)))  # Finer strands only where pixels can show them.
    if fine > 0:
        strands = strands + fine * 0.6 * shapes.value_noise(xp, 48 * across, 5 * y + 5 * wave, seeds, 23)
    curls = 0.03 * f["curl"] * xp.sin(17 * angle + 3 * f["curl"])
    return strands, curls
