"""Plane sweep on planes whose depth is known at every pixel, and its parts against other ways to compute them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf

from scal3r_ros.configuration import parameters_of
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.plane_sweep import (
    PlaneSweepConfig,
    View,
    _box_mean,
    consistency,
    depth_size,
    normalised,
    parallax,
    sweep,
    textured,
)

CAMERA = Intrinsics(140.0, 140.0, 79.5, 39.5, 160, 80)
CONFIG = PlaneSweepConfig(planes=48)
SIDEWAYS = (-0.6, 0.6)


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A picture without edges or repetition, in grey levels, on a plane in metres."""
    rng = np.random.default_rng(8)
    waves = rng.normal(0, 6.0, (60, 2))
    phase = rng.uniform(0, 2 * np.pi, 60)
    return 127 + 9 * np.cos(x[..., None] * waves[:, 0] + y[..., None] * waves[:, 1] + phase).sum(axis=-1)


def view_of_plane(offset: float, near: float, slant: float) -> tuple[View, np.ndarray]:
    """The plane z = near + slant · x seen by a camera at x = `offset`, and its depth (h, w)."""
    v, u = np.mgrid[0:80, 0:160]
    ray_x, ray_y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    z = (near + slant * offset) / (1.0 - slant * ray_x)
    grey = torch.from_numpy(pattern(offset + ray_x * z, ray_y * z)).to(torch.float32)
    T = torch.eye(4)
    T[0, 3] = offset
    return View(normalised(grey), textured(grey, 3.0), torch.from_numpy(CAMERA.K).to(torch.float32), T), z


def swept(near: float, slant: float = 0.0, config: PlaneSweepConfig = CONFIG) -> tuple[np.ndarray, np.ndarray]:
    """Estimated and true depth away from the border, where both sources see the plane."""
    reference, z = view_of_plane(0.0, near, slant)
    sources = [view_of_plane(offset, near, slant)[0] for offset in SIDEWAYS]
    inner = (slice(10, -10), slice(30, -30))
    return sweep(reference, sources, 2.0, 40.0, config).depth.numpy()[inner], z[inner]


(SMOOTHING_RADIUS,) = (item for item in parameters_of(PlaneSweepConfig) if item.name == "smoothing_radius")


@pytest.mark.parametrize("radius", range(int(SMOOTHING_RADIUS.minimum), int(SMOOTHING_RADIUS.maximum) + 1))
def test_any_smoothing_radius_of_the_range_sweeps_a_plane(radius: int) -> None:
    depth, z = swept(8.0, config=replace(CONFIG, planes=24, smoothing_radius=radius))
    assert np.median(np.abs(depth / z - 1)) < 0.05


