"""The plan of a run beyond what was recorded from the official code."""

from stylegan_jax import config
from stylegan_jax.config import schedule


def test_a_run_has_as_many_images_as_its_length_says():
    for steps in range(1, 200):  # 0.008 * 9 is above 0.072.
        kimg = {"total_kimg": 0.008 * steps, "tick_kimg": 0.008, "tick_kimg_by_resolution": ()}
        s = config.Schedule(batch=8, batch_by_resolution=(), refresh_steps=1, **kimg)
        ends = [chunk.end_nimg for chunk in schedule.chunks(s, 16) if chunk.is_tick]
        assert ends == list(range(8, 8 * steps + 1, 8))
