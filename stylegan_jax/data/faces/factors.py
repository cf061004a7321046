"""The 40 factors that a face is drawn from, their distribution, and the 34 attributes that follow from them."""

from typing import NamedTuple

import numpy as np


class Factor(NamedTuple):
    """One number that a face is drawn from."""

    name: str
    low: float
    high: float
    circular: bool = False  # Whether `low` and `high` are the same point.


FACTORS = (
    # Coarse: what they change is large.
    Factor("yaw", -1, 1),
    Factor("pitch", -1, 1),
    Factor("roll", -1, 1),
    Factor("zoom", -1, 1),
    Factor("head_width", -1, 1),
    Factor("jaw", -1, 1),
    Factor("hair_length", 0, 1),
    Factor("hair_volume", 0, 1),
    Factor("bald", 0, 1),
    Factor("hat", 0, 1),
    Factor("glasses", 0, 1),
    # Middle.
    Factor("eye_size", -1, 1),
    Factor("eye_gap", -1, 1),
    Factor("eye_open", 0, 1),
    Factor("brow_tilt", -1, 1),
    Factor("brow_thickness", 0, 1),
    Factor("nose_length", -1, 1),
    Factor("nose_width", -1, 1),
    Factor("smile", -1, 1),
    Factor("mouth_open", 0, 1),
    Factor("mouth_width", -1, 1),
    Factor("bangs", 0, 1),
    Factor("beard", 0, 1),
    Factor("mustache", 0, 1),
    Factor("shades", 0, 1),
    Factor("square_rim", 0, 1),
    Factor("earrings", 0, 1),
    Factor("ear_size", -1, 1),
    # Fine.
    Factor("skin", 0, 1),
    Factor("hair_color", 0, 1),
    Factor("gray", 0, 1),
    Factor("eye_color", 0, 1),
    Factor("lipstick", 0, 1),
    Factor("blush", 0, 1),
    Factor("shirt_hue", 0, 1, circular=True),
    Factor("background_hue", 0, 1, circular=True),
    Factor("background_value", 0, 1),
    Factor("light", -1, 1),
    Factor("freckles", 0, 1),
    Factor("curl", 0, 1),
)

COLUMNS = {factor.name: column for column, factor in enumerate(FACTORS)}

# For each attribute, its factor and the value above which a face has the attribute.
ATTRIBUTES = {
    "facing_right": ("yaw", 0.0),
    "looking_up": ("pitch", 0.0),
    "close_up": ("zoom", 0.0),
    "wide_face": ("head_width", 0.0),
    "square_jaw": ("jaw", 0.0),
    "long_hair": ("hair_length", 0.4),
    "big_hair": ("hair_volume", 0.5),
    "bald": ("bald", 0.5),
    "hat": ("hat", 0.5),
    "eyeglasses": ("glasses", 0.5),
    "sunglasses": ("shades", 0.5),
    "big_eyes": ("eye_size", 0.0),
    "eyes_open": ("eye_open", 0.3),
    "angry_brows": ("brow_tilt", 0.0),
    "bushy_brows": ("brow_thickness", 0.5),
    "long_nose": ("nose_length", 0.0),
    "wide_nose": ("nose_width", 0.0),
    "smiling": ("smile", 0.0),
    "mouth_open": ("mouth_open", 0.3),
    "wide_mouth": ("mouth_width", 0.0),
    "bangs": ("bangs", 0.3),
    "beard": ("beard", 0.5),
    "mustache": ("mustache", 0.5),
    "earrings": ("earrings", 0.5),
    "dark_skin": ("skin", 0.5),
    "light_hair": ("hair_color", 0.5),
    "gray_hair": ("gray", 0.3),
    "light_eyes": ("eye_color", 0.5),
    "lipstick": ("lipstick", 0.5),
    "rosy_cheeks": ("blush", 0.3),
    "bright_background": ("background_value", 0.62),
    "lit_from_right": ("light", 0.0),
    "freckles": ("freckles", 0.3),
    "curly": ("curl", 0.5),
}


def attributes(factors: np.ndarray) -> np.ndarray:
    """Returns which of the ATTRIBUTES each face has: factor > threshold.

    Args:
        factors: as drawn by sample_factors. [n, 40]

    Returns:
        bool [n, 34]
    """
    return np.stack([factors[:, COLUMNS[name]] > threshold for name, threshold in ATTRIBUTES.values()], axis=1)


def sample_factors(indices: np.ndarray, seed: int) -> np.ndarray:
    """Returns the factors of the faces `indices` of the data set `seed`; a face's depend on its index and seed alone.

    Each face belongs to one of two hidden groups, equally likely, that differ in jaw, hair, beard and more. So the
    factors are not independent, and their support has holes, as in photographs.

    Args:
        indices: numbers of the faces, integer, >= 0. [n]
        seed: which data set.

    Returns:
        float32 [n, 40], each column within the range that FACTORS gives.
    """
    draws = _Draws(np.asarray(indices), seed)
    group = draws.chance("group", 0.5)
    sampled = _head(draws, group) | _hair(draws, group) | _features(draws, group) | _colors(draws, group)
    return np.stack([sampled[factor.name] for factor in FACTORS], axis=1).astype(np.float32)


def face_seeds(indices: np.ndarray, seed: int) -> np.ndarray:
    """Returns the seeds of the random detail of the faces `indices` of the data set `seed`. uint32 [n]"""
    return (_Draws(np.asarray(indices), seed).bits("detail") >> np.uint64(32)).astype(np.uint32)


