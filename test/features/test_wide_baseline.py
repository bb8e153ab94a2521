"""Tracks found again where Lucas–Kanade from image to image cannot: by local features, and by a predicted rotation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scal3r_ros.features.klt import KltConfig, KltTracker
from scal3r_ros.features.wide_baseline import View, found_by_features, found_by_rotation, homography
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Features

CAMERA = Intrinsics(210.0, 210.0, 159.5, 119.5, 320, 240)
NOTHING = Features(np.empty(0, np.int64), np.empty((0, 2), np.float32))


def far_away(R_world_cam: np.ndarray, seed: int = 0) -> np.ndarray:
    """What a camera at the origin sees (240, 320, 3) of a textured sphere at infinity."""
    v, u = np.mgrid[0:240, 0:320]
    rays = (
        np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1) @ R_world_cam.T
    )
    longitude, latitude = (
        np.arctan2(rays[..., 0], rays[..., 2]),
        np.arctan2(rays[..., 1], np.hypot(rays[..., 0], rays[..., 2])),
    )
    texture = np.zeros((700, 1200), np.float32)
    rng = np.random.default_rng(seed)
    for size in (60, 120, 300):
        coarse = rng.normal(0, 1, (size * 7 // 12, size)).astype(np.float32)
        texture += cv2.resize(coarse, (1200, 700), interpolation=cv2.INTER_CUBIC)
    x, y = (600 + 250 * longitude).astype(np.float32), (350 + 250 * latitude).astype(np.float32)
    levels = cv2.remap(np.clip(128 + 35 * texture, 0, 255), x, y, cv2.INTER_LINEAR)
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)


def seen_at(R: np.ndarray) -> View:
    image = far_away(R)
    return View(image[..., 0], KltTracker(KltConfig(cell=60)).track(image))


def now_at(R: np.ndarray, seed: int = 0) -> View:
    return View(far_away(R, seed)[..., 0], NOTHING)


def moved_by(R_now_view: np.ndarray, view: View) -> np.ndarray:
    """Where a rotation takes the points (n, 2) of a view."""
    rays = np.concatenate([CAMERA.on_unit_plane(view.features.uv), np.ones((len(view.features.uv), 1))], axis=1)
    turned = rays @ R_now_view.T
    return CAMERA.pixels_of(turned[:, :2] / turned[:, 2:])


TURNS = [(0.0, 20.0, 0.0), (20.0, 0.0, 0.0), (0.0, 0.0, 40.0), (8.0, -18.0, 10.0)]


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("predicted", [False, True])
def test_tracks_are_found_again_after_a_quick_turn(degrees: tuple[float, float, float], predicted: bool) -> None:
    R = se3.rotation_exp(np.deg2rad(degrees))
    view, now = seen_at(np.eye(3)), now_at(R)
    found = found_by_rotation(view, now, R.T, CAMERA) if predicted else found_by_features(view, now)
    assert found is not None
    true = moved_by(R.T, view)
    inside = ((true > 10) & (true < [309, 229])).all(axis=1)
    assert len(found.ids) > 0.5 * inside.sum()
    row = np.searchsorted(view.features.ids, found.ids)
    error = np.linalg.norm(found.uv - true[row], axis=1)
    assert np.median(error) < 0.3
    assert np.percentile(error, 95) < 1.5


def test_nothing_is_found_in_another_place() -> None:
    view = seen_at(np.eye(3))
    assert found_by_features(view, now_at(np.eye(3), seed=1)) is None
    assert found_by_features(view, View(np.zeros((240, 320), np.uint8), NOTHING)) is None


def test_a_wrong_rotation_finds_nothing() -> None:
    view, R = seen_at(np.eye(3)), se3.rotation_exp(np.deg2rad([0.0, 20.0, 0.0]))
    assert found_by_rotation(view, now_at(R), np.eye(3), CAMERA) is None
    assert found_by_rotation(view, now_at(R), R, CAMERA) is None


def test_points_that_no_homography_explains_have_none() -> None:
    same = np.tile([[10.0, 10.0]], (30, 1))
    assert homography(same, same, 3.0) is None
    mirrored = np.random.default_rng(0).uniform(0, 300, (60, 2))
    assert homography(mirrored, mirrored * [-1.0, 1.0] + [300.0, 0.0], 3.0) is None
