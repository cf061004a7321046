"""One pass gives the features of all images, whatever the batches and the devices are."""

import tempfile

import numpy as np
import pytest

from stylegan_jax.metrics import batches, extraction, feature_networks, frechet, image_sets, ms_ssim, swd
from stylegan_jax.metrics.extraction import PAIRS, PATCHES, Progress, Wanted
from tests import measured
from tests.measured import devices, drained, pixels, source

PIXELS = pixels(22)
SET = image_sets.select(source(PIXELS), 16, "all", 1)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(batches, "MAX_IMAGES", 8)


def collect(wanted, folder, num_devices=4, networks=None, images=SET):
    networks = {"tiny": measured.network(num_devices)} if networks is None else networks
    return drained(extraction.collect(images, wanted, networks, devices(num_devices), folder, "pictures"))


@pytest.mark.parametrize("num_devices", [1, 4])
def test_features_are_those_of_all_images_at_once_in_their_order(tmp_path, num_devices):
    _, found = collect({"tiny": Wanted(22, True)}, tmp_path, num_devices)
    expected = measured.features(PIXELS)
    np.testing.assert_allclose(found["tiny"].rows, expected, atol=1e-6)
    np.testing.assert_allclose(found["tiny"].logits, 9 * expected[:, :5], atol=1e-5)
    np.testing.assert_array_equal(found["tiny"].half_of, SET.half_of)


def test_statistics_alone_leave_no_rows(tmp_path):
    _, found = collect({"tiny": Wanted(22, False)}, tmp_path)
    assert found["tiny"].rows is None
    expected = frechet.statistics(measured.features(PIXELS))
    np.testing.assert_allclose(found["tiny"].statistics.covariance, expected.covariance, atol=1e-8)


def test_each_batch_is_told_before_the_next(tmp_path):
    told, _ = collect({"tiny": Wanted(22, True)}, tmp_path)
    assert told == [Progress("pictures", done, 22) for done in (0, 8, 16, 22)]


def test_several_kinds_are_had_from_one_pass(tmp_path):
    networks = {"tiny": measured.network(), "large": measured.network(scale=3.0)}
    _, found = collect(dict.fromkeys(("tiny", "large", PATCHES, PAIRS), Wanted(22, True)), tmp_path, networks=networks)
    np.testing.assert_allclose(found["large"].rows, 3 * found["tiny"].rows, rtol=1e-5)
    expected = swd.patches(PIXELS, swd.draw_corners(22, 16, seed=0))
    np.testing.assert_array_equal(found[PATCHES].by_level[16], expected[16])
    np.testing.assert_allclose(found[PAIRS].similarities, ms_ssim.ms_ssim(PIXELS[::2], PIXELS[1::2]), rtol=1e-12)


@pytest.mark.parametrize("count", [5, 8, 9])
def test_a_kind_that_is_wanted_of_fewer_images_is_that_of_the_first_ones_alone(tmp_path, count):
    networks = {"tiny": measured.network(), "large": measured.network(scale=3.0)}
    wanted = {"tiny": Wanted(22, True), "large": Wanted(count, True), PATCHES: Wanted(count, True)}
    _, found = collect(wanted, tmp_path, networks=networks)
    _, alone = collect(
        {PATCHES: Wanted(count, True)}, tmp_path, images=image_sets.select(SET.images, 16, "first", count)
    )
    assert (len(found["tiny"]), len(found["large"])) == (22, count)
    np.testing.assert_array_equal(found["large"].half_of, SET.half_of[:count])
    np.testing.assert_allclose(found["large"].rows, 3 * found["tiny"].rows[:count], rtol=1e-5)
    np.testing.assert_array_equal(found[PATCHES].by_level[16], alone[PATCHES].by_level[16])


def test_a_network_is_not_asked_for_images_that_no_metric_wants(tmp_path, monkeypatch):
    asked, outputs = [], extraction._outputs

    def watched(networks, images, devices):
        asked.append(sorted(networks))
        return outputs(networks, images, devices)

    monkeypatch.setattr(extraction, "_outputs", watched)
    networks = {"tiny": measured.network(), "large": measured.network(scale=3.0)}
    collect({"tiny": Wanted(22, True), "large": Wanted(8, True)}, tmp_path, networks=networks)
    assert asked == [["large", "tiny"], ["tiny"], ["tiny"]]


def test_pixels_alone_need_no_network(tmp_path):
    _, found = collect({PAIRS: Wanted(22, True)}, tmp_path, networks={})
    assert len(found[PAIRS]) == 22


def test_nothing_is_left_in_the_folder(tmp_path):
    _, found = collect({"tiny": Wanted(22, True), PATCHES: Wanted(22, True)}, tmp_path)
    assert not list(tmp_path.iterdir()) and isinstance(found["tiny"].rows, np.memmap)


def test_features_of_broken_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="features of images 0 to 7 hold NaN or infinity"):
        collect({"tiny": Wanted(22, True)}, tmp_path, networks={"tiny": measured.network(scale=np.nan)})


def test_a_pass_that_is_left_early_leaves_nothing_behind(tmp_path):
    steps = extraction.collect(
        SET, {"tiny": Wanted(22, True)}, {"tiny": measured.network()}, devices(4), tmp_path, "pictures"
    )
    next(steps)
    next(steps)
    steps.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_devices", [1, 4])
def test_the_attribute_network_is_asked_in_parts_as_at_once(num_devices):
    (network,) = feature_networks.open_kinds(
        {"faces": "fd_faces10k"}, tempfile.gettempdir(), devices(num_devices)
    ).values()
    with tempfile.TemporaryDirectory() as folder:
        _, found = collect({"faces": Wanted(22, True)}, folder, num_devices, {"faces": network})
    np.testing.assert_allclose(
        found["faces"].rows, network.apply_fn(network.params, PIXELS)["features"], rtol=1e-4, atol=1e-4
    )
