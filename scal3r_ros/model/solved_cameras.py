"""A camera head that solves: the network says what has moved where, how far away it is and through which lens it is
seen; which motion explains that is a least-squares problem, and what the motion then says of depth is taken back.

Shapes: S frames, those of B chunks with F frames each, C channels, P tokens of a frame, h × w pixels, Y × X cells of
the matches (N = Y · X); 9 numbers of a pose encoding (see pose_encoding.py), in the gauge of the depth.
Source: differentiable bundle adjustment as in BA-Net and DROID-SLAM, here of one motion a pair of neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.model.blocks import Mlp
from scal3r_ros.model.rigid_motion import Places, RigidMotion, improve, parallax, solve, standing

_COMMON_FOCAL = 0.6
_STEPS = 5
_DEPTH_SIGMA = 0.2
_WIDTH = 24


class SolvedCameras(nn.Module):
    """Poses and lens of a chunk's frames from matches and depth, and the depth that agrees with them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(channels)
        self.lens = Mlp(channels, channels // 2, 1)
        self.read = nn.Conv2d(5, _WIDTH, 3, padding=1)
        self.mix = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.out = nn.Conv2d(_WIDTH, 1, 3, padding=1)
        for last in (self.out, self.lens.fc2):
            # Before anything is learnt the lens is a common one, and depth as it was seen.
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(cast(Tensor, last.bias), 0.0)

    def forward(
        self,
        x_SPC: Tensor,
        depth_Shw: Tensor,
        matches_S3YX: Tensor,
        previous: Sequence[int],
        chunks: int = 1,
        focal_B: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pose encodings (S, 9) and depth (S, h, w).

        Args:
            x_SPC: tokens of the last layer, the first of a frame being that of its camera.
            depth_Shw: depth as seen, before the motion is known.
            matches_S3YX: see `matching.Matched`.
            previous: for each of a chunk's F frames the place in it of the one before; the first's is its own.
            chunks: of equal length, one after the other, whose frames are ordered alike.
            focal_B: focal length of each chunk's lens in widths, where it is known; the one said is told all the same.
        """
        F = len(x_SPC) // chunks
        later = _later(previous, F, chunks)
        said_S = self.focal(x_SPC, chunks).repeat_interleave(F)
        focal_S = said_S if focal_B is None else focal_B.repeat_interleave(F)
        cell = depth_Shw.shape[-1] // matches_S3YX.shape[-1]
        seen_SN = depth_Shw[:, ::cell, ::cell].flatten(1)
        places = _places(matches_S3YX[later], focal_S[later].detach())
        start = standing(len(later), depth_Shw)
        motion = solve(places, seen_SN[later].detach(), start, _STEPS)
        change_SYX = self._change(places, depth_Shw, matches_S3YX, later, motion)
        depth_Shw = depth_Shw * _spread(change_SYX, cell).exp()
        refined_SN = seen_SN * change_SYX.flatten(1).exp()
        places = _places(matches_S3YX[later], focal_S[later])
        motion = improve(places, refined_SN[later], motion)
        chained = _chain(motion, previous, F, chunks)
        height, width = depth_Shw.shape[1:]
        fov_S2 = 2 * torch.atan(torch.stack((0.5 * height / width / said_S, 0.5 / said_S), dim=-1))
        sign_S1 = torch.where(chained.quat_xyzw[:, 3:] < 0, -1.0, 1.0)
        return torch.cat((chained.translation, sign_S1 * chained.quat_xyzw, fov_S2), dim=-1), depth_Shw

    def focal(self, x_SPC: Tensor, chunks: int = 1) -> Tensor:
        """Focal length (B,) in widths of the image, one a chunk."""
        said_S1 = self.lens(self.token_norm(x_SPC[:, 0]))
        return _COMMON_FOCAL * said_S1.reshape(chunks, -1).mean(1).clamp(-2, 2).exp()

    def _change(
        self, places: Places, depth_Shw: Tensor, matches_S3YX: Tensor, later: list[int], motion: RigidMotion
    ) -> Tensor:
        """By how much the logarithm of depth changes (S, Y, X), knowing the motion."""
        S, _, rows, columns = matches_S3YX.shape
        cell = depth_Shw.shape[-1] // columns
        seen_SYX = depth_Shw[:, ::cell, ::cell]
        pull_PN, information_PN = parallax(places, seen_SYX[later].flatten(1), motion)
        prior = _DEPTH_SIGMA**-2
        step_PN = (pull_PN / (information_PN + prior)).clamp(-1, 1)
        told_P2YX = torch.stack((step_PN, information_PN / (information_PN + prior)), dim=1)
        told_S2YX = depth_Shw.new_zeros(S, 2, rows, columns)
        places_P = torch.tensor(later, dtype=torch.long, device=depth_Shw.device)
        told_S2YX = told_S2YX.index_copy(0, places_P, told_P2YX.reshape(-1, 2, rows, columns))
        log_SYX = seen_SYX.detach().clamp(min=1e-4).log()
        shape_S1YX = (log_SYX - log_SYX.mean((1, 2), keepdim=True))[:, None]
        height_S1YX = torch.linspace(-1, 1, rows, device=depth_Shw.device)[:, None].expand(S, 1, rows, columns)
        precision_S1YX = matches_S3YX[:, 2:] - 5.0
        hidden = functional.gelu(self.read(torch.cat((told_S2YX, shape_S1YX, precision_S1YX, height_S1YX), dim=1)))
        hidden = hidden + functional.gelu(self.mix(hidden))
        return told_S2YX[:, 0] + self.out(hidden)[:, 0].clamp(-1, 1)


def in_time(previous: Sequence[int]) -> list[int]:
    """Places of a chunk's frames in order of time, from the place of the one before each."""
    follows = {before: place for place, before in enumerate(previous) if place != before}
    order = [next(place for place, before in enumerate(previous) if place == before)]
    while order[-1] in follows:
        order.append(follows[order[-1]])
    return order


def _later(previous: Sequence[int], frames: int, chunks: int) -> list[int]:
    """Frames that have one before them in their chunk, chunk by chunk in order of time."""
    return [chunk * frames + place for chunk in range(chunks) for place in in_time(previous)[1:]]


def _places(matches_P3YX: Tensor, focal_P: Tensor) -> Places:
    rows, columns = matches_P3YX.shape[-2:]
    across_X = torch.arange(columns, device=matches_P3YX.device) / columns - 0.5
    # The principal point is (w/2, h/2), and rows are as high as columns are wide.
    down_Y = torch.arange(rows, device=matches_P3YX.device) / columns - 0.5 * rows / columns
    uv_N2 = torch.stack(torch.meshgrid(across_X, down_Y, indexing="xy"), dim=-1).flatten(0, 1)
    rays_PN2 = uv_N2 / focal_P[:, None, None]
    rays_PN3 = torch.cat((rays_PN2, torch.ones_like(rays_PN2[..., :1])), dim=-1)
    matches_PN3 = matches_P3YX.flatten(2).mT
    return Places(rays_PN3, uv_N2 + matches_PN3[..., :2], matches_PN3[..., 2].clamp(-2, 9).exp(), focal_P)


def _chain(motion: RigidMotion, previous: Sequence[int], frames: int, chunks: int) -> RigidMotion:
    """T_cam_chunk of all frames, in their own order; the chunk's frame is that of its first."""
    quats = motion.quat_xyzw.reshape(chunks, frames - 1, 4).unbind(1)
    translations = motion.translation.reshape(chunks, frames - 1, 3).unbind(1)
    T_start_cam = [standing(chunks, motion.translation)]
    for T_before_cam in map(RigidMotion, quats, translations):
        T_start_cam.append(T_start_cam[-1].after(T_before_cam))
    order = in_time(previous)
    T_start_chunk = T_start_cam[order.index(0)]
    T_cam_chunk = [T_start_cam[order.index(place)].inverse().after(T_start_chunk) for place in range(frames)]
    quat = torch.stack([T.quat_xyzw for T in T_cam_chunk], dim=1).flatten(0, 1)
    return RigidMotion(quat, torch.stack([T.translation for T in T_cam_chunk], dim=1).flatten(0, 1))


def _spread(x_SYX: Tensor, cell: int) -> Tensor:
    """Values of cells at every pixel (S, h, w): cell (i, j) is at pixel (cell · i, cell · j)."""
    rows, columns = x_SYX.shape[1:]
    between = functional.interpolate(
        x_SYX[:, None], size=(cell * (rows - 1) + 1, cell * (columns - 1) + 1), mode="bilinear", align_corners=True
    )
    return functional.pad(between, (0, cell - 1, 0, cell - 1), mode="replicate")[:, 0]
