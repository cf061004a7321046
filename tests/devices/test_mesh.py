import types

import jax
import numpy as np

from stylegan_jax.devices import mesh


def test_devices_stand_in_the_order_of_their_processes_whatever_their_places(monkeypatch):
    seen = []
    monkeypatch.setattr(mesh, "Mesh", lambda devices, *args, **kwargs: seen.append(devices))
    devices = [types.SimpleNamespace(process_index=p, id=i) for i, p in enumerate([0, 0, 1, 1, 1, 1, 0, 0])]
    mesh.make_mesh(devices)
    assert [d.process_index for d in seen[0]] == [0] * 4 + [1] * 4
    assert [d.id for d in seen[0]] == [0, 1, 6, 7, 2, 3, 4, 5]


def test_a_process_finds_its_part_of_a_batch_where_it_has_put_it():
    devices = mesh.make_mesh(jax.devices()[::-1])
    batch = mesh.put(np.arange(8), mesh.split(devices))
    assert [int(shard.data[0]) for shard in sorted(batch.addressable_shards, key=lambda s: s.device.id)] == [0, 2, 4, 6]


def test_a_batch_gives_each_device_a_power_of_two():
    assert [mesh.even_batch(3, most) for most in (-1, 0, 1, 3, 4, 7)] == [3, 3, 3, 6, 12, 12]
