"""Targets are what a perfect network would say, in the first chunk's scale and each chunk's own frame."""

import dataclasses

import numpy as np
import pytest
import torch

from scal3r_ros.geometry import se3
from scal3r_ros.model import decode_pose
from scal3r_ros.training.data.batches import Unit, in_time, make_batch, unit_of
from scal3r_ros.training.data.sampling import NONE, ChunkShape, cut_sequence


@pytest.fixture
def sequence(clip):
    return cut_sequence(clip, ChunkShape(3, 4, 2), np.random.default_rng(0), NONE)


def test_poses_are_those_of_the_clip_about_each_chunks_middle_frame(sequence):
    batch = make_batch([sequence], Unit.TYPICAL_DEPTH)
    T_cam_chunk, K = decode_pose(batch.poses.double(), *batch.images.shape[-2:])
    unit = unit_of(sequence, Unit.TYPICAL_DEPTH)
    for chunk in range(3):
        predicted = in_time(T_cam_chunk, batch)[chunk].numpy()
        true = se3.invert(sequence.T_world_cam[chunk]) @ sequence.T_world_cam[chunk, 1]  # the second of four is first
        true[:, :3, 3] /= unit
        np.testing.assert_allclose(predicted, true[:, :3], atol=1e-5)
    np.testing.assert_allclose(K[0, 0, 0], sequence.K[0, 0], rtol=1e-5)


def test_the_first_chunk_sets_the_scale_of_all(sequence):
    batch = make_batch([sequence], Unit.TYPICAL_DEPTH)
    depth = in_time(batch.depth, batch)
    assert depth[0].log().mean() == pytest.approx(0.0, abs=1e-3)
    np.testing.assert_allclose(
        depth.numpy() * unit_of(sequence, Unit.TYPICAL_DEPTH), sequence.depth_m, rtol=1e-5
    )  # also in the later chunks
    assert abs(float(depth[2].log().mean())) > 1e-2


def test_mean_distance_is_that_of_the_points_from_the_reference_camera(sequence):
    height, width = sequence.depth_m.shape[2:]
    v, u = np.mgrid[:height, :width]
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(sequence.K).T
    T = se3.invert(sequence.T_world_cam[0, 1]) @ sequence.T_world_cam[0]
    points = [d[..., None] * rays @ R[:3, :3].T + R[:3, 3] for d, R in zip(sequence.depth_m[0], T, strict=True)]
    expected = np.linalg.norm(np.stack(points), axis=-1).mean()
    assert unit_of(sequence, Unit.MEAN_DISTANCE) == pytest.approx(expected, rel=1e-6)


def test_every_frame_is_compared_with_the_one_before_it_in_time(sequence):
    batch = make_batch([sequence], Unit.TYPICAL_DEPTH, forget=[False, False, True])
    images = in_time(batch.images, batch)
    before = in_time(batch.images[batch.previous], batch)
    for chunk in range(3):
        torch.testing.assert_close(before[chunk, 1:], images[chunk, :-1])
    torch.testing.assert_close(before[0, 0], images[0, 0])
    torch.testing.assert_close(before[1, 0], images[0, 1])  # chunks share two of four frames
    torch.testing.assert_close(before[2, 0], images[2, 0])


def test_chunks_of_other_processes_are_left_out_but_still_set_the_scale(sequence):
    whole, part = make_batch([sequence], Unit.MEAN_DISTANCE), make_batch([sequence], Unit.MEAN_DISTANCE, range(1, 3))
    assert part.layout.chunks == 2
    torch.testing.assert_close(part.depth, whole.depth[4:])
    torch.testing.assert_close(part.poses, whole.poses[4:])


def test_only_where_nothing_was_left_unmeasured_is_a_gap_sky(sequence):
    gap = sequence.depth_m.copy()
    gap[0, 0, :3] = 0
    for far in (True, False):
        with_gap = dataclasses.replace(sequence, depth_m=gap, zero_is_far=far)
        assert bool(make_batch([with_gap], Unit.TYPICAL_DEPTH).sky.any()) == far


def test_chunks_that_are_apart_know_no_frame_before_their_first(clip):
    places = dataclasses.replace(clip, place_frames=3)
    sequence = cut_sequence(places, ChunkShape(3, 3, 1), np.random.default_rng(0), NONE)
    batch = make_batch([sequence], Unit.TYPICAL_DEPTH)
    for chunk in range(3):
        frames = range(3 * chunk, 3 * chunk + 3)
        assert all(batch.previous[frame] in frames for frame in frames)
    first = batch.depth[:3]
    assert float(first[first > 0].log().mean()) == pytest.approx(0.0, abs=1e-5)
