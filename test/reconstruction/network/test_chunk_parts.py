"""Order of frames, parts of chunks, and parts joined again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder, frames_with_depth, join, parts_of
from scal3r_ros.reconstruction.protocol import ChunkGeometry

CAMERA = Intrinsics(40.0, 40.0, 19.5, 14.5, 40, 30)


def wall(frames: int, seed: int = 0) -> ChunkGeometry:
    """Cameras that pass a wavy wall: every depth map is of the same surface, in one gauge."""
    rng = np.random.default_rng(seed)
    T = se3.exp(np.concatenate([np.zeros((frames, 3)), 0.05 * rng.standard_normal((frames, 3))], axis=1))
    T[:, 0, 3] = 0.3 * np.arange(frames)
    depth = 4 + rng.random((frames, 30, 40), dtype=np.float32)
    return ChunkGeometry(T, (CAMERA,) * frames, depth, np.full_like(depth, 0.7))


def cut(whole: ChunkGeometry, positions: range, S_part_whole: Sim3) -> ChunkGeometry:
    """Some frames, in a gauge of their own."""
    part = slice(positions.start, positions.stop)
    return ChunkGeometry(
        S_part_whole.apply_pose(whole.T_chunk_cam[part]),
        whole.intrinsics[part],
        (whole.depth[part] * S_part_whole.scale).astype(np.float32),
        whole.confidence[part],
    )


@pytest.mark.parametrize(("frames", "middle"), [(1, 0), (2, 0), (3, 1), (4, 1), (12, 5), (13, 6)])
def test_the_middle_frame_comes_first_and_the_others_keep_their_order(frames: int, middle: int) -> None:
    order = FrameOrder.of(frames)
    assert order.positions[0] == middle
    assert [order.positions[place] for place in order.places] == list(range(frames))
    assert order.positions[1:] == [position for position in range(frames) if position != middle]


@pytest.mark.parametrize("frames", range(1, 30))
@pytest.mark.parametrize("at_once", [2, 3, 4, 6, 12])
def test_parts_cover_a_chunk_and_overlap(frames: int, at_once: int) -> None:
    parts = parts_of(frames, at_once)
    assert sorted({position for part in parts for position in part}) == list(range(frames))
    assert max(map(len, parts)) <= at_once
    assert all(one.start < other.start < one.stop < other.stop for one, other in itertools.pairwise(parts))


@pytest.mark.parametrize("shared", range(6))
@pytest.mark.parametrize("of_shared", range(8))
def test_new_frames_always_get_depth(shared: int, of_shared: int) -> None:
    positions = frames_with_depth(9, shared, of_shared)
    assert positions[-(9 - shared) :] == list(range(shared, 9))
    assert len(positions) == len(set(positions)) == 9 - shared + min(shared, of_shared)
    assert positions == sorted(positions)


@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_parts_in_gauges_of_their_own_become_one(overlap: int) -> None:
    whole = wall(9)
    S = Sim3(2.5, se3.rotation_exp([0.4, -0.2, 0.9]), np.array([3.0, -1.0, 7.0]))
    first, second = cut(whole, range(6), Sim3.identity()), cut(whole, range(6 - overlap, 9), S)
    joined = join(first, second, overlap)
    np.testing.assert_allclose(joined.T_chunk_cam, whole.T_chunk_cam, atol=1e-5)
    np.testing.assert_allclose(joined.depth, whole.depth, rtol=1e-5)
    assert joined.confidence.shape == whole.confidence.shape
    assert len(joined.intrinsics) == 9


def test_parts_without_common_depth_are_joined_at_a_camera() -> None:
    whole = wall(4)
    first, second = cut(whole, range(3), Sim3.identity()), cut(whole, range(2, 4), Sim3.identity())
    second.depth[0] = 0
    np.testing.assert_allclose(join(first, second, 1).T_chunk_cam, whole.T_chunk_cam, atol=1e-9)
