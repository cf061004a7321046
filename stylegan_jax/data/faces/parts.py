"""One function per part of a face: each takes the image so far, [n, 3, h, w], and returns it with the part painted on.

Distances are in head coordinates, where a head is 0.94 wide and 1.2 high. All numbers are chosen for their looks.
"""

import functools
from collections.abc import Callable

import numpy as np

from stylegan_jax.data.faces import shapes
from stylegan_jax.data.faces.scene import HEAD_X, Scene
from stylegan_jax.data.faces.shapes import Array, over, smoothstep

IRIS = [(0.20, 0.11, 0.06), (0.38, 0.26, 0.12), (0.28, 0.45, 0.28), (0.30, 0.52, 0.76)]
DARK = (0.05, 0.05, 0.07)  # Pupils, lashes and rims.
EYE_Y, MOUTH_Y = -0.075, 0.365  # Places of eyes and mouth, down from the middle of the face.
JAW_TURN = 0.7  # Share of the middle's turn that mouth and beard follow: the jaw is narrower than the head.
SIDES = (-1, 1)  # Left and right in the image.


def background(s: Scene) -> Array:
    """Returns a gradient between two hues, with cloudy noise."""
    xp, f = s.xp, s.factors
    value = f["background_value"][:, None]
    near = shapes.hue(xp, f["background_hue"], 0.35, value)
    far = shapes.hue(xp, f["background_hue"] + 0.12, 0.5, 0.6 * value)
    image = over(near, far, xp.clip(0.5 + 0.35 * s.frame_y + 0.15 * s.frame_x, 0, 1))
    coarse = shapes.value_noise(xp, 3 * s.frame_x, 3 * s.frame_y, s.seeds, 11)
    fine = shapes.value_noise(xp, 9 * s.frame_x, 9 * s.frame_y, s.seeds, 12)
    return image * (1 + 0.22 * coarse + 0.10 * fine)[:, None]


def back_hair(image: Array, s: Scene) -> Array:
    """Paints the hair behind head and shoulders: a crown, and a curtain that ends at the hair's length."""
    xp, f = s.xp, s.factors
    width = HEAD_X + 0.04 + 0.11 * f["hair_volume"]
    crown = s.ellipse(s.x, s.y + 0.12, width + s.curls, 0.66 + 0.10 * f["hair_volume"])
    waves = 0.05 * f["curl"] * xp.sin(6 * s.y + 2 * f["curl"])
    curtain = xp.maximum(xp.abs(s.x) - width + 0.02 - 0.03 * f["hair_length"] - waves, -0.12 - s.y)
    ends = s.y - _hair_end(s) - waves
    hair = xp.maximum(shapes.union(xp, crown, curtain, 0.12), ends)
    return over(image, 0.72 * s.shaded_hair, s.cover(hair, 0.006) * (1 - f["bald"]))


def _hair_end(s: Scene) -> Array:
    """Returns how far down the hair reaches: from the top of the ears to below the frame."""
    return -0.06 + 0.98 * s.factors["hair_length"]


def body(image: Array, s: Scene) -> Array:
    """Paints neck and shirt."""
    xp, f = s.xp, s.factors
    neck = xp.maximum(xp.abs(s.x) - 0.19 - 0.035 * f["jaw"], 0.25 - s.y)
    shadow = 0.70 * (1 - 0.12 * smoothstep(xp, 0.5, 0.9, s.y))
    image = over(image, s.skin * shadow[:, None], s.cover(neck, 0.01))
    shoulders = s.ellipse(s.frame_x, s.frame_y - 1.36, 0.86 + 0.10 * f["jaw"], 0.50)
    collar = s.ellipse(s.frame_x - 0.03 * f["yaw"], s.frame_y - 0.80, 0.25, 0.16)
    fold = 1 + 0.25 * s.frame_x * f["light"] - 0.25 * smoothstep(xp, 0.9, 1.2, s.frame_y)
    shirt = shapes.hue(xp, f["shirt_hue"], 0.55, 0.75) * fold[:, None]
    return over(image, shirt, s.cover(xp.maximum(shoulders, -collar), 0.006))


