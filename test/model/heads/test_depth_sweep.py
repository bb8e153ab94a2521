"""Depth from several frames: scores are best at the true depth, whoever is looked at, and corrections keep edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scal3r_ros.geometry import se3
from scal3r_ros.model.heads.depth_sweep import DepthSweep, Views, best_depth, convex_upsampling, scores
from scal3r_ros.model.heads.rigid_motion import RigidMotion

ROWS, COLUMNS, FOCAL = 14, 28, 0.7
STEPS = torch.linspace(-2.2, 2.6, 32)


def views_of_a_wall(frames: int, chunks: int = 1) -> tuple[Views, torch.Tensor]:
    """Frames that move sideways and ahead before a slanted wall that looks different everywhere; its depth."""
    rng = np.random.default_rng(3)
    waves, phases = rng.normal(size=(3, 24)) * 4.0, rng.uniform(0, 6, 24)
    v, u = np.mgrid[:ROWS, :COLUMNS].astype(float)
    rays = np.stack([(u / COLUMNS - 0.5), (v - ROWS / 2) / COLUMNS, np.full_like(u, FOCAL)], axis=-1) / FOCAL
    normal, distance = np.array([0.3, 0.1, 1.0]), 3.0
    features, depths, poses = [], [], []
    for _ in range(chunks):
        for i in range(frames):
            T = se3.se3(se3.rotation_exp(np.array([0.0, 0.01 * i, 0.0])), np.array([0.3 * i, 0.0, 0.05 * i]))
            depth = (distance - normal @ T[:3, 3]) / (rays @ T[:3, :3].T @ normal)
            points = (rays * depth[..., None]) @ T[:3, :3].T + T[:3, 3]
            features.append(np.cos(points @ waves + phases).transpose(2, 0, 1))
            depths.append(depth)
            poses.append(se3.invert(T))
    T_cam_chunk = np.stack(poses)
    quats = torch.tensor(np.stack([se3.quat_xyzw(T[:3, :3]) for T in T_cam_chunk])).float()
    motion = RigidMotion(quats, torch.tensor(T_cam_chunk[:, :3, 3]).float())
    maps = torch.tensor(np.stack(features)).float()
    return Views(maps, torch.full((len(maps),), FOCAL), motion, range(frames)), torch.tensor(np.stack(depths)).float()


def typical(depth: torch.Tensor) -> torch.Tensor:
    return depth.log().flatten(1).median(1).values[:, None]


def test_scores_are_best_at_the_true_depth() -> None:
    views, depth = views_of_a_wall(5)
    near, far = scores(views, (typical(depth) + STEPS).exp())
    for sure, limit in ((near, 0.12), (far, 0.12)):
        best, better = best_depth(sure, STEPS)
        missed = (best + typical(depth)[..., None] - depth.log()).abs()[1:-1, 2:-2, 8:-8]
        assert missed.median() < limit
        assert better.median() > 0.3


def test_frames_of_another_chunk_are_not_looked_at() -> None:
    views, depth = views_of_a_wall(3, chunks=2)
    planes = (typical(depth) + STEPS).exp()
    before = scores(views, planes)
    other = views.features.clone()
    other[3:] = torch.rand_like(other[3:])
    after = scores(views._replace(features=other), planes)
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(one[:3], two[:3])
        assert (one[3:] - two[3:]).abs().max() > 0.1


def test_order_of_frames_within_a_chunk_does_not_matter() -> None:
    views, depth = views_of_a_wall(4)
    planes = (typical(depth) + STEPS).exp()
    shuffled = [2, 0, 3, 1]
    moved = Views(
        views.features[shuffled],
        views.focal,
        RigidMotion(*(part[shuffled] for part in views.T_cam_chunk)),
        [shuffled.index(i) for i in range(4)],
    )
    for one, two in zip(scores(views, planes), scores(moved, planes[shuffled]), strict=True):
        torch.testing.assert_close(one[shuffled], two)


def test_a_single_frame_has_no_scores_and_its_depth_no_surprises() -> None:
    views, depth = views_of_a_wall(1)
    near, far = scores(views, (typical(depth) + STEPS).exp())
    assert not near.any()
    assert not far.any()


def test_upsampling_takes_values_of_its_surroundings_alone() -> None:
    cells = torch.tensor([[[[0.0, 0.0, 5.0, 5.0]] * 3]])
    shares = torch.randn(1, 9 * 16, 3, 4)
    fine = convex_upsampling(cells, shares, 4)
    assert fine.shape == (1, 1, 12, 16)
    assert fine.min() >= 0
    assert fine.max() <= 5 + 1e-5
    torch.testing.assert_close(fine[..., :4], torch.zeros(1, 1, 12, 4))
    torch.testing.assert_close(convex_upsampling(torch.ones(1, 2, 3, 4), shares, 4), torch.ones(1, 2, 12, 16))


@pytest.mark.parametrize("cell", [2, 4])
def test_wrong_depth_is_learnt_to_be_corrected(cell: int) -> None:
    """A sweep that is trained on one chunk corrects a depth that is wrong by half, where others see it."""
    torch.manual_seed(0)
    views, depth = views_of_a_wall(4)
    sweep = DepthSweep(8, 24, cell)
    detail, patches = torch.randn(4, 8, ROWS, COLUMNS), torch.randn(4, 24, 4, 7)
    nothing = torch.zeros(4, 2, ROWS, COLUMNS)
    wrong = depth.log() + 0.5 * torch.sin(torch.arange(COLUMNS) / 3)
    true = depth.log().repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    optimiser = torch.optim.Adam(sweep.parameters(), 2e-3)
    errors = []
    for _ in range(25):
        swept = sweep(views, wrong, nothing, nothing, detail, patches)
        said = wrong.repeat_interleave(cell, 1).repeat_interleave(cell, 2) + swept.depth
        error = (said - true).abs().mean()
        errors.append(error.item())
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert swept.depth.shape == swept.confidence.shape == (4, cell * ROWS, cell * COLUMNS)
    assert errors[-1] < 0.5 * errors[0]
