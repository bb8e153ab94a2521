"""Sequences are frames of a clip with their truth, whatever was done to them."""

import dataclasses

import numpy as np
import pytest

from scal3r_ros.errors import TrainingError
from scal3r_ros.geometry import se3
from scal3r_ros.training.data.sampling import NONE, Augmentation, ChunkShape, cut_sequence, mirrored, recoloured


def reprojection_error(images, depth_m, T_world_cam, K) -> float:
    """Mean difference in colour between frame 0 and frame 1 seen from it, where both see the same."""
    height, width = depth_m.shape[1:]
    v, u = np.mgrid[:height, :width]
    points = depth_m[0][..., None] * (np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T)
    T = se3.invert(T_world_cam[1]) @ T_world_cam[0]
    seen = (points @ T[:3, :3].T + T[:3, 3]) @ K.T
    x, y = np.rint(seen[..., :2] / seen[..., 2:]).astype(int).transpose(2, 0, 1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    other = images[1][y[inside], x[inside]].astype(float)
    return float(np.abs(images[0][inside].astype(float) - other).mean())


def test_chunks_share_frames_in_order():
    shape = ChunkShape(3, 4, 1)
    assert shape.span == 10
    np.testing.assert_array_equal(shape.positions(), [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]])


def test_a_mirrored_world_is_a_world(clip):
    images, depth_m, T_world_cam = clip.images[::6], clip.depth_m[::6], clip.T_world_cam[::6]
    plain = reprojection_error(images, depth_m, T_world_cam, clip.K)
    shown = mirrored(images, depth_m, T_world_cam, clip.K)
    assert reprojection_error(*shown) == pytest.approx(plain, rel=0.3)
    assert reprojection_error(shown[0], shown[1], T_world_cam, shown[3]) > 2 * plain


def test_without_augmentation_the_first_frames_come_as_they_are(clip):
    sequence = cut_sequence(clip, ChunkShape(2, 4, 2), np.random.default_rng(0), NONE)
    np.testing.assert_array_equal(sequence.images[0], clip.images[:4])
    np.testing.assert_array_equal(sequence.depth_m[1], clip.depth_m[2:6])
    np.testing.assert_array_equal(sequence.T_world_cam[1], clip.T_world_cam[2:6])


def test_equal_generators_give_equal_sequences_and_others_do_not(clip):
    shape, augmentation = ChunkShape(2, 3, 1), Augmentation()
    first, again, other = (cut_sequence(clip, shape, np.random.default_rng(seed), augmentation) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_colours_change_alike_in_all_frames(clip):
    same = np.repeat(clip.images[:1], 3, axis=0)
    changed = recoloured(same, np.random.default_rng(3), 0.3)
    np.testing.assert_array_equal(changed[0], changed[2])
    assert not np.array_equal(changed[0], same[0])


def test_a_short_clip_is_refused(clip):
    with pytest.raises(TrainingError, match="12 frames is too short for 4 chunks: 16 frames"):
        cut_sequence(clip, ChunkShape(4, 4, 0), np.random.default_rng(0), Augmentation())


@pytest.fixture
def places(clip):
    """Four places of three frames each."""
    return dataclasses.replace(clip, place_frames=3)


def test_chunks_of_a_drive_are_each_of_a_place_of_its_own(places):
    shape, first = ChunkShape(3, 2, 1), set()
    for seed in range(30):
        sequence = cut_sequence(places, shape, np.random.default_rng(seed), Augmentation(flip=False, colour=0.0))
        assert sequence.apart
        numbers = [
            [int(np.flatnonzero((places.T_world_cam == T).all((1, 2)))[0]) for T in chunk]
            for chunk in sequence.T_world_cam
        ]
        chosen = [{number // 3 for number in chunk} for chunk in numbers]
        assert all(len(one) == 1 for one in chosen)
        assert len(set.union(*chosen)) == 3
        first |= chosen[0]
    assert first == {0, 1, 2, 3}


def test_without_augmentation_places_come_in_their_order(places):
    sequence = cut_sequence(places, ChunkShape(2, 2, 1), np.random.default_rng(0), NONE)
    np.testing.assert_array_equal(sequence.images[0], places.images[:2])
    np.testing.assert_array_equal(sequence.images[1], places.images[3:5])


def test_a_drive_of_few_places_is_refused(places):
    with pytest.raises(TrainingError, match="4 places of 3 frames is too short for 5 chunks of 2"):
        cut_sequence(places, ChunkShape(5, 2, 1), np.random.default_rng(0), Augmentation())
