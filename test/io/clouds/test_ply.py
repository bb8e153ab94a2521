from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from scal3r_ros.errors import EvaluationError
from scal3r_ros.io.clouds.ply import GREY, read_ply

POINTS = np.random.default_rng(0).normal(size=(100, 3))
COLOURS = np.random.default_rng(1).integers(0, 256, (100, 3), np.uint8)


def write(path: Path, header: str, rows: bytes) -> Path:
    path.write_bytes(f"ply\nformat binary_little_endian 1.0\n{header}end_header\n".encode() + rows)
    return path


def test_clouds_of_another_writer_are_read_exactly(tmp_path: Path) -> None:
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(POINTS))
    cloud.colors = o3d.utility.Vector3dVector(COLOURS / 255)
    o3d.io.write_point_cloud(tmp_path / "cloud.ply", cloud)
    read = read_ply(tmp_path / "cloud.ply")
    np.testing.assert_array_equal(read.points, POINTS)
    np.testing.assert_array_equal(read.colours, COLOURS)


def test_single_precision_without_colour_is_grey(tmp_path: Path) -> None:
    header = "comment no colour\nelement vertex 100\nproperty float x\nproperty float y\nproperty float z\n"
    read = read_ply(write(tmp_path / "cloud.ply", header, POINTS.astype("<f4").tobytes()))
    np.testing.assert_array_equal(read.points, POINTS.astype(np.float32))
    assert np.all(read.colours == GREY)


def test_points_that_are_not_finite_are_one_clear_error(tmp_path: Path) -> None:
    header = "element vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    with pytest.raises(EvaluationError, match="not finite"):
        read_ply(write(tmp_path / "cloud.ply", header, np.array([0.0, np.nan, 0.0], "<f4").tobytes()))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "element face 3\n",
        "element vertex many\n",
        "element vertex 1\nproperty float x\n",
        "element vertex 1\nproperty list uchar int x\n",
    ],
)
def test_other_headers_are_one_clear_error(tmp_path: Path, header: str) -> None:
    with pytest.raises(EvaluationError, match="is no binary little-endian PLY file of points"):
        read_ply(write(tmp_path / "cloud.ply", header, b"\0" * 100))