class _Draws(NamedTuple):
    """Independent random numbers for each face, named by what they are for."""

    indices: np.ndarray
    seed: int

    def bits(self, name: str) -> np.ndarray:
        """Returns 64 random bits per face: a hash of seed, name and index. uint64 [n]"""
        stream = np.frombuffer(name.encode().ljust(24, b"\0"), np.uint64)
        state = _mix(np.full(1, self.seed % 2**64, np.uint64))
        for word in stream:
            state = _mix(state ^ word)
        return _mix(state ^ _mix(self.indices.astype(np.uint64)))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        unit = (self.bits(name) >> np.uint64(11)) * 2.0**-53  # [0, 1)
        return low + (high - low) * unit

    def chance(self, name: str, probability: float | np.ndarray) -> np.ndarray:
        """Returns 1.0 with the given probability, else 0.0."""
        return (self.uniform(f"{name}?") < probability).astype(np.float64)

    def bell(self, name: str, mean: float | np.ndarray, deviation: float, low: float = -1.0) -> np.ndarray:
        """Returns normal numbers, clipped to [low, 1] (Box-Muller)."""
        radius = np.sqrt(-2 * np.log(1 - self.uniform(f"{name} radius")))
        normal = radius * np.cos(2 * np.pi * self.uniform(f"{name} angle"))
        return np.clip(mean + deviation * normal, low, 1)

    def either(self, name: str) -> np.ndarray:
        """Returns numbers of either sign, few of them near zero: the attribute is clear on most faces."""
        return np.where(self.chance(name, 0.5) > 0, 1, -1) * self.bell(name, 0.58, 0.25, low=0.08)

    def sometimes(self, name: str, probability: float, low: float) -> np.ndarray:
        """Returns uniform numbers in [low, 1] with the given probability, else 0."""
        return self.chance(name, probability) * self.uniform(name, low)


def _mix(bits: np.ndarray) -> np.ndarray:
    """Returns a permutation of the 64-bit numbers that looks random: SplitMix64 (Steele et al. 2014, Fig. 19)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _head(draws: _Draws, group: np.ndarray) -> dict[str, np.ndarray]:
    """Returns pose and shape of the head; group 1 has wider heads and squarer jaws."""
    return {
        "yaw": draws.uniform("yaw", -1, 1),
        "pitch": draws.bell("pitch", 0, 0.45),
        "roll": draws.bell("roll", 0, 0.4),
        "zoom": draws.uniform("zoom", -1, 1),
        "head_width": draws.bell("head_width", 0.25 * (2 * group - 1), 0.45),
        "jaw": draws.bell("jaw", 0.5 * (2 * group - 1), 0.35),
        "ear_size": draws.bell("ear_size", 0, 0.4),
    }


def _hair(draws: _Draws, group: np.ndarray) -> dict[str, np.ndarray]:
    """Returns hair, beard and mustache; only group 1 is bald or bearded, and no one has both beard and long hair."""
    bald = group * draws.chance("bald", 0.2)
    is_long = draws.chance("hair_length", np.where(group > 0, 0.08, 0.75)) * (1 - bald)
    beard = group * draws.chance("beard", 0.35) * (1 - is_long)
    return {
        "hair_length": np.where(is_long > 0, draws.uniform("long", 0.55, 1), draws.uniform("short", 0, 0.25)),
        "hair_volume": draws.uniform("hair_volume"),
        "bald": bald,
        "bangs": (1 - bald) * draws.sometimes("bangs", 0.35, 0.5),
        "beard": beard,
        "mustache": group * draws.chance("mustache", np.where(beard > 0, 0.8, 0.12)),
        "hair_color": draws.uniform("hair_color"),
        "gray": draws.sometimes("gray", 0.12, 0.5),
        "curl": draws.uniform("curl"),
    }


def _features(draws: _Draws, group: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the shapes of eyes, brows, nose and mouth, and the hat, glasses and earrings."""
    glasses = draws.chance("glasses", 0.3)
    shut, opened = draws.uniform("shut", 0, 0.12), draws.uniform("opened", 0.55, 1)
    return {
        "hat": draws.chance("hat", 0.12),
        "glasses": glasses,
        "shades": glasses * draws.chance("shades", 0.3),
        "square_rim": draws.chance("square_rim", 0.5),
        "earrings": draws.chance("earrings", np.where(group > 0, 0.04, 0.45)),
        "eye_size": draws.bell("eye_size", -0.25 * (2 * group - 1), 0.4),
        "eye_gap": draws.either("eye_gap"),
        "eye_open": np.where(draws.chance("shut", 0.12) > 0, shut, opened),
        "brow_tilt": draws.either("brow_tilt"),
        "brow_thickness": draws.bell("brow_thickness", 0.35 + 0.3 * group, 0.18, low=0),
        "nose_length": draws.either("nose_length"),
        "nose_width": draws.either("nose_width"),
        "smile": draws.either("smile"),
        "mouth_open": draws.sometimes("mouth_open", 0.35, 0.45),
        "mouth_width": draws.either("mouth_width"),
    }


def _colors(draws: _Draws, group: np.ndarray) -> dict[str, np.ndarray]:
    """Returns colors, make-up and light."""
    rosy = draws.chance("blush", 0.3) > 0
    return {
        "skin": draws.uniform("skin"),
        "eye_color": draws.uniform("eye_color"),
        "lipstick": (1 - group) * draws.chance("lipstick", 0.5),
        "blush": np.where(rosy, draws.uniform("rosy", 0.5, 1), draws.uniform("pale", 0, 0.15)),
        "shirt_hue": draws.uniform("shirt_hue"),
        "background_hue": draws.uniform("background_hue"),
        "background_value": draws.uniform("background_value", 0.25, 1),
        "light": draws.uniform("light", -1, 1),
        "freckles": draws.sometimes("freckles", 0.3, 0.45),
    }
