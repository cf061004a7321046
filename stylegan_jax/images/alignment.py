"""Alignment of faces as in FFHQ: the square around a face whose eyes and mouth are known.

Source: download_ffhq.py (recreate_aligned_images) of NVlabs/ffhq-dataset. Networks that were trained on FFHQ know faces
in this position alone, so a photograph should be brought to it before it is projected.
"""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

NUM_LANDMARKS = 68  # Of dlib's shape predictor (iBUG 300-W).
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # As seen in the picture.
MOUTH_CORNERS = (48, 54)
SMALLEST_PX, MOST_PICTURES = 4, 10  # Side of a face's square: in px, and relative to its picture's longer side.
SUPERSAMPLING = 4  # The square is cut out this many times larger, and then made smaller.


def landmark_points(landmarks: np.ndarray) -> np.ndarray:
    """Returns the middles of both eyes, and the corners of the mouth: left, right, left, right in the picture. [4, 2]

    Args:
        landmarks: x and y, px from the upper left corner. dlib's [68, 2]; or [5, 2]: the eyes, the nose and the
            corners of the mouth, as MTCNN and RetinaFace find them, left before right in the picture.

    Raises:
        ValueError: they are of another shape, not finite, or all the same.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape not in ((NUM_LANDMARKS, 2), (5, 2)) or not np.isfinite(points).all():
        raise ValueError(
            f"landmarks are {list(points.shape)}; give finite x and y of dlib's {NUM_LANDMARKS} points, or of 5: both "
            "eyes, the nose, both corners of the mouth."
        )
    if len(points) == 5:
        return points[[0, 1, 3, 4]]
    eyes = [points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0)]
    return np.stack([*eyes, *points[list(MOUTH_CORNERS)]])


def face_quad(landmarks: np.ndarray) -> np.ndarray:
    """Returns the corners of the square around a face: upper left, lower left, lower right, upper right. [4, 2], px

    Its x axis follows the eyes and, turned by a right angle, the way from the eyes to the mouth; its size is the larger
    of 4 times the distance of the eyes and 3.6 times that from the eyes to the mouth.

    Args:
        landmarks: as for `landmark_points`.

    Raises:
        ValueError: no face has its eyes and mouth there.
    """
    left_eye, right_eye, left_mouth, right_mouth = landmark_points(landmarks)
    eye_to_eye, middle = right_eye - left_eye, (left_eye + right_eye) / 2
    eye_to_mouth = (left_mouth + right_mouth) / 2 - middle
    x = eye_to_eye - eye_to_mouth[::-1] * (-1, 1)
    length = math.hypot(*x)
    if not length:
        raise ValueError("landmarks have the eyes and the mouth at one place; give those of a face.")
    x *= max(math.hypot(*eye_to_eye) * 2, math.hypot(*eye_to_mouth) * 1.8) / length
    y, center = x[::-1] * (-1, 1), middle + eye_to_mouth * 0.1
    return np.stack([center - x - y, center - x + y, center + x + y, center + x - y])


def align_face(image: np.ndarray, landmarks: np.ndarray, resolution: int = 1024) -> np.ndarray:
    """Returns the square around a face, upright, as FFHQ has it.

    Where it reaches beyond the picture, the picture is mirrored at its edge, and blends into a blur and then into its
    median colour towards the outside.

    Args:
        image: uint8. [h, w, 3]
        landmarks: as for `landmark_points`.
        resolution: height and width of the result, px.

    Returns:
        uint8 [resolution, resolution, 3]

    Raises:
        ValueError: the picture is of another type, or the landmarks are of no face in it.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} {list(image.shape)}; give uint8 [h, w, 3].")
    if resolution < 1:
        raise ValueError(f"resolution is {resolution}; use 1 or more.")
    quad = face_quad(landmarks)
    size = math.hypot(*(quad[3] - quad[0]))
    low, high = quad.min(axis=0), quad.max(axis=0)
    if (high <= 0).any() or (low >= image.shape[1::-1]).any():
        raise ValueError(
            f"landmarks put the face at {low.round().tolist()} to {high.round().tolist()}, outside of a picture of "
            f"{image.shape[1]}x{image.shape[0]} px; give x and y in its pixels."
        )
    if not SMALLEST_PX <= size <= MOST_PICTURES * max(image.shape[:2]):
        raise ValueError(
            f"landmarks put the face into a square of {size:.3g} px, in a picture of {image.shape[1]}x{image.shape[0]} "
            "px; give x and y in its pixels."
        )
    picture = Image.fromarray(image)
    picture, quad, size = _shrunk(picture, quad, size, resolution)
    picture, quad = _cut_out(picture, quad, size)
    picture, quad = _with_margin(picture, quad, size)
    side = SUPERSAMPLING * resolution
    corners = tuple((quad + 0.5).flatten().tolist())
    picture = picture.transform((side, side), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((resolution, resolution), Image.Resampling.LANCZOS))


def _shrunk(
    picture: Image.Image, quad: np.ndarray, size: float, resolution: int
) -> tuple[Image.Image, np.ndarray, float]:
    """Returns a picture that is not more than twice as large as needed, and the square and its size in it."""
    factor = int(np.floor(size / resolution * 0.5))
    if factor <= 1:
        return picture, quad, size
    smaller = (max(1, int(np.rint(picture.width / factor))), max(1, int(np.rint(picture.height / factor))))
    return picture.resize(smaller, Image.Resampling.LANCZOS), quad / factor, size / factor


def _cut_out(picture: Image.Image, quad: np.ndarray, size: float) -> tuple[Image.Image, np.ndarray]:
    """Returns the part of a picture that the square lies in, with a border, and the square in it."""
    border = max(int(np.rint(size * 0.1)), 3)
    low, high = np.floor(quad.min(axis=0)).astype(int) - border, np.ceil(quad.max(axis=0)).astype(int) + border
    low, high = np.maximum(low, 0), np.minimum(high, picture.size)
    return picture.crop((*low.tolist(), *high.tolist())), quad - low


def _with_margin(picture: Image.Image, quad: np.ndarray, size: float) -> tuple[Image.Image, np.ndarray]:
    """Returns a picture with what the square needs beyond its edges, and the square in it."""
    border = max(int(np.rint(size * 0.1)), 3)
    low, high = np.floor(quad.min(axis=0)).astype(int), np.ceil(quad.max(axis=0)).astype(int)
    before, after = np.maximum(border - low, 0), np.maximum(high - picture.size + border, 0)
    if max(before.max(), after.max()) <= border - 4:
        return picture, quad
    before, after = (np.maximum(part, int(np.rint(size * 0.3))) for part in (before, after))
    (left, top), (right, bottom) = before, after
    pixels = np.pad(np.asarray(picture, np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width, _ = pixels.shape
    y, x, _ = np.ogrid[:height, :width, :1]
    mask = np.maximum(
        1.0 - np.minimum(np.float32(x) / left, np.float32(width - 1 - x) / right),
        1.0 - np.minimum(np.float32(y) / top, np.float32(height - 1 - y) / bottom),
    )
    blurred = ndimage.gaussian_filter(pixels, [size * 0.02, size * 0.02, 0])
    pixels += (blurred - pixels) * np.clip(mask * 3.0 + 1.0, 0.0, 1.0)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(mask, 0.0, 1.0)
    return Image.fromarray(np.uint8(np.clip(np.rint(pixels), 0, 255))), quad + before
