"""The motion of a camera between two frames from matches and depth: Gauss-Newton, differentiable.

Shapes: P pairs of frames, N places of a frame. Image coordinates are in widths of the image about its middle, the focal
length is in widths. A motion is T_before_cam: it maps points of the later frame to the one before it. Quaternions
are xyzw.
Source: dense visual odometry by reweighted least squares (Kerl et al. 2013); the last step alone carries gradients, as
at a minimum it contains the effect of all steps before it (implicit differentiation).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NEAREST = 0.02
_DAMPING = 1e-5
_HUBER = 2.0
_LARGEST_STEP = 0.5


class RigidMotion(NamedTuple):
    """T_before_cam of P pairs: `quat_xyzw` (P, 4), `translation` (P, 3) in the unit of the depth."""

    quat_xyzw: Tensor
    translation: Tensor

    def detach(self) -> RigidMotion:
        """The same without gradients."""
        return RigidMotion(self.quat_xyzw.detach(), self.translation.detach())

    def after(self, first: RigidMotion) -> RigidMotion:
        """The motion `self · first`."""
        moved = rotate_by(self.quat_xyzw, first.translation[:, None])[:, 0] + self.translation
        return RigidMotion(multiply(self.quat_xyzw, first.quat_xyzw), moved)

    def inverse(self) -> RigidMotion:
        """The inverse motion."""
        back = self.quat_xyzw * self.quat_xyzw.new_tensor([-1.0, -1.0, -1.0, 1.0])
        return RigidMotion(back, -rotate_by(back, self.translation[:, None])[:, 0])


class Places(NamedTuple):
    """`rays` (P, N, 3) with z = 1 of the later frame; where they were seen `before` (P, N, 2) in widths; `precision`
    (P, N), one over the expected error in widths; `focal` (P,) in widths."""

    rays: Tensor
    before: Tensor
    precision: Tensor
    focal: Tensor


def places_of_cells(rows: int, columns: int, device: torch.device) -> Tensor:
    """Image coordinates (N, 2) of a map's cells, row by row; the principal point is (w/2, h/2), cells are square."""
    across_X = torch.arange(columns, device=device) / columns - 0.5
    down_Y = torch.arange(rows, device=device) / columns - 0.5 * rows / columns
    return torch.stack(torch.meshgrid(across_X, down_Y, indexing="xy"), dim=-1).flatten(0, 1)


def standing(pairs: int, like: Tensor) -> RigidMotion:
    """The identity."""
    return RigidMotion(like.new_tensor([0.0, 0.0, 0.0, 1.0]).repeat(pairs, 1), like.new_zeros(pairs, 3))


def solve(places: Places, depth_PN: Tensor, start: RigidMotion, iterations: int) -> RigidMotion:
    """The motion that explains the matches, `iterations` steps from `start`; without gradients."""
    with torch.no_grad():
        motion = start
        for _ in range(iterations):
            motion = improve(places, depth_PN, motion)
    return motion


def improve(places: Places, depth_PN: Tensor, motion: RigidMotion) -> RigidMotion:
    """One reweighted Gauss-Newton step."""
    Y_PN3, residual_PN2, g_PN23 = _seen_before(places, depth_PN, motion)
    J_PN26 = torch.cat((torch.linalg.cross(Y_PN3[:, :, None], g_PN23), g_PN23), dim=-1)
    weight_PN = weights_of(places, Y_PN3, residual_PN2)
    weight_PN = weight_PN / weight_PN.sum(1, keepdim=True).clamp(min=1e-12)
    weighted_P6M = (J_PN26 * weight_PN[..., None, None]).flatten(1, 2).mT
    A_P66 = weighted_P6M @ J_PN26.flatten(1, 2) + _DAMPING * torch.eye(6, dtype=depth_PN.dtype, device=depth_PN.device)
    b_P61 = weighted_P6M @ residual_PN2.flatten(1)[..., None]
    step_P6 = torch.linalg.solve(A_P66, b_P61)[..., 0].clamp(-_LARGEST_STEP, _LARGEST_STEP)
    turn = RigidMotion(quaternion_of(step_P6[:, :3]), step_P6[:, 3:])
    moved = turn.after(motion)
    return RigidMotion(moved.quat_xyzw / moved.quat_xyzw.norm(dim=-1, keepdim=True), moved.translation)


