"""Plane sweep on planes whose depth is known at every pixel, compiled and in torch, and where its planes lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.plane_sweep import (
    PlaneSweepConfig,
    View,
    depth_size,
    epipolar,
    inverse_planes,
    parallax,
    sweep,
)
from scal3r_ros.reconstruction.geometric.stereo.on_device import swept_on_device

CAMERA = Intrinsics(140.0, 140.0, 79.5, 39.5, 160, 80)
CONFIG = PlaneSweepConfig(planes=48)
SIDEWAYS = (-0.6, 0.6)
CPU = torch.device("cpu")
PLANES = np.linspace(1 / 40.0, 1 / 2.0, CONFIG.planes).astype(np.float32)


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A picture without edges or repetition, in grey levels, on a plane in metres."""
    rng = np.random.default_rng(8)
    waves = rng.normal(0, 6.0, (60, 2))
    phase = rng.uniform(0, 2 * np.pi, 60)
    return 9 * np.cos(x[..., None] * waves[:, 0] + y[..., None] * waves[:, 1] + phase).sum(axis=-1)


def view_of_plane(offset: float, near: float, slant: float) -> tuple[View, np.ndarray]:
    """The plane z = near + slant · x seen by a camera at x = `offset`, and its depth (h, w)."""
    v, u = np.mgrid[0:80, 0:160]
    ray_x, ray_y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    z = (near + slant * offset) / (1.0 - slant * ray_x)
    detail = pattern(offset + ray_x * z, ray_y * z).astype(np.float32)
    T = np.eye(4)
    T[0, 3] = offset
    return View(detail, detail + np.float32(127), CAMERA.K, T), z


def swept(near: float, slant: float = 0.0, config: PlaneSweepConfig = CONFIG) -> tuple[np.ndarray, np.ndarray]:
    """Estimated and true depth away from the border, where both sources see the plane."""
    reference, z = view_of_plane(0.0, near, slant)
    seen = epipolar(reference, [view_of_plane(offset, near, slant)[0] for offset in SIDEWAYS])
    inner = (slice(10, -10), slice(30, -30))
    return 1.0 / sweep(reference, seen, PLANES, config, CPU).inverse[inner], z[inner]


@pytest.mark.parametrize("near", [3.0, 5.0, 9.0])
def test_the_depth_of_a_plane_is_found(near: float) -> None:
    found, true = swept(near)
    error = np.abs(found / true - 1.0)
    assert np.median(error) < 0.02
    assert np.mean(error < 0.05) > 0.98


@pytest.mark.parametrize("slant", [-0.8, 0.4, 0.8])
def test_the_depth_of_a_slanted_plane_is_found(slant: float) -> None:
    found, true = swept(6.0, slant)
    error = np.abs(found / true - 1.0)
    assert np.median(error) < 0.02
    assert np.mean(error < 0.05) > 0.95


@pytest.mark.parametrize("window", [1, 3, 8])
def test_any_window_of_the_range_sweeps_a_plane(window: int) -> None:
    found, true = swept(8.0, config=replace(CONFIG, window=window))
    assert np.median(np.abs(found / true - 1.0)) < 0.03


def test_depths_between_planes_are_found_without_bias() -> None:
    step = PLANES[1] - PLANES[0]
    biases = []
    for part in np.linspace(0.0, 1.0, 9)[:-1]:
        inverse = PLANES[12] + part * step
        found, _ = swept(1.0 / inverse)
        biases.append(float(np.median((1.0 / found - inverse) / step)))
    assert abs(np.mean(biases)) < 0.05
    assert np.max(np.abs(biases)) < 0.2  # half a plane would be no interpolation at all


def test_one_source_is_enough_and_a_third_may_be_wrong() -> None:
    reference, z = view_of_plane(0.0, 5.0, 0.0)
    left, right = (view_of_plane(offset, 5.0, 0.0)[0] for offset in SIDEWAYS)
    hidden = replace(left, detail=np.zeros_like(left.detail))
    for sources in ([left], [left, right, hidden]):
        found = 1.0 / sweep(reference, epipolar(reference, sources), PLANES, CONFIG, CPU).inverse[10:-10, 40:-40]
        assert np.mean(np.abs(found / z[10:-10, 40:-40] - 1.0) < 0.05) > 0.95


