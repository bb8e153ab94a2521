"""The camera head that solves: exact matches and depth give the true poses, in any order of the frames."""

from __future__ import annotations

import numpy as np
import torch

from scal3r_ros.geometry import se3
from scal3r_ros.model import decode_pose, encode_pose
from scal3r_ros.model.heads.solved_cameras import Measured, SeenFrames, SolvedCameras, in_time

ROWS, COLUMNS, CELL = 8, 16, 4
FOCAL = 0.8


def drive(frames: int) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """T_world_cam (F, 4, 4) in order of time before a wavy wall, depth and matches of all frames."""
    height, width = CELL * ROWS, CELL * COLUMNS
    T = np.tile(np.eye(4), (frames, 1, 1))
    for i in range(1, frames):
        T[i] = T[i - 1] @ se3.se3(se3.rotation_exp(np.array([0.01, 0.03, 0.0])), np.array([0.1, 0.02, 0.15]))
    v, u = np.mgrid[:height, :width].astype(float)
    rays = np.stack([(u / width - 0.5) / FOCAL, (v - height / 2) / width / FOCAL, np.ones_like(u)], axis=-1)
    depths, matches = [], []
    for i in range(frames):
        depth = 2 + np.sin(u / 9 + i) + np.cos(v / 5)
        points = rays * depth[..., None]
        to_before = se3.invert(T[max(0, i - 1)]) @ T[i]
        moved = points @ to_before[:3, :3].T + to_before[:3, 3]
        flow = FOCAL * (moved[..., :2] / moved[..., 2:] - rays[..., :2])
        depths.append(depth)
        matches.append(np.concatenate([flow, np.full((height, width, 1), 6.0)], axis=-1)[::CELL, ::CELL])
    return T, torch.tensor(np.stack(depths)).float(), torch.tensor(np.stack(matches)).permute(0, 3, 1, 2).float()


def quiet_head(says_unit: bool = False) -> SolvedCameras:
    """A head that takes all that two frames tell of depth, and nothing that is swept."""
    head = SolvedCameras(24, 8, CELL, says_unit)
    with torch.no_grad():
        head.sweep.out.weight.zero_()
        head.sweep.out.bias.copy_(torch.tensor([0.0, 0.0, 30.0, -30.0]))
    return head


def said(
    head: SolvedCameras,
    depth: torch.Tensor,
    matches: torch.Tensor,
    previous: list[int],
    focal: float | None = FOCAL,
    chunks: int = 1,
) -> Measured:
    """What a head says of frames whose tokens and features tell nothing."""
    frames = len(depth)
    detail = torch.zeros(frames, 8, ROWS, COLUMNS)
    tokens = torch.zeros(frames, 1 + ROWS * COLUMNS // 16, 24)
    seen = SeenFrames(tokens, depth, torch.full_like(depth, 2.0), matches, detail, detail)
    return head(seen, previous, chunks, None if focal is None else torch.full((chunks,), focal))


def poses(encodings: torch.Tensor) -> np.ndarray:
    T = decode_pose(encodings.detach().double(), 32, 64)[0].numpy()
    return se3.invert(se3.se3(T[:, :, :3], T[:, :, 3]))


def test_order_of_time_follows_from_who_is_before_whom() -> None:
    assert in_time([2, 1, 1, 0, 3]) == [1, 2, 0, 3, 4]
    assert in_time([0]) == [0]


def test_exact_matches_and_depth_give_true_poses_about_the_first_frame() -> None:
    T_world_cam, depth, matches = drive(4)
    order, previous = [1, 0, 2, 3], [1, 1, 0, 2]
    head = quiet_head()
    encoding, told, *_ = said(head, depth[order], matches[order], previous)
    true = se3.invert(T_world_cam[1]) @ T_world_cam[order]
    np.testing.assert_allclose(poses(encoding), true, atol=2e-3)
    torch.testing.assert_close(told, depth[order], rtol=0.02, atol=0)
    fov = encode_pose(torch.eye(4)[None], torch.tensor([[[38.4, 0, 32], [0, 38.4, 16], [0, 0, 1]]]), 32, 64)[0, 7:]
    torch.testing.assert_close(encoding[0, 7:], fov, atol=0.2, rtol=0)  # a common lens, as nothing was learnt


def test_chunks_together_are_what_each_is_alone() -> None:
    torch.manual_seed(0)
    head = SolvedCameras(24, 8, CELL)
    _, depth, matches = drive(6)
    previous = [0, 0, 1]
    together = said(head, depth, matches, previous, chunks=2)
    for part in (slice(0, 3), slice(3, 6)):
        alone = said(head, depth[part], matches[part], previous)
        torch.testing.assert_close(together[0][part], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together[1][part], alone[1], atol=1e-5, rtol=1e-5)


def test_a_chunks_unit_scales_its_depth_and_its_way() -> None:
    """Two chunks of the same pictures, the second of which is said to be twice as large."""
    head = quiet_head(says_unit=True)
    assert head.unit is not None
    _, depth, matches = drive(3)
    plain = said(head, depth, matches, [0, 0, 1])
    assert plain.log_unit_sigma is not None
    with torch.no_grad():
        head.unit.fc2.weight.zero_()
        head.unit.fc2.bias.copy_(torch.tensor([np.log(2.0), -1.5]))
    twice = said(head, depth, matches, [0, 0, 1])
    torch.testing.assert_close(twice.seen_depth, 2 * depth)
    torch.testing.assert_close(twice.depth, 2 * plain.depth, rtol=1e-2, atol=0)
    torch.testing.assert_close(twice.pose_encoding[:, :3], 2 * plain.pose_encoding[:, :3], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(twice.pose_encoding[:, 3:], plain.pose_encoding[:, 3:], rtol=0, atol=1e-4)
    assert twice.log_unit_sigma is not None
    torch.testing.assert_close(twice.log_unit_sigma, torch.tensor([-1.5]))


def test_parallax_makes_wrong_depth_better() -> None:
    _, depth, matches = drive(3)
    wrong = depth.clone()
    wrong[:, 8:16, 16:32] *= 1.25
    told = said(quiet_head(), wrong, matches, [0, 0, 1]).depth
    patch = (slice(1, None), slice(9, 15), slice(17, 31))  # the first frame has none before it
    before = (wrong[patch] / depth[patch] - 1).abs().mean()
    after = (told[patch] / depth[patch] - 1).abs().mean()
    assert after < 0.6 * before
    torch.testing.assert_close(told[0], wrong[0])


def test_a_single_frame_stands_where_it_is() -> None:
    _, depth, matches = drive(1)
    encoding, told, *_ = said(quiet_head(), depth, matches, [0])
    np.testing.assert_allclose(poses(encoding)[0], np.eye(4), atol=1e-6)
    torch.testing.assert_close(told, depth)


def test_matches_without_any_texture_leave_finite_poses_and_gradients() -> None:
    _, depth, matches = drive(3)
    matches = matches.clone()
    matches[:, 2] = -20.0
    matches.requires_grad_(True)
    encoding, told, *_ = said(SolvedCameras(24, 8, CELL), depth, matches, [0, 0, 1], focal=None)
    (encoding.sum() + told.sum()).backward()
    assert torch.isfinite(encoding).all()
    assert torch.isfinite(matches.grad).all()
