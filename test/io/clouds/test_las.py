"""LAS and LAZ, read back by laspy."""

from __future__ import annotations

import io

import laspy
import numpy as np
import pytest
from laspy.vlrs.known import WktCoordinateSystemVlr

from scal3r_ros.io.clouds.las import las_bytes
from scal3r_ros.io.clouds.length_unit import LengthUnit
from scal3r_ros.mapping.values import PointCloud

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (500, 3), np.uint8)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("extent", "step"), [(50.0, 1e-4), (5e5, 1e-3)])
def test_coordinates_and_colours_come_back(compressed: bool, extent: float, step: float) -> None:
    points = RNG.uniform(-extent, extent, (500, 3)).astype(np.float32)
    content = las_bytes(PointCloud(points, COLOURS), compressed)
    las = laspy.read(io.BytesIO(content))
    assert las.header.are_points_compressed == compressed
    assert np.abs(las.xyz - points).max() <= step / 2 + 1e-9
    np.testing.assert_array_equal(np.stack([las.red, las.green, las.blue], axis=1) // 257, COLOURS)
    np.testing.assert_allclose(las.header.maxs, points.max(axis=0), atol=step)


def test_metres_are_the_unit_of_the_coordinate_system_only_where_they_are_known() -> None:
    cloud = PointCloud(RNG.uniform(-5, 5, (500, 3)).astype(np.float32), COLOURS)
    for unit in (LengthUnit(), LengthUnit.metre(["wheel_odometry"])):
        header = laspy.read(io.BytesIO(las_bytes(cloud, True, unit))).header
        assert header.global_encoding.wkt  # which LAS 1.4 asks for with this point format
        systems = [vlr.string for vlr in header.vlrs if isinstance(vlr, WktCoordinateSystemVlr)]
        texts = [vlr.record_data for vlr in header.vlrs if vlr.record_id == 3]
        assert texts == [str(unit).encode()]
        assert ['UNIT["metre",1]' in system for system in systems] == [True] * unit.is_metre


def test_an_empty_cloud_is_a_file_without_points() -> None:
    empty = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    assert len(laspy.read(io.BytesIO(las_bytes(empty))).points) == 0
