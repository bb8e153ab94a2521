"""Simulated clips: the same for the same numbers, whenever and by whomever they are rendered."""

import dataclasses

import numpy as np
import pytest

from scal3r_ros.errors import TrainingError
from scal3r_ros.training.config import DataConfig
from scal3r_ros.training.data.clips import ClipFolder
from scal3r_ros.training.data.simulated import SimulatedClips

CONFIG = DataConfig(clip_frames=8, first_clips=3, clips_per_step=0.5, kept_clips=4, workers=2)
SIZES = ((32, 16), (16, 16))


@pytest.mark.timeout(240)
def test_clips_are_rendered_by_number_and_kept_for_the_next_run(tmp_path):
    with SimulatedClips(tmp_path / "a", CONFIG, SIZES, "train") as clips:
        assert list(clips.usable(0, 0)) == [0, 2]
        assert list(clips.usable(1, 0)) == [1]
        first = clips.clip(1)
        assert first.images.shape == (8, 16, 16, 3)
        images = np.array(first.images)
        assert first.zero_is_far
    number = max(n for n in range(20) if n in ClipFolder(tmp_path / "a"))
    with SimulatedClips(tmp_path / "a", dataclasses.replace(CONFIG, workers=1), SIZES, "train") as clips:
        np.testing.assert_array_equal(clips.clip(1).images, images)
        clips.clip(number + 1)


def test_old_clips_go_out_of_use_as_steps_go_by(tmp_path):
    clips = SimulatedClips(tmp_path, CONFIG, SIZES, "train")
    assert list(clips.usable(0, 6)) == [2, 4]
    assert list(clips.usable(1, 6)) == [3, 5]
    assert list(clips.usable(0, 7)) == [2, 4]


def test_a_dead_renderer_is_an_error_and_not_a_wait(tmp_path):
    clips = SimulatedClips(tmp_path, dataclasses.replace(CONFIG, clip_frames=8), ((0, 16),), "train")
    with clips, pytest.raises(TrainingError, match="renderer ended with code 1"):
        clips.clip(0)


def test_a_damaged_clip_is_one_sentence(tmp_path, clip):
    folder = ClipFolder(tmp_path)
    folder.save(3, clip)
    assert 3 in folder
    (tmp_path / "0000003.images.npy").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"clip 3 of .* cannot be read"):
        folder.load(3)
    folder.remove(3)
    assert 3 not in folder
