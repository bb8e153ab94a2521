"""COLMAP's conventions by its own formula, and its own library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject_pixels, project
from scal3r_ros.io.clouds.length_unit import LengthUnit
from scal3r_ros.io.exports.colmap import colmap_bytes
from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.reconstruction.protocol import TrackedPoints

RNG = np.random.default_rng(0)
CLOUD = PointCloud(RNG.normal(0, 5, (500, 3)).astype(np.float32), RNG.integers(0, 256, (500, 3), dtype=np.uint8))
POSES = np.stack([se3.se3(se3.rotation_exp(RNG.normal(size=3)), RNG.normal(0, 4, 3)) for _ in range(4)])
CAMERA = Intrinsics(300.0, 310.0, 159.5, 119.0, 320, 240)
OTHER = Intrinsics(200.0, 200.0, 50.0, 40.0, 100, 80)


def test_colmap_projects_a_point_to_where_we_see_it() -> None:
    names = [f"{number}.png" for number in range(4)]
    model = colmap_bytes(POSES, [CAMERA, CAMERA, OTHER, CAMERA], names, CLOUD)

    def rows(name: str) -> list[list[str]]:
        return [line.split() for line in model[name].decode().splitlines() if line and line[0] != "#"]

    cameras = {row[0]: [float(value) for value in row[2:]] for row in rows("cameras.txt")}
    assert [row[1] for row in rows("cameras.txt")] == ["PINHOLE", "PINHOLE"]
    assert [row[9] for row in rows("images.txt")] == names
    for row, T_map_cam, camera in zip(rows("images.txt"), POSES, [CAMERA, CAMERA, OTHER, CAMERA], strict=True):
        uv = np.array([12.0, 34.0])
        p_map = T_map_cam[:3, :3] @ backproject_pixels(uv[None], np.array([7.0]), camera)[0] + T_map_cam[:3, 3]
        w, x, y, z = (float(value) for value in row[1:5])
        R = se3.rotation_from_quat_xyzw(np.array([x, y, z, w]))
        local = R @ p_map + [float(value) for value in row[5:8]]
        width, height, fx, fy, cx, cy = cameras[row[8]]
        assert (width, height) == (camera.width, camera.height)
        seen = np.array([fx, fy]) * local[:2] / local[2] + [cx, cy]
        np.testing.assert_allclose(seen, uv + 0.5, atol=1e-6)  # COLMAP's pixel (0, 0) is centred on (0.5, 0.5)
    points = np.array(rows("points3D.txt"), np.float64)
    np.testing.assert_allclose(points[:, 1:4], CLOUD.points, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(points[:, 4:7], CLOUD.colours)
    lines = [line for line in model["images.txt"].decode().splitlines() if line[:1] != "#"]
    assert lines[1::2] == [""] * 4  # no image points


def test_the_unit_of_positions_stands_in_comments() -> None:
    for unit, sentence in ((LengthUnit(), "not in metres"), (LengthUnit.metre(["gnss"]), "in metres, by gnss")):
        model = colmap_bytes(POSES, [CAMERA] * 4, [f"{number}.png" for number in range(4)], CLOUD, unit)
        for name in ("images.txt", "points3D.txt"):
            assert sentence in model[name].decode().splitlines()[0]


def test_pycolmap_projects_tracked_points_to_where_they_were_seen(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    T = np.stack([se3.se3(np.eye(3), [0.3 * number, 0.0, 0.0]) for number in range(4)])
    points = np.column_stack([RNG.uniform(-2, 2, (30, 2)), RNG.uniform(6, 9, 30)])
    point, view = (part.ravel() for part in np.meshgrid(np.arange(30), np.arange(4), indexing="ij"))
    uv = np.stack([project(points[p] - T[v, :3, 3], CAMERA)[0] for p, v in zip(point, view, strict=True)])
    shift = 0.25  # pixels to the right, in every image alike
    tracked = TrackedPoints(
        points, CLOUD.colours[:30], np.full(30, shift), point, view, (uv + np.array([shift, 0])).astype(np.float32)
    )
    names = [f"{number}.png" for number in range(4)]
    for name, content in colmap_bytes(T, [CAMERA] * 4, names, tracked).items():
        (tmp_path / name).write_bytes(content)
    model = pycolmap.Reconstruction(tmp_path)
    assert (model.num_reg_images(), model.num_points3D(), model.compute_num_observations()) == (4, 30, 120)
    assert model.compute_mean_reprojection_error() == pytest.approx(shift, abs=1e-4)
    model.update_point_3d_errors()  # by its own projection
    assert model.compute_mean_reprojection_error() == pytest.approx(shift, abs=1e-3)
    assert sorted(image.name for image in model.images.values()) == names