def test_box_mean_is_average_pooling() -> None:
    volume = torch.rand(3, 40, 57, generator=torch.Generator().manual_seed(1))
    for radius in range(1, 65):
        ours, padded = _box_mean(volume, radius), nnf.pad(volume, [radius] * 4)
        inside = nnf.avg_pool2d(nnf.pad(torch.ones_like(volume), [radius] * 4), 2 * radius + 1, 1)
        pooled = nnf.avg_pool2d(padded, 2 * radius + 1, 1) / inside
        torch.testing.assert_close(ours, pooled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("near", [3.0, 5.0, 9.0])
def test_the_depth_of_a_plane_is_found(near: float) -> None:
    found, true = swept(near)
    error = np.abs(found / true - 1.0)
    assert np.median(error) < 0.02
    assert np.mean(error < 0.05) > 0.95


@pytest.mark.parametrize("slant", [-0.8, 0.4, 0.8])
def test_the_depth_of_a_slanted_plane_is_found(slant: float) -> None:
    found, true = swept(6.0, slant)
    error = np.abs(found / true - 1.0)
    assert np.median(error) < 0.02
    assert np.mean(error < 0.05) > 0.9


def test_depths_between_planes_are_found_without_bias() -> None:
    step = (1 / 2.0 - 1 / 40.0) / (CONFIG.planes - 1)
    biases = []
    for part in np.linspace(0.0, 1.0, 9)[:-1]:
        inverse = 1 / 40.0 + (12 + part) * step
        found, _ = swept(1.0 / inverse)
        biases.append(float(np.median((1.0 / found - inverse) / step)))
    assert abs(np.mean(biases)) < 0.05
    assert np.max(np.abs(biases)) < 0.2  # half a plane would be no refinement at all


def test_more_planes_than_the_cache_holds_give_the_same_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = swept(5.0)
    monkeypatch.setattr("scal3r_ros.reconstruction.geometric.plane_sweep.CACHED_SAMPLES", 20_000)
    np.testing.assert_array_equal(swept(5.0)[0], whole)


def test_one_source_is_enough_and_a_third_may_be_wrong() -> None:
    reference, z = view_of_plane(0.0, 5.0, 0.0)
    left, right = (view_of_plane(offset, 5.0, 0.0)[0] for offset in SIDEWAYS)
    hidden = View(torch.zeros_like(left.feature), left.textured, left.K, left.T_ref_cam)
    for sources in ([left], [left, right, hidden]):
        found = sweep(reference, sources, 2.0, 40.0, CONFIG).depth.numpy()[10:-10, 40:-40]
        assert np.mean(np.abs(found / z[10:-10, 40:-40] - 1.0) < 0.05) > 0.9


def test_a_depth_beyond_the_range_has_a_hopeless_cost() -> None:
    reference, _ = view_of_plane(0.0, 3.0, 0.0)
    source, _ = view_of_plane(0.6, 3.0, 0.0)
    found = sweep(reference, [source], 6.0, 40.0, PlaneSweepConfig(planes=16, smoothing_rounds=0))
    assert (found.cost == 1.0).any()  # the last plane fits best: nothing says how far beyond it the truth lies
    assert float(found.cost.mean()) > 0.4


def test_texture_is_where_grey_levels_differ() -> None:
    grey = torch.full((40, 60), 120.0)
    grey[:, 30:] += 40.0 * torch.rand(40, 30, generator=torch.Generator().manual_seed(2))
    mask = textured(grey, 3.0)
    assert not mask[:, :25].any()
    assert mask[:, 35:].float().mean() > 0.99  # noise may be flat by chance
    assert normalised(grey)[:, :20].abs().max() == 0.0


def test_true_depths_agree_and_unseen_points_do_not() -> None:
    left, z_left = view_of_plane(0.0, 5.0, 0.5)
    right, z_right = view_of_plane(0.6, 5.0, 0.5)
    depth, other = (torch.from_numpy(z).to(torch.float32) for z in (z_left, z_right))
    difference = consistency(depth, left, other, right)
    seen = torch.isfinite(difference)
    assert float(difference[seen].max()) < 0.01
    assert not seen[:, 0].any()  # left of what the other camera sees
    assert seen[:, 80:].all()
    assert torch.isinf(consistency(depth, left, torch.zeros_like(other), right)).all()


def test_parallax_is_the_angle_between_the_rays() -> None:
    left, _ = view_of_plane(0.0, 5.0, 0.0)
    right, _ = view_of_plane(0.6, 5.0, 0.0)
    angle = parallax(torch.full((80, 160), 5.0), left, right)
    u = (80 - CAMERA.cx) / CAMERA.fx * 5.0
    expected = np.arctan2(u, 5.0) - np.arctan2(u - 0.6, 5.0)
    assert float(angle[39, 80]) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("width", "expected"), [(160, (48, 160)), (4096, (376, 1241))])
def test_maps_keep_the_shape_of_the_image_and_are_never_larger(width: int, expected: tuple[int, int]) -> None:
    assert depth_size(Intrinsics(700.0, 700.0, 600.0, 180.0, 1241, 376), width) == expected
