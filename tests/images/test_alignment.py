"""Alignment of faces as in FFHQ."""

import numpy as np
import pytest

from stylegan_jax.images import alignment


def five(eyes_px: float = 40, mouth_px: float = 50, center=(100, 80), degrees: float = 0) -> np.ndarray:
    """Returns the eyes, the nose and the corners of the mouth of a face whose eyes' middle is at `center`."""
    points = np.array([[-eyes_px / 2, 0], [eyes_px / 2, 0], [0, mouth_px / 2], [-15, mouth_px], [15, mouth_px]])
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return points @ turn.T + center


def sixty_eight(points: np.ndarray) -> np.ndarray:
    """Returns dlib's points of a face of 5 points; those that alignment does not use are far away."""
    found = np.full((68, 2), -1000.0)
    ring = np.array([[-4, 0], [-2, -2], [2, -2], [4, 0], [2, 2], [-2, 2]])
    found[36:42], found[42:48] = points[0] + ring, points[1] + ring
    found[48], found[54] = points[3], points[4]
    return found


def gradient(height: int = 240, width: int = 200) -> np.ndarray:
    """Returns a picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 128)], axis=2).astype(np.uint8)


def test_the_square_of_an_upright_face_is_what_the_formula_gives():
    # x is (40 + 50, 0), scaled to 1.8 * 50 = 90; the center is a tenth of the way to the mouth.
    expected = [[10, -5], [10, 175], [190, 175], [190, -5]]
    np.testing.assert_allclose(alignment.face_quad(five()), expected, atol=1e-9)


def test_a_wide_face_has_a_square_of_four_times_the_distance_of_the_eyes():
    quad = alignment.face_quad(five(eyes_px=60, mouth_px=50))
    assert np.linalg.norm(quad[3] - quad[0]) == pytest.approx(4 * 60)


@pytest.mark.parametrize("degrees", [-35, 20, 180])
def test_the_square_turns_with_the_face(degrees):
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    expected = (alignment.face_quad(five()) - (100, 80)) @ turn.T + (100, 80)
    np.testing.assert_allclose(alignment.face_quad(five(degrees=degrees)), expected, atol=1e-9)


def test_68_points_give_the_square_of_their_5():
    points = five(degrees=10)
    np.testing.assert_allclose(alignment.face_quad(sixty_eight(points)), alignment.face_quad(points), atol=1e-9)


def test_an_upright_face_within_the_picture_is_the_square_cut_out():
    aligned = alignment.align_face(gradient(), five(eyes_px=20, mouth_px=25), 45)
    # The square is 90 px wide, from 55 and 37.5 on: two pixels each.
    x = 55.5 + 2 * np.arange(45)
    np.testing.assert_allclose(aligned[20, 1:-1, 0], x[1:-1], atol=1.01)
    np.testing.assert_allclose(aligned[1:-1, 20, 1], x[1:-1] - 17.5, atol=1.01)


def test_a_turned_face_comes_out_upright():
    turned = alignment.align_face(gradient(), five(20, 25, degrees=90), 45)
    # The x axis of the result goes down the picture, and its y axis to the left.
    assert np.all(np.diff(turned[20, :, 1].astype(int)) >= 1) and np.ptp(turned[20, :, 0].astype(int)) <= 1
    assert np.all(np.diff(turned[:, 20, 0].astype(int)) <= -1)


def test_beyond_the_edge_the_picture_fades_into_its_median_colour():
    image = gradient()
    image[:, :100] = (10, 200, 30)
    image[:, 100:] = (10, 200, 250)
    aligned = alignment.align_face(image, five(center=(100, 10)), 64)
    np.testing.assert_allclose(aligned[0, 5, :2], (10, 200), atol=2)
    assert 30 < aligned[0, 5, 2] < 250, "the outside is not the plain mirrored picture"
    np.testing.assert_array_equal(aligned[40, 5], (10, 200, 30))


def test_a_large_picture_is_made_smaller_first_with_the_same_result():
    image = gradient()
    large = image.repeat(4, axis=0).repeat(4, axis=1)
    points = five(20, 25)
    small = alignment.align_face(image, points, 16).astype(int)
    assert np.abs(alignment.align_face(large, 4 * points, 16).astype(int) - small).max() <= 3


def test_a_picture_of_a_line_is_not_made_smaller_than_a_pixel():
    assert alignment.align_face(gradient(height=1), five(center=(100, 0)), 8).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("image", "points", "message"),
    [
        (gradient(), np.zeros((7, 2)), r"landmarks are \[7, 2\]; give finite x and y of dlib's 68 points, or of 5"),
        (gradient(), np.full((5, 2), np.nan), "give finite x and y"),
        (gradient(), np.zeros((5, 2)), "the eyes and the mouth at one place"),
        (gradient(), five(center=(2000, 80)), "outside of a picture of 200x240 px; give x and y in its pixels"),
        (
            gradient(),
            five() / (200, 240),
            "into a square of .* px, in a picture of 200x240 px; give x and y in its pix",
        ),
        (gradient(), 100 * five(center=(0, 0)), "into a square of 1.8e\\+04 px, in a picture of 200x240 px"),
        (gradient()[..., :1], five(), r"image is uint8 \[240, 200, 1\]; give uint8 \[h, w, 3\]"),
        (gradient() / 255, five(), "image is float64"),
    ],
)
def test_what_is_no_face_or_no_picture_is_refused(image, points, message):
    with pytest.raises(ValueError, match=message):
        alignment.align_face(image, points)
