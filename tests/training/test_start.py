"""What a user is told when a run begins or has nothing left to do."""

import re

import pytest

from stylegan_jax.config import schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import mesh
from stylegan_jax.training import start
from tests.small import settings


def test_pictures_are_told_in_words_without_what_there_is_none_of():
    counts = {"images": 16, "heldout": 4, "skipped": 0, "filtered": 2, "enlarged": 0, "ignored": 3, "classes": 10}
    assert (
        start.pictures_text(counts) == "16 to train on, 4 held out, 2 left out as too small, 3 other files, 10 classes"
    )


def test_a_run_begins_with_its_pictures_parameters_devices_and_place():
    config = settings()
    data = dataset.open_dataset(config.data, config.model, config.seed)
    pictures, parameters, devices, place = start.about(config, data, mesh.make_mesh(), 64)
    assert pictures == "pictures: 64 to train on, 32 held out"
    assert parameters.startswith("parameters: ") and parameters.endswith("of the discriminator")
    assert devices == "devices: 4 CPU" and place == "starting at 0.064 kimg"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"total_kimg": 0.064},
            r"ends at 0.064 kimg with images of 8 px: full resolution, 16 px, begins at 0.064 kimg",
        ),
        (
            {"total_kimg": 0.12},
            r"ends at 0.128 kimg while full resolution, 16 px, still fades in: it is .* 0.128 kimg",
        ),
        ({"total_kimg": 0.064, "initial_resolution": 4}, r"with images of 4 px: .* begins at 0.192 kimg"),
    ],
)
def test_a_run_that_ends_before_full_resolution_is_told_so(changes, message):
    config = settings(schedule=changes)
    *_, last = schedule.chunks(config.schedule, 16)
    (note,) = start.schedule_notes(config, last)
    assert re.search(message, note)


def test_a_run_that_grows_to_the_end_needs_no_note():
    config = settings()
    *_, last = schedule.chunks(config.schedule, 16)
    assert start.schedule_notes(config, last) == []


def test_classes_that_the_model_does_not_use_are_told():
    def notes(num_labels: int) -> list[str]:
        config = settings(model={"num_labels": num_labels}, data={"source": "digits"})
        return start.class_notes(config, dataset.open_dataset(config.data, config.model, config.seed))

    (note,) = notes(0)
    assert note.startswith("the pictures have 10 classes, and the model is unconditional") and "num_labels=10" in note
    assert notes(10) == []


def test_a_run_that_is_complete_says_so_and_one_beyond_its_total_too():
    config = settings()
    assert start.ending(config, 256, 256) == "complete at 0.256 kimg"
    text = start.ending(settings(schedule={"total_kimg": 0.1}), 256, 128)
    assert text == "nothing to train: the run is at 0.256 kimg, and schedule.total_kimg is 0.1. Raise it to train on."


def test_the_command_that_goes_on_is_told_without_the_flag_that_goes_back():
    saved = "stopped by SIGTERM and saved at 64 images; the same command"
    assert start.stopped("SIGTERM", 64, None) == f"{saved} goes on from here"
    assert start.stopped("SIGTERM", 64, 32) == f"{saved}, without --checkpoint, goes on from here"
