"""Motions solved from matches are those that the matches were made with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from scal3r_ros.model.heads.rigid_motion import (
    Places,
    RigidMotion,
    improve,
    multiply,
    parallax,
    quaternion_of,
    rotate_by,
    solve,
    standing,
)

FOCAL = 0.7


def scene(pairs: int, seed: int = 0, places: int = 200) -> tuple[Places, torch.Tensor, RigidMotion]:
    """Places, their true depth, and the motion they were moved by."""
    rng = np.random.default_rng(seed)
    uv = torch.from_numpy(rng.uniform(-0.5, 0.5, (pairs, places, 2)))
    rays = torch.cat((uv / FOCAL, torch.ones(pairs, places, 1, dtype=torch.float64)), dim=-1)
    depth = torch.from_numpy(np.exp(rng.normal(0.5, 0.6, (pairs, places))))
    motion = RigidMotion(
        quaternion_of(torch.from_numpy(rng.normal(0, 0.05, (pairs, 3)))),
        torch.from_numpy(rng.normal(0, 0.1, (pairs, 3))),
    )
    moved = rotate_by(motion.quat_xyzw, rays * depth[..., None]) + motion.translation[:, None]
    before = FOCAL * moved[..., :2] / moved[..., 2:]
    return Places(rays, before, torch.full_like(depth, 300.0), torch.full((pairs,), FOCAL).double()), depth, motion


def test_quaternions_agree_with_scipy() -> None:
    a, b = np.random.default_rng(0).normal(0, 0.7, (2, 5, 3))
    first, second = Rotation.from_rotvec(a), Rotation.from_rotvec(b)
    product = multiply(quaternion_of(torch.from_numpy(a)), quaternion_of(torch.from_numpy(b))).numpy()
    np.testing.assert_allclose((Rotation.from_quat(product).inv() * first * second).magnitude(), 0, atol=1e-7)
    points = np.random.default_rng(1).normal(0, 1, (5, 4, 3))
    turned = rotate_by(torch.from_numpy(first.as_quat()), torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(turned, np.einsum("pij,pnj->pni", first.as_matrix(), points), atol=1e-12)


def test_a_motion_and_its_inverse_undo_each_other() -> None:
    motion = scene(3)[2]
    nothing = motion.inverse().after(motion)
    torch.testing.assert_close(nothing.translation, torch.zeros(3, 3, dtype=torch.float64))
    torch.testing.assert_close(nothing.quat_xyzw, standing(3, nothing.translation).quat_xyzw)


def test_exact_matches_give_the_motion_back() -> None:
    places, depth, motion = scene(4)
    found = solve(places, depth, standing(4, depth), 8)
    torch.testing.assert_close(found.translation, motion.translation, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.quat_xyzw, motion.quat_xyzw, atol=1e-6, rtol=0)


def test_a_third_of_wild_matches_is_outvoted() -> None:
    places, depth, motion = scene(2, places=600)
    wild = places.before.clone()
    wild[:, ::3] += torch.from_numpy(np.random.default_rng(2).uniform(-0.2, 0.2, (2, 200, 2)))
    found = solve(places._replace(before=wild), depth, standing(2, depth), 12)
    assert (found.translation - motion.translation).norm(dim=-1).max() < 0.01


def test_imprecise_matches_hardly_count() -> None:
    places, depth, motion = scene(1)
    wrong, precision = places.before.clone(), places.precision.clone()
    wrong[:, :50] += 0.01
    precision[:, :50] = 0.1
    found = solve(places._replace(before=wrong, precision=precision), depth, standing(1, depth), 8)
    torch.testing.assert_close(found.translation, motion.translation, atol=1e-4, rtol=0)


def test_twice_the_depth_is_twice_the_way() -> None:
    places, depth, motion = scene(1)
    found = solve(places, 2 * depth, standing(1, depth), 8)
    torch.testing.assert_close(found.translation, 2 * motion.translation, atol=1e-4, rtol=0)


def test_the_gradient_of_the_last_step_is_that_of_the_solution() -> None:
    places, depth, _ = scene(1)

    def translation(shift: torch.Tensor) -> torch.Tensor:
        moved = places._replace(before=places.before + shift)
        at = solve(moved, depth, standing(1, depth), 12)
        return improve(moved, depth, at).translation[0, 0]

    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(translation(shift), shift)
    step = torch.tensor([1e-5, 0.0], dtype=torch.float64)
    measured = (translation(step) - translation(-step)) / 2e-5
    assert float(slope[0]) == pytest.approx(float(measured), rel=0.02)


def test_parallax_tells_how_wrong_depth_is_and_how_sure_that_is() -> None:
    places, depth, motion = scene(1)
    pull, information = parallax(places, depth * 0.9, motion)
    told = (pull / information.clamp(min=1e-9))[0]
    sure = information[0] > information.median()
    torch.testing.assert_close(told[sure].median().exp(), torch.tensor(1 / 0.9).double(), atol=0.01, rtol=0)
    still = standing(1, depth)
    assert parallax(places, depth, still)[1].max() < 1e-9