def ears(image: Array, s: Scene) -> Array:
    """Paints ears and earrings; the head hides the ear that faces away."""
    f = s.factors
    for side in SIDES:
        x = s.x - side * (HEAD_X - 0.005) * (1 - 0.10 * side * f["yaw"]) + 0.03 * f["yaw"]
        y = s.y - 0.02
        seen = smoothstep(s.xp, -0.6, 0, 0.55 - side * f["yaw"])
        size = 0.02 * f["ear_size"]
        image = over(image, 0.86 * s.skin, s.cover(s.ellipse(x, y, 0.075 + size, 0.125 + size), 0.004) * seen)
        image = over(image, 0.62 * s.skin, s.cover(s.ellipse(x, y, 0.035, 0.075), 0.01) * 0.7 * seen)
        ring = s.ellipse(x - 0.01 * side, y - 0.165, 0.030, 0.040)
        image = over(image, s.rgb(0.95, 0.80, 0.25), s.cover(ring, 0.002) * seen * f["earrings"])
    return image


def head(image: Array, s: Scene) -> Array:
    """Paints the skin of the head, with blush, freckles and pores."""
    xp = s.xp
    dark = 1 - s.light[:, None]
    face = s.skin * s.light[:, None] * (1 + s.rgb(0.06, -0.02, -0.05) * dark)  # Shadows are warm.
    face = over(face, s.rgb(0.92, 0.36, 0.36), 0.42 * _cheeks(s) * s.factors["blush"])
    face = over(face, s.skin * s.rgb(0.62, 0.46, 0.36), _freckles(s))
    pores = float(smoothstep(np, 0.25, 1, 1 / (60 * s.pixel)))
    if pores > 0:
        face = face * (1 + 0.05 * pores * shapes.value_noise(xp, 28 * s.x, 28 * s.y, s.seeds, 31))[:, None]
    return over(image, face, s.on_head)


def _cheeks(s: Scene) -> Array:
    """Returns how rosy blush makes each point, 0 to 1."""
    rosy = 0.0
    for side in SIDES:
        x, narrow = s.project(side * 0.25)
        square = ((s.x - x) / narrow) ** 2 + (s.y - s.middle_y - 0.17) ** 2
        rosy = rosy + s.xp.exp(-square / 0.012)
    return rosy


def _freckles(s: Scene) -> Array:
    """Returns the opacity of the freckles: at most one per cell of a lattice, and more the larger the factor.

    A freckle fades out towards the edge of its cell, so that none is ever cut.
    """
    xp = s.xp
    x, y = s.x - s.middle_x, s.y - s.middle_y
    cell = 0.062
    i, j, u, v = shapes.lattice(xp, x / cell, y / cell, s.seeds, 41)
    right, down, size = (shapes.hashed(xp, i, j, s.seeds, stream) for stream in (42, 43, 44))
    from_center = cell * xp.sqrt((u - 0.22 - 0.56 * right) ** 2 + (v - 0.22 - 0.56 * down) ** 2 + 1e-8)
    spot = s.cover(from_center - 0.007 - 0.009 * size, 0.004)
    inside = xp.clip(8 * xp.minimum(xp.minimum(u, 1 - u), xp.minimum(v, 1 - v)), 0, 1)
    shown = xp.clip((0.95 * s.factors["freckles"] - size * right - 0.05) / 0.15, 0, 1)
    zone = xp.exp(-(xp.square(((y - 0.10) / 0.17) ** 2) + xp.square((x / 0.36) ** 2)))
    return 0.85 * spot * inside * shown * zone


