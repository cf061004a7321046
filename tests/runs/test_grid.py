import numpy as np
import pytest
from PIL import Image

from stylegan_jax.runs import grid


def test_float_pictures_are_rounded_half_to_even_and_clipped():
    x = np.array([-1.0, 1.0, 0.0, -5.0, 5.0, 1 / 127.5, 0.5 / 127.5, np.nan, np.inf, -np.inf], np.float32)
    assert grid.round_to_uint8(x).tolist() == [0, 255, 128, 0, 255, 128, 128, 0, 255, 0]


def test_grid_places_images_row_by_row():
    images = np.arange(5 * 2 * 3 * 3, dtype=np.uint8).reshape(5, 2, 3, 3) + 1
    picture = grid.image_grid(images, columns=3, rows=2)
    assert picture.shape == (4, 9, 3)
    for i, image in enumerate(images):
        y, x = divmod(i, 3)
        np.testing.assert_array_equal(picture[2 * y : 2 * y + 2, 3 * x : 3 * x + 3], image)
    assert not picture[2:, 6:].any()


def test_missing_cells_of_float_images_are_zero_before_the_conversion():
    picture = grid.image_grid(np.full((1, 2, 2, 1), -1.0, np.float32), columns=2, rows=1)
    assert picture[..., 0].tolist() == [[0, 0, 128, 128]] * 2


@pytest.mark.parametrize(
    ("n", "columns", "rows", "expected"),
    [
        (1, None, None, (1, 1)),
        (5, None, None, (3, 2)),
        (7, None, None, (3, 3)),
        (6, 2, None, (2, 3)),
        (7, None, 2, (4, 2)),
    ],
)
def test_grid_size_follows_the_official_rule(n, columns, rows, expected):
    picture = grid.image_grid(np.zeros((n, 4, 4, 3), np.uint8), columns, rows)
    assert (picture.shape[1] // 4, picture.shape[0] // 4) == expected


def test_too_many_images_for_a_grid_are_refused():
    with pytest.raises(ValueError, match="5 images do not fit in a grid of 2 columns and 2 rows"):
        grid.image_grid(np.zeros((5, 4, 4, 3), np.uint8), columns=2, rows=2)


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 4), (6, 3)])
def test_png_holds_the_channels_that_can_be_shown(tmp_path, channels, shown):
    image = np.random.default_rng(0).integers(0, 256, (5, 4, channels), np.uint8)
    grid.save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved).reshape(5, 4, -1), image[..., :shown])
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]
