"""Covariances of poses at camera rate: they grow with the way beyond the submap, and say what is not corrected yet."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.frontend.pose_covariance import pose_covariance
from scal3r_ros.mapping.frontend.tracker import Tracked
from scal3r_ros.mapping.submaps.submap import PlacedSubmap
from scal3r_ros.mapping.values import PoseSource
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

CAMERA = Intrinsics(10.0, 10.0, 1.5, 0.5, 4, 2)
OWN = np.diag([1e-4] * 3 + [1e-6] * 3)
SIGMAS = np.array([0.05] * 3 + [0.002] * 3 + [0.01])
GROWTH = np.diag([1e-3] * 3 + [1e-6] * 3 + [1e-4])


@pytest.fixture
def submap() -> PlacedSubmap:
    """Two cameras 4 units apart, in a submap whose unit is twice that of `odom`."""
    T = np.tile(np.eye(4), (2, 1, 1))
    T[1, 2, 3] = 4.0
    frames = tuple(Frame(k, k, np.zeros((2, 4, 3), np.uint8), CAMERA) for k in (0, 1))
    depth = np.ones((2, 2, 4), np.float32)
    geometry = ChunkGeometry(T, (CAMERA, CAMERA), depth, depth)
    return PlacedSubmap(3, Sim3(2.0, np.eye(3), np.zeros(3)), Chunk(3, frames, 0), geometry, np.diag(SIGMAS**2), GROWTH)


def at(z: float, source: PoseSource = PoseSource.TRACKED) -> Tracked:
    return Tracked(se3.se3(np.eye(3), [0.0, 0.0, z]), OWN, source)


def test_a_camera_has_the_errors_of_its_submap(submap: PlacedSubmap) -> None:
    covariance, scale_sigma = pose_covariance(submap, at(8.0), np.eye(4))
    assert scale_sigma == pytest.approx(0.01)
    along = (2 * 0.05) ** 2 + (8.0 * 0.01) ** 2 + 1e-4
    across = (2 * 0.05) ** 2 + (8.0 * 0.002) ** 2 + 1e-4
    np.testing.assert_allclose(np.diag(covariance), [across, across, along] + [0.002**2 + 1e-6] * 3, rtol=1e-9)


def test_it_grows_with_the_way_beyond_the_submap(submap: PlacedSubmap) -> None:
    near, far = (pose_covariance(submap, at(z), np.eye(4)) for z in (8.0, 16.0))
    assert far[1] ** 2 == pytest.approx(0.01**2 + 4.0 * 1e-4)
    assert (np.diag(far[0]) > np.diag(near[0])).all()
    inside = pose_covariance(submap, at(2.0, PoseSource.CHUNK), np.eye(4))
    assert inside[1] == pytest.approx(0.01)


def test_what_is_not_corrected_yet_is_part_of_it(submap: PlacedSubmap) -> None:
    corrected, smooth = (
        pose_covariance(submap, at(8.0), se3.se3(np.eye(3), offset))[0] for offset in ([0.0] * 3, [0.3, 0.0, 0.4])
    )
    np.testing.assert_allclose((smooth - corrected)[:3, :3], np.outer([0.3, 0.0, 0.4], [0.3, 0.0, 0.4]), atol=1e-12)
