"""Poses at camera rate against the truth, from points given and points found on the way."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.features.klt import KltTracker
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.frontend.tracker import PoseTracker, TrackerConfig
from scal3r_ros.mapping.values import PoseSource
from scal3r_ros.reconstruction.protocol import Features

CAMERA = Intrinsics(300.0, 300.0, 319.5, 159.5, 640, 320)
WORLD = np.random.default_rng(0).uniform([-15, -5, 3], [15, 5, 90], (3000, 3))


def at(number: float) -> np.ndarray:
    """A camera that drives 0.5 a frame and sways."""
    return se3.se3(
        se3.rotation_exp([0.0, 0.03 * np.sin(0.3 * number), 0.0]), [0.2 * np.sin(0.2 * number), 0.0, 0.5 * number]
    )


def look(T: np.ndarray, noise: float = 0.0, seed: int = 0) -> Features:
    local = (WORLD - T[:3, 3]) @ T[:3, :3]
    uv = local[:, :2] / np.maximum(local[:, 2:], 1e-9) * 300.0 + [319.5, 159.5]
    seen = (local[:, 2] > 1.0) & (local[:, 2] < 40.0) & (uv >= 0).all(axis=1) & (uv[:, 0] < 639) & (uv[:, 1] < 319)
    uv = uv + np.random.default_rng(seed).normal(0, noise, uv.shape)
    return Features(np.flatnonzero(seen).astype(np.int64), uv[seen].astype(np.float32))


def started() -> PoseTracker:
    """A tracker that knows the points in view of frame 0."""
    tracker = PoseTracker(TrackerConfig())
    ids = look(at(0)).ids
    tracker.start_from(ids, WORLD[ids], at(0), at(-1))
    return tracker


def error(T: np.ndarray, number: float) -> float:
    return float(np.linalg.norm(T[:3, 3] - at(number)[:3, 3]))


def test_a_drive_is_followed_over_new_points() -> None:
    tracker = started()
    for number in range(1, 61):  # 30 units: none of the first points is still in view
        tracked = tracker.pose(look(at(number), 0.3, number), CAMERA)
        assert tracked.source is PoseSource.TRACKED
    assert error(tracked.T_ref_cam, 60) < 1.5
    assert not set(look(at(60)).ids) & set(look(at(0)).ids[WORLD[look(at(0)).ids, 2] < 25])


def test_covariances_are_symmetric_and_positive_definite() -> None:
    tracker = started()
    for number in range(1, 10):
        features = look(at(number), 0.3, number)
        if number in (5, 6):
            features = Features(features.ids[:3], features.uv[:3])
        covariance = tracker.pose(features, CAMERA).covariance
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-6, atol=1e-15)
        assert np.linalg.eigvalsh((covariance + covariance.T) / 2).min() > 0


def test_without_points_the_speed_is_carried_on_and_the_uncertainty_shows_it() -> None:
    tracker = started()
    known = [tracker.pose(look(at(number)), CAMERA) for number in range(1, 4)]
    nothing = Features(np.empty(0, np.int64), np.empty((0, 2), np.float32))
    lost = tracker.pose(nothing, CAMERA)
    assert lost.source is PoseSource.EXTRAPOLATED
    assert error(lost.T_ref_cam, 4) < 0.1
    assert np.trace(lost.covariance) > 10 * np.trace(known[-1].covariance)


def test_points_in_view_are_found_again_after_an_outage_too_short_to_lose_them() -> None:
    tracker = started()
    few = look(at(1))
    tracker.pose(Features(few.ids[:5], few.uv[:5]), CAMERA)
    ids = look(at(2)).ids
    tracker.start_from(ids, WORLD[ids], at(1), at(0))
    assert tracker.pose(look(at(2)), CAMERA).source is PoseSource.TRACKED


def test_outliers_are_dropped_and_do_not_move_the_pose() -> None:
    tracker = started()
    features = look(at(1))
    uv = features.uv.copy()
    uv[::4] += 25.0
    tracked = tracker.pose(Features(features.ids, uv), CAMERA)
    assert error(tracked.T_ref_cam, 1) < 0.02


def test_memory_is_bounded_by_the_features_in_view() -> None:
    tracker = started()
    for number in range(1, 120):
        features = look(at(number), 0.3, number)
        tracker.pose(features, CAMERA)
        assert len(tracker._ids) + len(tracker._firsts.ids) <= 2 * len(features.ids)
        assert np.all(np.diff(tracker._ids) > 0)
        assert np.all(np.diff(tracker._firsts.ids) > 0)


def test_a_standing_camera_finds_no_points_in_noise() -> None:
    tracker = PoseTracker(TrackerConfig())
    ids = look(at(0)).ids[::2]
    tracker.start_from(ids, WORLD[ids], at(0), at(0))
    for number in range(30):
        tracked = tracker.pose(look(at(0), 0.3, number), CAMERA)
    assert error(tracked.T_ref_cam, 0) < 0.05
    assert np.isin(tracker._ids, ids).mean() > 0.95


def test_equal_features_give_equal_bytes() -> None:
    runs = []
    for _ in range(2):
        tracker = started()
        runs.append([tracker.pose(look(at(n), 0.5, n), CAMERA).T_ref_cam.tobytes() for n in range(1, 8)])
    assert runs[0] == runs[1]


def test_normalised_points_are_on_the_unit_plane() -> None:
    features = Features(np.arange(2), np.float32([[319.5, 159.5], [619.5, 9.5]]))
    np.testing.assert_allclose(CAMERA.on_unit_plane(features.uv), [[0.0, 0.0], [1.0, -0.5]])


@pytest.mark.parametrize("size", [(40, 60), (40, 61)])
def test_the_follower_gives_every_frame_features(size: tuple[int, int]) -> None:
    follower = KltTracker(TrackerConfig().klt)
    image = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    first = follower.track(image)
    follower.reset()
    again = follower.track(image)
    assert len(first.ids) == len(again.ids) > 0
    assert again.ids.min() > first.ids.max()


def test_points_of_the_submap_are_taken_up_again_after_a_gap() -> None:
    tracker = started()
    nothing = Features(np.empty(0, np.int64), np.empty((0, 2), np.float32))
    assert tracker.pose(look(at(1)), CAMERA).source is PoseSource.TRACKED
    for _ in range(4):
        assert tracker.pose(nothing, CAMERA).source is PoseSource.EXTRAPOLATED
    tracked = tracker.pose(look(at(6)), CAMERA)
    assert tracked.source is PoseSource.TRACKED
    assert error(tracked.T_ref_cam, 6) < 0.02
