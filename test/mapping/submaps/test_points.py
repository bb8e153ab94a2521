"""What a chunk gives the map and the tracker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.submaps.points import coloured_points, feature_points
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Features, Frame, Tracks

CAMERA = Intrinsics(80.0, 80.0, 63.5, 31.5, 128, 64)
SMALL = CAMERA.scaled(64, 32)


def wall(x: float) -> np.ndarray:
    return se3.se3(np.eye(3), [x, 0.0, 0.0])


@pytest.fixture
def chunk() -> Chunk:
    """Two views of a wall 4 ahead, red left of the middle of the image and blue right of it."""
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, :64, 0], image[:, 64:, 2] = 200, 200
    uv = np.array([[20.0, 30.0], [70.0, 12.0], [100.5, 50.25]], np.float32)
    frames = [
        Frame(i, i, image, CAMERA, Features(np.array([3, 5, 8 + i]), uv - np.float32([20.0 * i, 0.0]))) for i in (0, 1)
    ]
    return Chunk(0, tuple(frames), 0)


@pytest.fixture
def geometry() -> ChunkGeometry:
    return ChunkGeometry(
        T_chunk_cam=np.stack([wall(0.0), wall(1.0)]),
        intrinsics=(SMALL, SMALL),
        depth=np.full((2, 32, 64), 4.0, np.float32),
        confidence=np.full((2, 32, 64), 0.9, np.float32),
    )


def test_points_lie_where_the_depth_says_in_the_colours_of_the_image(chunk: Chunk, geometry: ChunkGeometry) -> None:
    cloud = coloured_points(chunk, geometry, 0.5)
    points, colours, weights = cloud.points, cloud.colours, cloud.weights
    assert len(points) == len(colours) == len(weights) == 2 * 32 * 64
    assert (points.dtype, colours.dtype, weights.dtype) == (np.float32, np.uint8, np.float32)
    np.testing.assert_allclose(points[:, 2], 4.0)
    first = slice(0, 32 * 64)
    assert np.all(colours[first][points[first, 0] < -0.1] == [200, 0, 0])
    assert np.all(colours[first][points[first, 0] > 0.1] == [0, 0, 200])
    np.testing.assert_allclose(points[32 * 64 :] - points[first], np.tile([1.0, 0.0, 0.0], (32 * 64, 1)), atol=1e-5)


def test_only_confident_finite_depth_of_the_new_frames_counts(chunk: Chunk, geometry: ChunkGeometry) -> None:
    geometry.confidence[1] = 0.0
    geometry.confidence[1, :4] = 0.6
    geometry.depth[1, 0, :] = 0.0
    geometry.depth[1, 1, :] = np.inf
    geometry.depth[1, 2, :] = np.nan
    second, none = replace(chunk, shared=1), replace(chunk, shared=2)
    points = coloured_points(second, geometry, 0.5).points
    assert len(points) == 64
    assert np.isfinite(points).all()
    assert len(coloured_points(second, geometry, 0.7).points) == 0
    assert len(coloured_points(second, geometry, 0.0).points) == 64  # 0 is never confident
    assert len(coloured_points(none, geometry, 0.5).points) == 0


def test_near_points_weigh_more(chunk: Chunk, geometry: ChunkGeometry) -> None:
    geometry.depth[0] = 2.0
    weights = coloured_points(chunk, geometry, 0.5).weights
    assert weights[: 32 * 64].mean() == pytest.approx(4.0 * weights[32 * 64 :].mean(), rel=1e-5)


def test_the_reconstructors_own_tracks_come_first(chunk: Chunk, geometry: ChunkGeometry) -> None:
    tracks = Tracks(np.array([3, 9]), np.ones((2, 3)), np.ones(2, np.float32))
    ids, points = feature_points(chunk, replace(geometry, tracks=tracks), 0.5)
    assert ids is tracks.ids
    assert points is tracks.points_chunk


def test_without_tracks_features_get_the_depth_at_their_newest_sight(chunk: Chunk, geometry: ChunkGeometry) -> None:
    ids, points = feature_points(chunk, geometry, 0.5)
    assert ids.tolist() == [3, 5, 8, 9]
    np.testing.assert_allclose(points[:, 2], 4.0)
    features = chunk.frames[1].features
    assert features is not None
    expected = (features.uv - [CAMERA.cx, CAMERA.cy]) / CAMERA.fx * 4.0 + [1.0, 0.0]
    np.testing.assert_allclose(points[[0, 1, 3], :2], expected, atol=1e-5)


def test_features_without_confident_depth_get_no_point(chunk: Chunk, geometry: ChunkGeometry) -> None:
    geometry.confidence[:] = 0.0
    ids, points = feature_points(chunk, geometry, 0.0)
    assert len(ids) == len(points) == 0
    bare = replace(chunk, frames=tuple(replace(frame, features=None) for frame in chunk.frames))
    assert len(feature_points(bare, geometry, 0.5)[0]) == 0