def beard(image: Array, s: Scene) -> Array:
    """Paints beard and mustache, with edges that follow the strands."""
    xp, f = s.xp, s.factors
    x, y = s.x - JAW_TURN * s.middle_x, s.y - s.middle_y
    ragged = 0.03 * s.strands
    chin = xp.maximum(s.head, 0.20 + 0.33 * xp.sqrt(x**2 + 1e-6) - y - ragged)
    mouth_hole = s.ellipse(x, y - MOUTH_Y, 0.175 + 0.03 * f["mouth_width"], 0.080 + 0.03 * f["mouth_open"])
    alpha = s.cover(xp.maximum(chin, -mouth_hole), 0.02) * 0.93 * f["beard"] * s.on_head
    image = over(image, 0.88 * s.shaded_hair, alpha)
    lip = s.ellipse(x, y - MOUTH_Y + 0.075 - 0.35 * x**2 + 0.5 * ragged, 0.180, 0.042)
    return over(image, 0.85 * s.shaded_hair, s.cover(lip, 0.012) * 0.95 * f["mustache"] * s.on_head)


def nose(image: Array, s: Scene) -> Array:
    """Paints bridge, tip, shadow and nostrils; the tip stands out from the face, so yaw moves it further."""
    f = s.factors
    length, width = 0.225 + 0.055 * f["nose_length"], 0.115 + 0.055 * f["nose_width"]
    root_y = s.middle_y - 0.02
    x, y = s.x - 1.25 * s.middle_x, s.y - root_y - length
    bridge = shapes.segment(
        s.xp, s.x, s.y, (1.05 * s.middle_x, root_y - 0.06), (1.3 * s.middle_x, root_y + length - 0.02)
    )
    bright = s.xp.clip(1.14 * s.light, 0, 1.3)[:, None]
    image = over(image, s.skin * bright, s.cover(bridge - 0.022, 0.07) * 0.55 * s.on_head)
    under = s.ellipse(x, y - 0.012, 1.12 * width, 0.052)
    image = over(image, 0.45 * s.skin * s.light[:, None], s.cover(under, 0.025) * 0.9 * s.on_head)
    tip = s.ellipse(x, y + 0.018, width, 0.052)
    image = over(image, s.skin * (bright - 0.02), s.cover(tip, 0.03) * s.on_head)
    nostrils = s.ellipse(s.xp.abs(x) - 0.55 * width, y - 0.014, 0.027, 0.015)
    return over(image, 0.30 * s.skin, s.cover(nostrils, 0.006) * 0.8 * s.on_head)


def mouth(image: Array, s: Scene) -> Array:
    """Paints lips, the open mouth and teeth: bands along a parabola that smiling bends."""
    xp, f = s.xp, s.factors
    half = 0.180 + 0.065 * f["mouth_width"] + 0.015 * f["smile"]
    across = (s.x - JAW_TURN * s.middle_x) / half
    y = s.y - s.middle_y - MOUTH_Y + 0.14 * f["smile"] * (across**2 - 0.35)
    opened = f["mouth_open"]
    bow = xp.sqrt(xp.clip(1 - across**2, 1e-6, 1))

    def band(above: Array, below: Array, reach: float) -> Array:
        return xp.maximum(xp.maximum(-y - above, y - below), (xp.abs(across) - reach) * half)

    lips = s.skin * s.rgb(0.88, 0.62, 0.60)
    lips = over(lips, s.rgb(0.78, 0.10, 0.18), 0.85 * f["lipstick"]) * s.light[:, None]
    outer = band((0.026 + 0.010 * opened) * bow, (0.038 + 0.065 * opened) * bow, 1)
    inner = band((0.005 + 0.008 * opened) * bow, (0.005 + 0.050 * opened) * bow, 0.93)
    teeth = band(0.006 * bow, 0.026 * opened * bow, 0.8)
    image = over(image, lips, s.cover(outer, 0.005) * s.on_head)
    image = over(image, s.rgb(0.28, 0.06, 0.07), s.cover(inner, 0.004) * s.on_head)
    shown = smoothstep(xp, 0.25, 0.4, opened)
    return over(image, s.rgb(0.96, 0.95, 0.92), s.cover(teeth, 0.004) * shown * s.on_head)