def parallax(places: Places, depth_PN: Tensor, motion: RigidMotion) -> tuple[Tensor, Tensor]:
    """Correction of each cell's depth (P, N) by the motion: the error of its logarithm times its information, and that
    information (one over its variance)."""
    Y_PN3, residual_PN2, g_PN23 = _seen_before(places, depth_PN, motion)
    along_PN3 = Y_PN3 - motion.translation[:, None]
    J_PN2 = (g_PN23 * along_PN3[:, :, None]).sum(-1)
    weight_PN = weights_of(places, Y_PN3, residual_PN2)
    return weight_PN * (J_PN2 * residual_PN2).sum(-1), weight_PN * J_PN2.square().sum(-1)


def _seen_before(places: Places, depth_PN: Tensor, motion: RigidMotion) -> tuple[Tensor, Tensor, Tensor]:
    """Points in the frame before (P, N, 3), their image residuals (P, N, 2), and the gradient of their projections
    (P, N, 2, 3)."""
    Y_PN3 = rotate_by(motion.quat_xyzw, places.rays * depth_PN[..., None]) + motion.translation[:, None]
    z_PN = Y_PN3[..., 2].clamp(min=_NEAREST)
    seen_PN2 = Y_PN3[..., :2] / z_PN[..., None]
    focal_P11 = places.focal[:, None, None]
    per_depth_PN = places.focal[:, None] / z_PN
    zero_PN = torch.zeros_like(z_PN)
    g_PN23 = torch.stack(
        (
            torch.stack((per_depth_PN, zero_PN, -per_depth_PN * seen_PN2[..., 0]), dim=-1),
            torch.stack((zero_PN, per_depth_PN, -per_depth_PN * seen_PN2[..., 1]), dim=-1),
        ),
        dim=-2,
    )
    return Y_PN3, places.before - focal_P11 * seen_PN2, g_PN23


def weights_of(places: Places, Y_PN3: Tensor, residual_PN2: Tensor) -> Tensor:
    """Weight of each cell (P, N): its precision, reduced where it fits badly, 0 behind the camera."""
    size_PN = (residual_PN2.detach().square().sum(-1) + 1e-16).sqrt() * places.precision.detach()
    fits_PN = _HUBER / size_PN.clamp(min=_HUBER)
    return places.precision.square() * fits_PN * (Y_PN3.detach()[..., 2] > _NEAREST)


def quaternion_of(rotation_P3: Tensor) -> Tensor:
    """Unit quaternions (P, 4) of rotation vectors in radians, up to half a turn."""
    half_P1 = 0.5 * (rotation_P3.square().sum(-1, keepdim=True) + 1e-16).sqrt()
    return torch.cat((0.5 * rotation_P3 * torch.sinc(half_P1 / torch.pi), torch.cos(half_P1)), dim=-1)


def multiply(a_P4: Tensor, b_P4: Tensor) -> Tensor:
    """Products of quaternions."""
    av, aw, bv, bw = a_P4[:, :3], a_P4[:, 3:], b_P4[:, :3], b_P4[:, 3:]
    vector = aw * bv + bw * av + torch.linalg.cross(av, bv)
    return torch.cat((vector, aw * bw - (av * bv).sum(-1, keepdim=True)), dim=-1)


def rotate_by(quat_P4: Tensor, points_PN3: Tensor) -> Tensor:
    """Points (P, N, 3) turned by unit quaternions."""
    x, y, z, w = quat_P4.unbind(-1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)), dim=-1),
        torch.stack((2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)), dim=-1),
        torch.stack((2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)), dim=-1),
    )
    return points_PN3 @ torch.stack(rows, dim=-2).mT
