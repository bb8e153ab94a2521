"""A camera that turns about and hardly moves keeps its scale, and says that it did not measure it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.motion.values import MotionConfig
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, turned
from scal3r_ros.reconstruction.geometric.window.adjustment import adjust_window
from scal3r_ros.reconstruction.geometric.window.depth_prior import expected_depth, need_of_prior
from scal3r_ros.reconstruction.geometric.window.fixed_lag import FixedLagWindow, LagConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Features, Frame

CAMERA = Intrinsics(500.0, 500.0, 320.0, 240.0, 640, 480)
SIZE, SHARED = 12, 5
SIGMA = 0.5 / 500.0


def about(count: int, seed: int) -> np.ndarray:
    """A camera held in the hand: turned by up to 25° in every direction, moved by centimetres."""
    rng, time = np.random.default_rng(seed), np.arange(count)
    waves = [np.sin(2 * np.pi * time / period + rng.uniform(0, 6)) for period in (37.0, 31.0, 43.0, 29.0, 47.0, 53.0)]
    turns = np.deg2rad(25.0) * np.stack([waves[0], waves[1], 0.5 * waves[2]], axis=1)
    way = 0.04 * np.stack(waves[3:], axis=1)
    way[:, 0] += 0.03 * np.minimum(time, SIZE)  # the first chunk is measured
    return np.stack([se3.se3(R, t) for R, t in zip(Rotation.from_rotvec(turns).as_matrix(), way, strict=True)])


def tracks(T: np.ndarray, points: int, seed: int) -> TrackTable:
    """Points 1 to 3 m ahead, followed for as long as they are in view."""
    rng = np.random.default_rng(seed)
    there = np.column_stack([rng.uniform(-1.4, 1.4, (points, 2)), np.ones(points)])
    there *= (rng.uniform(1.0, 3.0, points) / np.linalg.norm(there, axis=1))[:, None]
    return followed(T, there, rng)


def followed(T: np.ndarray, there: np.ndarray, rng: np.random.Generator) -> TrackTable:
    """Points (n, 3) followed for as long as they are in view; tracks creep and are half a pixel off."""
    rows, number = [], 0
    for point in there:
        local = np.einsum("sji,sj->si", T[:, :3, :3], point - T[:, :3, 3])
        xy = local[:, :2] / np.maximum(local[:, 2:], 1e-9)
        seen = (local[:, 2] > 0.2) & (np.abs(xy) < [0.62, 0.47]).all(axis=1)
        creep = np.zeros(2)
        for frame in range(len(T)):
            if not seen[frame]:
                continue
            if not seen[frame - 1] or frame == 0:
                number, creep = number + 1, np.zeros(2)
            rows.append((number, frame, *(xy[frame] + creep + rng.normal(0, 0.4 / 500.0, 2))))
            creep = creep + rng.normal(0, 0.5 / 500.0, 2)
    table = np.array(rows)
    ids, track = np.unique(table[:, 0].astype(np.int64), return_inverse=True)
    return TrackTable(ids, track, table[:, 1].astype(np.int64), table[:, 2:])


def chunks_of(table: TrackTable, frames: int) -> list[Chunk]:
    seen = []
    for number in range(frames):
        rows = table.frame == number
        features = Features(table.ids[table.track[rows]], CAMERA.pixels_of(table.xy[rows]).astype(np.float32))
        seen.append(Frame(number, number, np.zeros((4, 6, 3), np.uint8), CAMERA, features))
    starts = range(0, frames - SIZE + 1, SIZE - SHARED)
    return [Chunk(k, tuple(seen[first : first + SIZE]), SHARED if k else 0) for k, first in enumerate(starts)]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_scale_of_a_camera_that_turns_and_hardly_moves_does_not_collapse(seed: int) -> None:
    T = about(124, seed)
    chunks, window = chunks_of(tracks(T, 700, seed), len(T)), FixedLagWindow(LagConfig(), MotionConfig())
    near, healths, at_first = [], [], 1.0
    for chunk in chunks:
        features = [frame.features for frame in chunk.frames if frame.features is not None]
        found = window.estimate(chunk, features, CAMERA, None, 1.0)
        depth = np.median(np.linalg.norm(found.motion.points, axis=1))
        at_first = at_first if near else float(depth)
        near.append(depth / at_first)
        healths.append(found.motion.health)
        assert near[-1] > 0
    assert 0.4 < near[-1] < 3.0
    assert ChunkHealth.DEGRADED in healths


def panned(count: int, seed: int) -> np.ndarray:
    """A camera that is panned by 75° from the hand, and moves by centimetres."""
    rng, time = np.random.default_rng(seed), np.arange(count)
    yaw = np.deg2rad(75.0) * (np.clip(time - SIZE, 0, None) / (count - SIZE) - 0.5)
    way = 0.04 * np.stack([np.sin(2 * np.pi * time / p + rng.uniform(0, 6)) for p in (29.0, 47.0, 53.0)], axis=1)
    way[:, 0] += 0.03 * np.minimum(time, SIZE)  # the first chunk is measured
    R = Rotation.from_euler("y", yaw[:, None]).as_matrix()
    return np.stack([se3.se3(R_of, t) for R_of, t in zip(R, way, strict=True)])


def around(points: int, seed: int) -> np.ndarray:
    """Points (n, 3) about 3 m away to the left, 1 m to the right, and between in between."""
    rng = np.random.default_rng(seed)
    azimuth, elevation = rng.uniform(-1.3, 1.3, points), rng.uniform(-0.5, 0.5, points)
    distance = 3.0 * (1.0 / 3.0) ** np.clip((azimuth + 0.6) / 1.2, 0.0, 1.0) * rng.uniform(0.8, 1.25, points)
    ray = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    return np.stack(ray, axis=1) * distance[:, None]


@pytest.mark.parametrize("seed", [1, 2])
def test_what_comes_into_view_may_be_nearer_than_what_was_there(seed: int) -> None:
    T, there = panned(124, seed), around(900, seed)
    chunks = chunks_of(followed(T, there, np.random.default_rng(seed + 100)), len(T))
    window, far = FixedLagWindow(LagConfig(), MotionConfig()), []
    for chunk in chunks:
        features = [frame.features for frame in chunk.frames if frame.features is not None]
        found = window.estimate(chunk, features, CAMERA, None, 1.0)
        pose = T[chunk.frames[0].index]
        local = (there - pose[:3, 3]) @ pose[:3, :3]
        ahead = local[(local[:, 2] > 0.2) & (np.abs(local[:, :2]) < [0.6, 0.45] * local[:, 2:]).all(axis=1)]
        far.append(np.median(np.linalg.norm(found.motion.points, axis=1)) / np.median(np.linalg.norm(ahead, axis=1)))
    assert 0.4 < far[-1] / far[0] < 2.5


def test_only_a_camera_that_turns_more_than_it_moves_needs_an_expected_depth(world: Any, drive: Any) -> None:
    driven = world(drive(20), points=400)
    assert need_of_prior(driven.table, driven.T_ref_cam, SIGMA) == 0.0
    T = about(40, 0)[20:]
    table = tracks(T, 300, 0)
    assert need_of_prior(table, T, SIGMA) > 0.9
    assert np.rad2deg(turned(table, T).max()) > 20.0


def test_without_parallax_points_come_out_where_they_are_expected_and_with_it_where_they_are(
    world: Any, drive: Any
) -> None:
    T = drive(8)
    still = np.tile(T[:1], (8, 1, 1))
    for cameras, expected_where in ((T, False), (still, True)):
        given = world(cameras, points=200)
        known = np.zeros(len(given.points), bool)
        known[::4] = True
        expected = expected_depth(given.table, cameras, given.points, known, 1.0, SIGMA)
        inverse = np.median(1.0 / given.points[known, 2])
        assert expected.known[given.table.lengths() >= 3].all()
        np.testing.assert_allclose(expected.inverse_depth[:, 0], inverse)
        wrong = expected.points + 0.3 * (expected.points - cameras[0, :3, 3]) * ~known[:, None]
        found = adjust_window(
            given.table, cameras, wrong, np.arange(8) == 7, 0.0, sigma=SIGMA, max_iterations=60,
            expected=expected.inverse_depth,
        )  # fmt: skip
        first = given.table.frame[np.searchsorted(given.table.track, np.arange(len(known)))]
        depth = np.einsum("nj,nj->n", cameras[first, :3, 2], found.points - cameras[first, :3, 3])
        if expected_where:
            np.testing.assert_allclose(1.0 / depth, inverse, rtol=0.01)
        else:
            near = given.points[:, 2] < 15.0
            np.testing.assert_allclose(found.points[near], given.points[near], rtol=0.1, atol=0.2)