def eyes(image: Array, s: Scene) -> Array:
    """Paints both eyes: shadow of the socket, white, iris, pupil, highlight and lashes."""
    xp, f = s.xp, s.factors
    size, opened = 0.112 + 0.026 * f["eye_size"], f["eye_open"]
    height = size * (0.08 + 0.56 * opened)
    iris_radius = 0.50 * size
    iris_color = shapes.ramp(xp, f["eye_color"], IRIS)
    both = _eye_coordinates(s)

    def nearer(shape_fn: Callable[[Array, Array], Array]) -> Array:
        return xp.minimum(*(shape_fn(x, y) for x, y in both))

    def disc(x: Array, y: Array) -> Array:
        return xp.sqrt((x - 0.020 * f["yaw"]) ** 2 + (y - 0.004 + 0.010 * f["pitch"]) ** 2 + 1e-8)

    socket = nearer(lambda x, y: s.ellipse(x, y + 0.012, 1.18 * size, height + 0.035))
    image = over(image, 0.72 * s.skin, s.cover(socket, 0.03) * 0.55 * s.on_head)
    ball = nearer(lambda x, y: s.ellipse(x, y, size, height))
    in_eye = s.cover(ball, 0.003) * s.on_head
    y = both[0][1]  # Both eyes are at one height.
    shade = 1 - 0.18 * xp.clip(-y / 0.07, 0, 1)
    image = over(image, s.rgb(0.97, 0.97, 0.96) * shade[:, None], in_eye)
    radius = nearer(disc)
    rays = (0.75 + 0.5 * xp.minimum(radius / iris_radius, 1.2))[:, None]
    image = over(image, iris_color * rays, s.cover(radius - iris_radius, 0.002) * in_eye)
    image = over(image, s.rgb(*DARK), s.cover(radius - 0.46 * iris_radius, 0.002) * in_eye)
    glint = nearer(lambda x, y: disc(x - 0.30 * iris_radius, y + 0.35 * iris_radius))
    image = over(image, s.rgb(1, 1, 1), s.cover(glint - 0.20 * iris_radius, 0.003) * in_eye)
    lashes = xp.maximum(xp.abs(ball + 0.004) - 0.010, y - 0.018 * (1 - opened))
    return over(image, s.rgb(*DARK), s.cover(lashes, 0.003) * 0.92 * s.on_head)


def brows(image: Array, s: Scene) -> Array:
    """Paints the brows; a positive tilt brings their inner ends down."""
    xp, f = s.xp, s.factors
    thickness = 0.012 + 0.026 * f["brow_thickness"]
    distances = []
    for side, (x, y) in zip(SIDES, _eye_coordinates(s), strict=True):
        outward = side * x
        arch = y + 0.135 + 0.02 * f["eye_open"] - 0.39 * f["brow_tilt"] * outward + 0.9 * x**2
        taper = 1 - 0.45 * xp.clip(outward / 0.14, -1, 1)
        distances.append(xp.maximum(xp.abs(arch) - thickness * taper, xp.abs(x) - 0.135))
    brow = xp.minimum(*distances) + 0.006 * s.strands
    return over(image, 0.62 * s.hair, s.cover(brow, 0.008) * 0.95 * s.on_head)


def _eye_coordinates(s: Scene) -> list[tuple[Array, Array]]:
    """Returns coordinates around the left and the right eye, as if seen from the front."""
    places = [s.project(side * (0.200 + 0.022 * s.factors["eye_gap"])) for side in SIDES]
    return [((s.x - x) / narrow, s.y - s.middle_y - EYE_Y) for x, narrow in places]