def test_a_depth_beyond_the_range_has_a_hopeless_cost() -> None:
    reference, _ = view_of_plane(0.0, 3.0, 0.0)
    seen = epipolar(reference, [view_of_plane(0.6, 3.0, 0.0)[0]])
    planes = np.linspace(1 / 40.0, 1 / 6.0, 16).astype(np.float32)
    found = sweep(reference, seen, planes, replace(CONFIG, plane_step=0.0, depth_jump=0.0), CPU)
    assert (found.cost == 1.0).any()  # the last plane fits best: nothing says how far beyond it the truth lies
    assert float(found.cost.mean()) > 0.4


def test_torch_finds_the_depths_of_the_compiled_sweep() -> None:
    reference, _ = view_of_plane(0.0, 5.0, 0.6)
    hidden = replace(reference, detail=np.zeros_like(reference.detail))
    seen = epipolar(reference, [*(view_of_plane(offset, 5.0, 0.6)[0] for offset in SIDEWAYS), hidden])
    compiled = sweep(reference, seen, PLANES, CONFIG, CPU)
    inverse, cost = swept_on_device(
        reference.detail, reference.grey, seen.sources, seen.A, seen.b, PLANES, CONFIG.window, CONFIG.noise**2, 2,
        127 * CONFIG.plane_step, 127 * CONFIG.depth_jump, CONFIG.edge, CPU,
    )  # fmt: skip
    # A cost may be rounded the other way, of 127 steps: then sums of eight paths differ by a few.
    step = PLANES[1] - PLANES[0]
    assert np.mean(np.abs(inverse - compiled.inverse) < 0.1 * step) > 0.99
    assert np.mean(np.abs(cost - compiled.cost) < 0.02) > 0.99


def test_planes_reach_from_nearer_than_the_nearest_point_to_beyond_the_farthest() -> None:
    depths = np.random.default_rng(2).uniform(4.0, 30.0, 500)
    planes = inverse_planes(depths, 64)
    assert len(planes) == 64
    assert np.all(np.diff(planes) > 0)
    assert 1 / planes[-1] < 0.7 * depths.min()
    assert 1 / planes[0] > 4 * depths.max()


def test_planes_are_dense_where_points_are_and_nowhere_much_wider_than_even_ones() -> None:
    depths = np.concatenate([np.full(10, 2.0), np.random.default_rng(2).uniform(9.0, 11.0, 490)])
    planes = inverse_planes(depths, 64)
    gaps = np.diff(planes)
    even = (planes[-1] - planes[0]) / 63
    assert gaps[np.argmin(np.abs(planes[:-1] - 0.1))] < 0.5 * even
    assert gaps.max() < 2.1 * even


def test_planes_of_a_single_depth_are_still_ascending() -> None:
    planes = inverse_planes(np.array([5.0]), 16)
    assert np.all(np.diff(planes) > 0)
    assert planes[0] < 0.2 < planes[-1]


def test_parallax_is_the_angle_between_the_rays() -> None:
    left, right = view_of_plane(0.0, 5.0, 0.0)[0], view_of_plane(0.6, 5.0, 0.0)[0]
    angle = parallax(np.full((80, 160), 0.2, np.float32), epipolar(left, [right]), CAMERA.fx)
    assert float(angle[39, 80]) == pytest.approx(np.arctan2(0.6, 5.0), rel=0.02)
    assert not angle[:, 0].any()  # left of what the other camera sees


@pytest.mark.parametrize(("width", "expected"), [(160, (48, 160)), (4096, (376, 1241))])
def test_maps_keep_the_shape_of_the_image_and_are_never_larger(width: int, expected: tuple[int, int]) -> None:
    assert depth_size(Intrinsics(700.0, 700.0, 600.0, 180.0, 1241, 376), width) == expected
