"""Normals of depth maps, against planes whose normals are known."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject
from scal3r_ros.mapping.submaps.normals import normals_of

CAMERA = Intrinsics(90.0, 95.0, 40.0, 22.0, 80, 48)
RAYS = backproject(np.ones((48, 80)), CAMERA)


def plane_depth(normal: np.ndarray, distance: float) -> np.ndarray:
    """z-depth of the plane n · X = -distance, whose normal points to the camera."""
    return (-distance / (RAYS @ normal)).astype(np.float32)


@pytest.mark.parametrize("tilt", [[0, 0, -1], [0.5, 0.1, -1], [-0.3, -1.0, -1], [0.05, -1.0, -0.4]])
def test_normals_of_a_plane_are_the_planes(tilt: list[float]) -> None:
    normal = np.array(tilt) / np.linalg.norm(tilt)
    depth = plane_depth(normal, 4.0)
    depth[(depth < 0) | (depth > 60)] = 0.0
    depth[10:14, 20:50] = 0.0  # holes do not bend it
    found = normals_of(depth, CAMERA)
    known = np.linalg.norm(found, axis=-1) > 0
    assert known[depth > 0].mean() > 0.9
    assert not known[depth == 0].any()
    assert np.degrees(np.arccos(np.clip(found[known] @ normal, -1, 1))).max() < 0.5


def test_an_edge_between_two_surfaces_is_not_rounded() -> None:
    depth = np.full((48, 80), 10.0, np.float32)
    depth[:, :40] = 5.0
    np.testing.assert_allclose(normals_of(depth, CAMERA)[:, 5:-5], np.broadcast_to([0, 0, -1], (48, 70, 3)), atol=1e-3)


def test_noise_of_depth_is_averaged() -> None:
    normal = np.array([0.3, -0.5, -1.0]) / np.linalg.norm([0.3, -0.5, -1.0])
    depth = plane_depth(normal, 4.0)
    depth *= 1 + 0.002 * np.random.default_rng(0).normal(size=depth.shape).astype(np.float32)
    angle = np.degrees(np.arccos(np.clip(normals_of(depth, CAMERA)[4:-4, 4:-4] @ normal, -1, 1)))
    assert np.median(angle) < 4.0
