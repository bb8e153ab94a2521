"""Open3D reads the clouds that are written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from scal3r_ros.io.clouds.pcd import pcd_bytes
from scal3r_ros.io.clouds.ply import ply_bytes
from scal3r_ros.mapping.values import PointCloud

RNG = np.random.default_rng(0)
CLOUD = PointCloud(RNG.normal(0, 5, (500, 3)).astype(np.float32), RNG.integers(0, 256, (500, 3), dtype=np.uint8))
EMPTY = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))


@pytest.mark.parametrize(("name", "write"), [("a.ply", ply_bytes), ("a.pcd", pcd_bytes)])
def test_open3d_reads_points_and_colours(tmp_path: Path, name: str, write) -> None:
    (tmp_path / name).write_bytes(write(CLOUD))
    read = o3d.io.read_point_cloud(str(tmp_path / name))
    np.testing.assert_allclose(np.asarray(read.points), CLOUD.points, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(read.colors) * 255, CLOUD.colours, atol=0.5)
    (tmp_path / name).write_bytes(write(EMPTY))
    assert len(o3d.io.read_point_cloud(str(tmp_path / name)).points) == 0
