from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest
from plyfile import PlyData, PlyElement

from scal3r_ros.errors import EvaluationError
from scal3r_ros.io.clouds.length_unit import LengthUnit
from scal3r_ros.io.clouds.ply import GREY, ply_bytes, read_ply
from scal3r_ros.mapping.values import PointCloud

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


@pytest.mark.parametrize(("text", "byte_order"), [(True, "="), (False, "<"), (False, ">")])
def test_text_and_both_byte_orders_are_read(tmp_path: Path, text: bool, byte_order: str) -> None:
    vertices = np.zeros(100, [("x", "f8"), ("y", "f8"), ("z", "f8")])
    for axis, name in enumerate("xyz"):
        vertices[name] = POINTS[:, axis]
    PlyData([PlyElement.describe(vertices, "vertex")], text=text, byte_order=byte_order).write(tmp_path / "cloud.ply")
    np.testing.assert_allclose(read_ply(tmp_path / "cloud.ply").points, POINTS, rtol=1e-6)


def test_bytes_are_a_header_and_fifteen_bytes_a_point(tmp_path: Path) -> None:
    content = ply_bytes(PointCloud(POINTS.astype(np.float32), COLOURS))
    properties = "".join(f"property float {name}\n" for name in "xyz")
    properties += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    points = POINTS.astype("<f4").view(np.uint8).reshape(100, 12)
    expected = write(
        tmp_path / "a.ply",
        f"comment {LengthUnit()}\nelement vertex 100\n{properties}",
        np.hstack([points, COLOURS]).tobytes(),
    )
    assert content == expected.read_bytes()


def test_a_map_in_metres_says_so_in_a_comment(tmp_path: Path) -> None:
    cloud = PointCloud(POINTS.astype(np.float32), COLOURS)
    (tmp_path / "a.ply").write_bytes(ply_bytes(cloud, LengthUnit.metre(["camera_height"])))
    assert PlyData.read(tmp_path / "a.ply").comments == ["coordinates are in metres, by camera_height"]


def test_a_file_that_is_cut_off_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cloud.ply").write_bytes(ply_bytes(PointCloud(POINTS.astype(np.float32), COLOURS))[:-20])
    with pytest.raises(EvaluationError, match="cut off"):
        read_ply(tmp_path / "cloud.ply")


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
    with pytest.raises(EvaluationError, match="is no PLY file of points"):
        read_ply(write(tmp_path / "cloud.ply", header, b"\0" * 100))


def test_confidence_and_submaps_are_read_back(tmp_path: Path) -> None:
    count = len(POINTS)
    sure, submaps = np.linspace(0.1, 0.9, count, dtype=np.float32), np.arange(count, dtype=np.int32)
    cloud = PointCloud(POINTS.astype(np.float32), COLOURS, confidence=sure, submaps=submaps)
    (tmp_path / "cloud.ply").write_bytes(ply_bytes(cloud))
    read = read_ply(tmp_path / "cloud.ply")
    assert read.confidence is not None
    np.testing.assert_array_equal(read.confidence, sure)
    np.testing.assert_array_equal(read.submaps, submaps)
    (tmp_path / "cloud.ply").write_bytes(ply_bytes(PointCloud(POINTS.astype(np.float32), COLOURS)))
    assert read_ply(tmp_path / "cloud.ply").submaps is None
