"""Packed clouds: the same points and colours within half a step, in a fraction of the bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest

from scal3r_ros.mapping.cloud.packed_cloud import STEPS, packed, unpacked
from scal3r_ros.mapping.values import PointCloud


def rows(cloud: PointCloud) -> np.ndarray:
    """Points and colours, in an order that rounding does not change."""
    return cloud.colours.astype(np.int64) @ [1 << 16, 1 << 8, 1]


@pytest.mark.parametrize("extent", [[0.0, 0.0, 0.0], [100.0, 0.0, 1e-3], [40.0, 90.0, 12.0]])
def test_points_come_back_within_half_a_step_with_their_colours(extent: list[float]) -> None:
    rng = np.random.default_rng(1)
    count = 5000
    colours = np.stack([np.arange(count) // 256, np.arange(count) % 256, np.full(count, 9)], axis=1).astype(np.uint8)
    points = (rng.uniform(-0.5, 0.5, (count, 3)) * extent + [3.0, -2.0, 50.0]).astype(np.float32)
    back = unpacked(packed(PointCloud(points, colours)))
    order = np.argsort(rows(back))
    np.testing.assert_array_equal(back.colours[order], colours)
    assert np.all(np.abs(back.points[order] - points) <= 0.5 * np.array(extent) / STEPS + 1e-5)


def test_an_empty_cloud_stays_empty() -> None:
    back = unpacked(packed(PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))))
    assert back.points.shape == back.colours.shape == (0, 3)


def test_a_surface_takes_less_than_half_of_its_bytes() -> None:
    rng = np.random.default_rng(2)
    xy = rng.uniform(0, 30, (20_000, 2))
    points = np.column_stack([xy, 0.02 * np.sin(xy[:, 0])]).astype(np.float32)
    cloud = PointCloud(points, np.full((len(points), 3), 120, np.uint8))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **packed(cloud))
    assert len(buffer.getvalue()) < 0.5 * (points.nbytes + cloud.colours.nbytes)
