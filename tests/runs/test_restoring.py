"""Damage costs one checkpoint, never the run; a part of a checkpoint, or an older one, can be read alone."""

import json
import pathlib
import shutil

import jax
import pytest

from stylegan_jax.runs import checkpoint, restoring, seals
from tests.checkpoints import abstract, assert_same_bits, make_state, replicated


def state_file(manager, nimg):
    """The largest file of a checkpoint's state: the arrays themselves."""
    folder = pathlib.Path(manager.directory) / str(nimg) / "state"
    return max((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def flip_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def test_restored_state_has_the_same_bits_structure_and_meta(manager):
    state = make_state()
    meta = {"resolution": 64, "scores": [1.5, 0.1], "name": "run"}
    checkpoint.save(manager, 123_456, state, meta)
    nimg, restored, restored_meta, _ = restoring.restore(manager, abstract(state))
    assert nimg == 123_456
    assert restored_meta == meta
    assert_same_bits(restored, state)


def test_a_fresh_manager_finds_what_an_earlier_one_saved(two_saved):
    again = checkpoint.open_manager(two_saved.directory, keep=2)
    nimg, state, _, _ = restoring.restore(again, abstract(make_state()))
    checkpoint.close(again)
    assert nimg == 200
    assert_same_bits(state, make_state(2))


def test_without_checkpoints_there_is_nothing_to_restore(manager):
    assert restoring.restore(manager, abstract(make_state())) is None


def test_restored_arrays_have_the_sharding_that_is_asked_for(two_saved):
    sharding = replicated(num_devices=2)
    _, state, _, _ = restoring.restore(two_saved, abstract(make_state(sharding=sharding)))
    assert all(x.sharding == sharding for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(flip_byte, "has changed"), (truncate, "bytes instead of"), (pathlib.Path.unlink, "is missing")],
)
def test_a_damaged_file_costs_one_checkpoint_and_says_so_in_one_line(two_saved, damage, reason, caplog):
    file = state_file(two_saved, 200)
    damage(file)
    nimg, state, meta, damaged = restoring.restore(two_saved, abstract(make_state()))
    assert (nimg, meta) == (100, {"seed": 1})
    assert_same_bits(state, make_state(1))
    assert list(damaged) == [200] and file.name in damaged[200] and reason in damaged[200]
    restoring.set_damaged_aside(two_saved, damaged)
    (line,) = caplog.messages
    assert "\n" not in line and line.startswith(f"Checkpoint 200 is damaged: {damaged[200]}. Moved it to ")
    assert sorted(place.name for place in two_saved.directory.iterdir()) == ["100", "damaged-200"]


@pytest.mark.parametrize("damage", [flip_byte, pathlib.Path.unlink])
@pytest.mark.parametrize("name", ["record/metadata", "state/files.json", "state/_METADATA", "state/manifest.ocdbt"])
def test_damage_to_any_bookkeeping_file_falls_back_too(two_saved, name, damage):
    damage(pathlib.Path(two_saved.directory) / "200" / name)
    restored = restoring.restore(two_saved, abstract(make_state()))
    assert (restored.nimg, list(restored.damaged)) == (100, [200])


def test_a_record_that_still_reads_but_has_changed_falls_back(two_saved):
    file = pathlib.Path(two_saved.directory) / "200" / "record" / "metadata"
    content = file.read_text()
    assert content.count('"seed": 2') == 1
    file.write_text(content.replace('"seed": 2', '"seed": 3'))
    assert restoring.restore(two_saved, abstract(make_state()))[2] == {"seed": 1}


def test_content_that_is_not_what_the_run_had_falls_back(two_saved):
    for name in ("100", "200"):  # Two sound sets of files, exchanged: only the checksums of the leaves can tell.
        (pathlib.Path(two_saved.directory) / name / "state").rename(pathlib.Path(two_saved.directory) / f"state-{name}")
    (pathlib.Path(two_saved.directory) / "state-100").rename(pathlib.Path(two_saved.directory) / "200" / "state")
    with pytest.raises(restoring.CheckpointDamaged, match="arrays differ from what was saved; the first is nimg"):
        restoring.restore(two_saved, abstract(make_state()))


def test_after_a_fallback_the_same_nimg_can_be_saved_again(two_saved):
    for seed in (3, 4):  # A second fallback at the same nimg keeps both damaged folders.
        flip_byte(state_file(two_saved, 200))
        restored = restoring.restore(two_saved, abstract(make_state()))
        assert restored.nimg == 100
        restoring.set_damaged_aside(two_saved, restored.damaged)
        checkpoint.save(two_saved, 200, make_state(seed), {"seed": seed})
        checkpoint.wait(two_saved)
    assert restoring.restore(two_saved, abstract(make_state()))[2] == {"seed": 4}
    names = {f.name for f in pathlib.Path(two_saved.directory).iterdir()}
    assert names == {"100", "200", "damaged-200", "damaged-200-2"}


def test_when_all_are_damaged_it_raises_and_touches_nothing(two_saved):
    flip_byte(state_file(two_saved, 200))
    truncate(state_file(two_saved, 100))
    with pytest.raises(restoring.CheckpointDamaged) as error:
        restoring.restore(two_saved, abstract(make_state()))
    assert "200: state/" in str(error.value) and "100: state/" in str(error.value)
    assert sorted(f.name for f in pathlib.Path(two_saved.directory).iterdir()) == ["100", "200"]


def test_a_mismatch_names_each_parameter_with_both_shapes(two_saved):
    other = make_state(width=48)
    other = other.replace(params={"g": other.params["g"] | {"new": other.params["d"]}, "d": other.params["d"]})
    with pytest.raises(restoring.CheckpointMismatch) as error:
        restoring.restore(two_saved, abstract(other))
    assert "params/g/weight: float32[64, 32] in the checkpoint, float32[48, 32] in this model" in str(error.value)
    assert "params/g/new: absent in the checkpoint, float32[1, 32] in this model" in str(error.value)
    assert "2 of 7 arrays differ" in str(error.value)
    assert (pathlib.Path(two_saved.directory) / "200").exists()


def test_a_renamed_checkpoint_is_not_taken_for_another(two_saved):
    (two_saved.directory / "200").rename(two_saved.directory / "700")
    two_saved.reload()
    restored = restoring.restore(two_saved, abstract(make_state()))
    assert (restored.nimg, restored.damaged) == (100, {700: "it was saved at image 200, and renamed"})


def test_a_checkpoint_from_before_the_record_had_its_image_is_read(two_saved):
    place = two_saved.directory / "200" / "record" / "metadata"
    record = json.loads(place.read_text())["record"]
    del record["nimg"]
    place.write_text(json.dumps({"record": record, "crc": seals.crc_of_json(record)}))
    assert restoring.restore(two_saved, abstract(make_state()))[0] == 200


def test_a_reader_finds_what_was_saved_while_it_read(tmp_path):
    for nimg in (100, 200):
        writer = checkpoint.open_manager(tmp_path, keep=1)
        checkpoint.save(writer, nimg, make_state(), {})
        checkpoint.close(writer)
        if nimg == 100:
            reader = checkpoint.open_reader(tmp_path)
            assert list(reader.all_steps()) == [100]
    assert sorted(int(place.name) for place in tmp_path.iterdir() if place.name.isdigit()) == [200]
    restored = restoring.restore(reader, abstract(make_state()))
    assert (restored.nimg, restored.damaged) == (200, {})
    reader.close()


def test_a_reader_survives_the_deletion_of_what_it_reads(two_saved, monkeypatch):
    reader, read = checkpoint.open_reader(two_saved.directory), seals.first_bad_file

    def delete_after_the_check(folder):
        problem = read(folder)
        if folder.parent.name == "200":
            shutil.rmtree(folder, ignore_errors=True)
        return problem

    monkeypatch.setattr(seals, "first_bad_file", delete_after_the_check)
    restored = restoring.restore(reader, abstract(make_state()))
    assert restored.nimg == 100 and restored.damaged[200].startswith("it was deleted while it was read")
    reader.close()


def test_a_reader_leaves_all_as_it_is(two_saved):
    other_save = two_saved.directory / "300.orbax-checkpoint-tmp"
    other_save.mkdir()
    (two_saved.directory / "200" / "record" / "metadata").write_text("{")
    folder = pathlib.Path(two_saved.directory)
    before = sorted(folder.rglob("*"))
    reader = checkpoint.open_reader(folder)
    restored = restoring.restore(reader, abstract(make_state()))
    reader.close()
    assert sorted(folder.rglob("*")) == before
    assert restored.nimg == 100 and restored.damaged[200].startswith("its record cannot be read")


# ---- a part of a checkpoint


def test_a_part_of_a_checkpoint_has_the_bits_of_the_whole(two_saved):
    whole = make_state(2)
    part = {"params": whole.params, "flags": whole.flags}
    restored = restoring.restore(two_saved, abstract(part), is_part=True)
    assert restored.nimg == 200
    assert_same_bits(restored.state, part)


def test_a_part_is_checked_by_the_same_seals(two_saved):
    flip_byte(state_file(two_saved, 200))
    part = {"params": make_state().params}
    restored = restoring.restore(two_saved, abstract(part), is_part=True)
    assert restored.nimg == 100 and "has changed" in restored.damaged[200]
    assert_same_bits(restored.state, {"params": make_state(1).params})


def test_the_content_of_a_part_is_compared_with_what_the_run_had(two_saved):
    folder = pathlib.Path(two_saved.directory)
    shutil.rmtree(folder / "200" / "state")
    shutil.copytree(folder / "100" / "state", folder / "200" / "state")
    restored = restoring.restore(two_saved, abstract({"params": make_state().params}), is_part=True)
    assert restored.nimg == 100 and "params/d" in restored.damaged[200]


def test_a_field_of_a_part_fits_whole(two_saved):
    part = abstract({"params": make_state().params})
    del part["params"]["d"]
    with pytest.raises(restoring.CheckpointMismatch, match=r"params/d: float32\[1, 32\] in the checkpoint, absent"):
        restoring.restore(two_saved, part, is_part=True)


def test_a_whole_state_leaves_nothing_of_the_checkpoint_out(two_saved):
    with pytest.raises(restoring.CheckpointMismatch, match="flags: bool.* in the checkpoint, absent in this model"):
        restoring.restore(two_saved, abstract({"params": make_state().params}))


# ---- an older checkpoint


def test_an_older_checkpoint_is_read_when_it_is_asked_for(two_saved):
    restored = restoring.restore(two_saved, abstract(make_state()), nimg=100)
    assert (restored.nimg, restored.meta, restored.damaged) == (100, {"seed": 1}, {})
    assert_same_bits(restored.state, make_state(1))


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(two_saved):
    with pytest.raises(ValueError, match="has no checkpoint of image 150; it has: 100, 200"):
        restoring.restore(two_saved, abstract(make_state()), nimg=150)


def test_no_other_checkpoint_takes_the_place_of_one_that_is_asked_for(two_saved):
    flip_byte(state_file(two_saved, 200))
    with pytest.raises(restoring.CheckpointDamaged, match="that is asked for in .* is damaged:\n  200: state/"):
        restoring.restore(two_saved, abstract(make_state()), nimg=200)


def test_going_back_moves_newer_checkpoints_aside_and_the_run_saves_at_their_images_again(two_saved, caplog):
    restoring.go_back(two_saved, 100)
    folder = pathlib.Path(two_saved.directory)
    assert sorted(place.name for place in folder.iterdir()) == ["100", "after-100"]
    assert caplog.messages == [f"Going back to image 100: checkpoints 200 are now in {folder / 'after-100'}."]
    assert restoring.restore(two_saved, abstract(make_state())).nimg == 100
    checkpoint.save(two_saved, 200, make_state(5), {"seed": 5})
    checkpoint.wait(two_saved)
    assert restoring.restore(two_saved, abstract(make_state())).meta == {"seed": 5}
    assert (folder / "after-100" / "200" / "state").is_dir()


def test_going_back_is_gone_on_with_after_a_kill(tmp_path, monkeypatch, caplog):
    manager = checkpoint.open_manager(tmp_path / "checkpoints", 3)
    for nimg in (100, 200, 300):
        checkpoint.save(manager, nimg, make_state(nimg), {"seed": nimg})
    checkpoint.wait(manager)
    rename, folder = pathlib.Path.rename, pathlib.Path(manager.directory)

    def kill_at_200(place, target):
        if place.name == "200":
            raise KeyboardInterrupt
        return rename(place, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pathlib.Path, "rename", kill_at_200)
        restoring.go_back(manager, 100)
    assert (folder / "after-100.partial" / "300").is_dir() and not (folder / "after-100").exists()
    manager.reload()
    restoring.check_can_go_back(manager, 100)
    restoring.go_back(manager, 100)
    assert caplog.messages == [f"Going back to image 100: checkpoints 200, 300 are now in {folder / 'after-100'}."]
    assert restoring.restore(manager, abstract(make_state())).nimg == 100


def test_a_run_goes_back_to_an_image_once(two_saved):
    restoring.go_back(two_saved, 200)  # The newest: nothing is moved.
    checkpoint.save(two_saved, 300, make_state(3), {"seed": 3})
    checkpoint.wait(two_saved)
    with pytest.raises(ValueError, match="went back to image 200 before: .*after-200 is there. Leave --checkpoint out"):
        restoring.check_can_go_back(two_saved, 200)
    assert restoring.restore(two_saved, abstract(make_state())).nimg == 300
    checkpoint.save(two_saved, 400, make_state(4), {"seed": 4})  # Of two that are kept.
    checkpoint.wait(two_saved)
    with pytest.raises(ValueError, match="no checkpoint of image 200; it has: 300, 400. The run went back to it"):
        restoring.restore(two_saved, abstract(make_state()), nimg=200)


def test_a_file_that_has_a_number_for_its_name_is_no_checkpoint(two_saved):
    (pathlib.Path(two_saved.directory) / "5000").write_text("notes")
    again = checkpoint.open_manager(two_saved.directory, keep=2)
    assert restoring.restore(again, abstract(make_state())).nimg == 200
    checkpoint.save(again, 300, make_state(3), {})
    checkpoint.close(again)
    assert (pathlib.Path(two_saved.directory) / "5000").read_text() == "notes"
