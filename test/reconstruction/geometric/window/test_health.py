"""What speaks against a motion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.window.health import at_constant_velocity, contradiction, jump_of_depth
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame, Previous

ENOUGH = np.full(10, 100)


def test_a_motion_like_the_one_before_is_believed(drive: Any) -> None:
    T = drive(10)
    assert contradiction(T, T[:6] + 1e-3, ENOUGH, 0.9, 20) == ""


def test_a_camera_that_starts_to_move_is_believed(drive: Any) -> None:
    T = drive(10)
    T[:6] = T[5]
    assert contradiction(T, T[:6], ENOUGH, 0.9, 20) == ""


@pytest.mark.parametrize("word", ["agree", "see fewer", "as long", "as fast", "not finite"])
def test_each_contradiction_is_named(drive: Any, word: str) -> None:
    T, sights, share = drive(10), ENOUGH.copy(), 0.9
    before = T[:6].copy()
    if word == "agree":
        share = 0.2
    elif word == "see fewer":
        sights[8] = 3
    elif word == "as long":
        before[:, :3, 3] *= 1.5
    elif word == "as fast":
        T[8:, :3, 3] += 30.0
    else:
        T[7, 0, 3] = np.nan
    assert word in contradiction(T, before, sights, share, 20)


@pytest.mark.parametrize(("before", "now", "word"), [(1.0, 1.8, ""), (1.0, 0.2, "near"), (1.0, 4.0, "far")])
def test_near_points_may_not_jump(before: float, now: float, word: str) -> None:
    assert jump_of_depth(before, now).endswith(word)
    assert bool(jump_of_depth(before, now)) is bool(word)


def test_many_lost_chunks_in_a_row_still_have_rotations() -> None:
    camera = Intrinsics(100.0, 100.0, 31.5, 23.5, 64, 48)
    frames = tuple(Frame(number, number, np.zeros((48, 64, 3), np.uint8), camera) for number in range(6))
    chunk = Chunk(0, frames, 3)
    T = np.stack([se3.se3(se3.rotation_exp([0.1, 0.3 * k, 0.2]), [0.1 * k, 0.0, 0.0]) for k in range(6)])
    nothing = np.zeros((6, 2, 2), np.float32)
    geometry = ChunkGeometry(T, (camera,) * 6, nothing, nothing)
    for _ in range(60):
        geometry = at_constant_velocity(chunk, Previous(chunk, geometry), camera, "nothing is seen")
        R = geometry.T_chunk_cam[:, :3, :3]
        np.testing.assert_allclose(R @ np.swapaxes(R, 1, 2), np.tile(np.eye(3), (6, 1, 1)), atol=1e-9)