def front_hair(image: Array, s: Scene) -> Array:
    """Paints the hair on the head: a cap with an opening for the face, and bangs that come down over the forehead."""
    xp, f = s.xp, s.factors
    volume, x, y = f["hair_volume"], s.x, s.y
    cap = s.ellipse(x, y + 0.10, s.half_width + 0.045 + 0.05 * volume + s.curls, 0.58 + 0.09 * volume + s.curls)
    cap = xp.maximum(cap, y - _hair_end(s) - 0.10)
    opening = s.ellipse(x - 0.30 * s.middle_x, y - 0.20 - 0.05 * volume, 0.437 - 0.02 * volume, 0.55 - 0.05 * volume)
    locks = 0.055 * f["curl"] * xp.cos(9 * (x - 0.2 * s.middle_x))
    bangs = xp.maximum(s.ellipse(x, y + 0.22, 0.98 * HEAD_X, 0.40), y + 0.46 - 0.26 * f["bangs"] - locks)
    hair = xp.minimum(xp.maximum(cap, -opening), bangs) + 0.010 * s.strands
    return over(image, s.shaded_hair, s.cover(hair, 0.005) * (1 - f["bald"]))


def hat(image: Array, s: Scene) -> Array:
    """Paints a hat with a brim."""
    xp, f = s.xp, s.factors
    color = shapes.hue(xp, f["shirt_hue"] + 0.4, 0.6, 0.62)
    width = HEAD_X + 0.10 + 0.09 * f["hair_volume"]  # Wide enough for the hair.
    crown = xp.maximum(s.ellipse(s.x, s.y + 0.30, width, 0.50 + 0.10 * f["hair_volume"]), s.y + 0.36)
    brim = shapes.box(xp, s.x, s.y + 0.37, width + 0.005, 0.075)
    image = over(image, color * (1 + 0.25 * f["light"] * s.x)[:, None], s.cover(crown, 0.004) * f["hat"])
    return over(image, 0.7 * color, s.cover(brim, 0.004) * f["hat"])


def glasses(image: Array, s: Scene) -> Array:
    """Paints glasses: lenses from round to square, a glint on them, rims, a bridge, and arms to the ears."""
    xp, f = s.xp, s.factors
    y = s.middle_y - 0.085
    inner, lenses, rims = [], [], []
    for side, (eye_x, eye_y) in zip(SIDES, _eye_coordinates(s), strict=True):
        round_lens = xp.sqrt(eye_x**2 + eye_y**2 + 1e-8) - 0.144
        square_lens = shapes.box(xp, eye_x, eye_y, 0.163, 0.116)
        lens = round_lens + (square_lens - round_lens) * f["square_rim"]
        hinge, _ = s.project(side * 0.35)
        arm = shapes.segment(xp, s.x, s.y, (hinge, y), (side * (HEAD_X + 0.01), 0.3 * s.middle_y - 0.06))
        lenses.append(lens)
        rims += [xp.abs(lens) - 0.012, arm - 0.010]
        inner.append(s.project(side * 0.055)[0])
    rims.append(shapes.segment(xp, s.x, s.y, (inner[0], y), (inner[1], y)) - 0.012)
    lens, rim = xp.minimum(*lenses), functools.reduce(xp.minimum, rims)
    streak = xp.abs(0.7 * (s.x - s.middle_x) + s.y - s.middle_y + 0.16) - 0.018
    image = over(image, s.rgb(*DARK), s.cover(lens, 0.002) * f["glasses"] * (0.05 + 0.80 * f["shades"]))
    glint = s.cover(streak, 0.012) * s.cover(lens, 0.004) * 0.35 * f["glasses"]
    image = over(image, s.rgb(0.93, 0.97, 1), glint)
    frame = s.rgb(*DARK) + 0.06 * (1 - f["shades"])[:, None]
    return over(image, frame, s.cover(rim, 0.002) * f["glasses"])
