"""What a turn of the camera explains is no parallax; what a step shows is."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.features.parallax import parallax
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Features

CAMERA = Intrinsics(500.0, 500.0, 319.5, 239.5, 640, 480)
POINTS = np.random.default_rng(3).uniform([-2, -1.5, 2], [2, 1.5, 6], (200, 3))


def seen(T_ref_cam: np.ndarray, points: np.ndarray = POINTS) -> Features:
    at = (points - T_ref_cam[:3, 3]) @ T_ref_cam[:3, :3]
    uv = CAMERA.pixels_of(at[:, :2] / at[:, 2:])
    return Features(np.arange(len(points)), uv.astype(np.float32))


def test_a_turn_shows_none() -> None:
    turned = se3.se3(se3.rotation_exp([0.02, 0.2, 0.05]), np.zeros(3))
    assert parallax(seen(np.eye(4)), seen(turned), CAMERA) < 0.01


def test_a_turning_step_shows_what_the_step_alone_shows() -> None:
    step = np.array([0.05, 0.02, 0.3])
    stepped, both = (se3.se3(R, step) for R in (np.eye(3), se3.rotation_exp([0.02, 0.15, 0.05])))
    alone = parallax(seen(np.eye(4)), seen(stepped), CAMERA)
    assert alone > 3.0
    assert parallax(seen(np.eye(4)), seen(both), CAMERA) == pytest.approx(alone, rel=0.2)


def test_a_fifth_of_wrong_tracks_changes_little() -> None:
    turned = seen(se3.se3(se3.rotation_exp([0.0, 0.2, 0.0]), np.zeros(3)))
    uv = turned.uv.copy()
    uv[::5] += np.random.default_rng(4).uniform(-200, 200, uv[::5].shape).astype(np.float32)
    assert parallax(seen(np.eye(4)), Features(turned.ids, uv), CAMERA) < 1.0


def test_nothing_in_common_is_infinite() -> None:
    some = seen(np.eye(4))
    assert parallax(some, Features(some.ids + 1000, some.uv), CAMERA) == float("inf")
