"""Points of a drive whose poses are known, beside the true surfaces of the simulated street."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import nearest_pixels, project
from scal3r_ros.reconstruction.geometric.structure import StructureBuilder
from scal3r_ros.reconstruction.protocol import TrackedPoints
from scal3r_ros.simulation.simulate import SimulatedFrame

FRAMES = 16


@pytest.fixture(scope="module")
def points(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> TrackedPoints:
    builder = StructureBuilder()
    for frame in street_frames[:FRAMES]:
        builder.add(frame.image, street_camera, frame.T_ref_cam)
    return builder.points()


def test_points_lie_on_the_true_surfaces(
    points: TrackedPoints, street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    assert len(points.points) > 200
    ratios = []
    for view in range(FRAMES):
        frame = street_frames[view]
        seen = points.view == view
        T_cam_ref = se3.invert(frame.T_ref_cam)
        local = points.points[points.point[seen]] @ T_cam_ref[:3, :3].T + T_cam_ref[:3, 3]
        _, row, column = nearest_pixels(points.uv[seen], frame.depth_m.shape, frame.depth_m.shape)
        true = frame.depth_m[row, column]
        ratios.append((local[:, 2] / np.where(true > 0, true, np.nan))[true > 0])
    error = np.log(np.concatenate(ratios))
    assert np.median(np.abs(error)) < 0.07  # rays as near as 1° to each other, of an image 320 pixels wide
    assert abs(np.median(error)) < 0.05
    assert np.mean(np.abs(error) < 0.3) > 0.9


def test_errors_and_tracks_are_what_they_are_called(
    points: TrackedPoints, street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    total = np.zeros(len(points.points))
    for view in range(FRAMES):
        seen = points.view == view
        assert len(np.unique(points.point[seen])) == np.count_nonzero(seen)  # a view sees a point once
        T_cam_ref = se3.invert(street_frames[view].T_ref_cam)
        local = points.points[points.point[seen]] @ T_cam_ref[:3, :3].T + T_cam_ref[:3, 3]
        uv, _ = project(local, street_camera)
        np.add.at(total, points.point[seen], np.linalg.norm(uv - points.uv[seen], axis=1))
    counts = np.bincount(points.point, minlength=len(points.points))
    assert counts.min() >= 3
    np.testing.assert_allclose(points.error_px, total / counts, atol=1e-6)
    assert points.error_px.mean() < 0.5


def test_a_camera_that_stands_still_gives_no_points(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    builder = StructureBuilder()
    for _ in range(4):
        builder.add(street_frames[0].image, street_camera, street_frames[0].T_ref_cam)
    found = builder.points()
    assert len(found.points) == len(found.point) == 0
    assert len(StructureBuilder().points().points) == 0
