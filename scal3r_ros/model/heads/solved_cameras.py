"""A camera head that solves: the network predicts matches, depth and focal length, and the camera motion that explains
them is a least-squares problem. A plane sweep through the frames so placed then improves their depth.

Shapes: S frames, those of B chunks with F frames each, C channels, P tokens of a frame, h × w pixels, Y × X cells of
the matches (N = Y · X); 9 numbers of a pose encoding (see pose_encoding.py), in the gauge of the depth.
Source: differentiable bundle adjustment as in BA-Net and DROID-SLAM, here of one motion a pair of neighbours; then a
plane sweep, see depth_sweep.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scal3r_ros.model.heads.depth_sweep import DepthSweep, Swept, Views
from scal3r_ros.model.heads.rigid_motion import Places, RigidMotion, improve, parallax, places_of_cells, solve, standing
from scal3r_ros.model.layers.blocks import Mlp

_COMMON_FOCAL = 0.6
_STEPS = 5
_DEPTH_SIGMA = 0.2
_LARGEST_UNIT = 3.0
# Typical logarithm of the matches' precision; that of confidence − 1 is about zero.
_COMMON_PRECISION = 5.0


class SeenFrames(NamedTuple):
    """What is predicted of frames before their motion is known.

    `tokens` (S, P, C) of the last layer, the first of a frame being that of its camera and the last those of its
    patches; `depth` and `confidence` (S, h, w) from single frames; `matches` (S, 3, Y, X), `detail` (S, E, Y, X) and
    `compared` (S, D, Y, X) of the encoding.
    """

    tokens: Tensor
    depth: Tensor
    confidence: Tensor
    matches: Tensor
    detail: Tensor
    compared: Tensor


class Measured(NamedTuple):
    """`pose_encoding` (S, 9); `depth` and `confidence` (S, h, w) in agreement with it; `seen_depth` (S, h, w) before.

    `log_unit_sigma` (B,): how far the logarithm of each chunk's scale may be wrong, None of a head that does not say.
    """

    pose_encoding: Tensor
    depth: Tensor
    confidence: Tensor
    seen_depth: Tensor
    log_unit_sigma: Tensor | None


class SolvedCameras(nn.Module):
    """Poses and focal length of a chunk's frames from matches and depth, and the depth that agrees with them.

    `detail_channels`: channels of the image features, whose cells have `cell` pixels. A head that `says_unit` adds one
    number per chunk to the logarithm of all its depths, so that the scale is not predicted at every pixel anew.
    """

    def __init__(self, channels: int, detail_channels: int, cell: int, says_unit: bool = False) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(channels)
        self.lens = Mlp(channels, channels // 2, 1)
        # An untrained head predicts a common focal length.
        nn.init.normal_(self.lens.fc2.weight, std=0.01)
        nn.init.zeros_(self.lens.fc2.bias)
        self.unit = Mlp(2 * channels, channels // 2, 2) if says_unit else None
        if self.unit is not None:
            nn.init.normal_(self.unit.fc2.weight, std=0.01)
            nn.init.zeros_(self.unit.fc2.bias)
        self.sweep = DepthSweep(detail_channels, channels, cell)
        self.cell = cell

    def forward(
        self, seen: SeenFrames, previous: Sequence[int], chunks: int = 1, focal_B: Tensor | None = None
    ) -> Measured:
        """Solved poses, and the depth in agreement with them.

        Args:
            seen: all frames.
            previous: for each of a chunk's F frames the place in it of the one before; the first's is its own.
            chunks: of equal length, one after the other, whose frames are ordered alike.
            focal_B: focal length of each chunk's lens in widths, where it is known; the predicted one is returned too.
        """
        F = len(seen.tokens) // chunks
        log_unit_sigma_B: Tensor | None = None
        if self.unit is not None:
            log_unit_B, log_unit_sigma_B = self._unit(self.unit, seen, chunks)
            seen = seen._replace(depth=seen.depth * log_unit_B.exp().repeat_interleave(F)[:, None, None])
        later = _later(previous, F, chunks)
        matches_S3YX = seen.matches.float()
        said_S = self.focal(seen.tokens, chunks).repeat_interleave(F)
        focal_S = said_S if focal_B is None else focal_B.repeat_interleave(F)
        places = _places(matches_S3YX[later], focal_S[later].detach())
        start = standing(len(later), seen.depth)
        motion = solve(places, self._at_cells(seen.depth)[later].flatten(1).detach(), start, _STEPS)
        views = Views(seen.compared.detach(), focal_S.detach(), _chain(motion, previous, F, chunks), in_time(previous))
        swept = self._swept(views, places, motion, seen, later)
        depth_Shw = seen.depth * swept.depth.exp()
        confidence_Shw = 1 + (seen.confidence - 1) * swept.confidence.clamp(-6, 6).exp()
        places = _places(matches_S3YX[later], focal_S[later])
        motion = improve(places, self._at_cells(depth_Shw)[later].flatten(1), motion)
        chained = _chain(motion, previous, F, chunks)
        height, width = depth_Shw.shape[1:]
        fov_S2 = 2 * torch.atan(torch.stack((0.5 * height / width / said_S, 0.5 / said_S), dim=-1))
        sign_S1 = torch.where(chained.quat_xyzw[:, 3:] < 0, -1.0, 1.0)
        encoding_S9 = torch.cat((chained.translation, sign_S1 * chained.quat_xyzw, fov_S2), dim=-1)
        return Measured(encoding_S9, depth_Shw, confidence_Shw, seen.depth, log_unit_sigma_B)

    def _unit(self, unit: Mlp, seen: SeenFrames, chunks: int) -> tuple[Tensor, Tensor]:
        """What is added to the logarithm of a chunk's depths (B,), and the logarithm of how far that may be wrong."""
        tokens_SPC = self.token_norm(seen.tokens)
        patches = _patches_of(seen, 4 * self.cell)
        frame_SK = torch.cat((tokens_SPC[:, 0], tokens_SPC[:, -patches[0] * patches[1] :].mean(1)), dim=-1)
        said_B2 = unit(frame_SK.reshape(chunks, -1, frame_SK.shape[-1]).mean(1))
        return said_B2[:, 0].clamp(-_LARGEST_UNIT, _LARGEST_UNIT), said_B2[:, 1].clamp(-5.0, 1.0)

    def focal(self, x_SPC: Tensor, chunks: int = 1) -> Tensor:
        """Focal length (B,) in widths of the image, one a chunk."""
        said_S1 = self.lens(self.token_norm(x_SPC[:, 0]))
        return _COMMON_FOCAL * said_S1.reshape(chunks, -1).mean(1).clamp(-2, 2).exp()

    def _at_cells(self, x_Shw: Tensor) -> Tensor:
        return x_Shw[:, :: self.cell, :: self.cell]

    def _swept(self, views: Views, places: Places, motion: RigidMotion, seen: SeenFrames, later: list[int]) -> Swept:
        """Depth corrected by the sweep and by the parallax to the frame before."""
        depth_SYX = self._at_cells(seen.depth)
        S, rows, columns = depth_SYX.shape
        pull_PN, information_PN = parallax(places, depth_SYX[later].flatten(1), motion)
        information_PN = information_PN.detach()
        all_PN = information_PN + _DEPTH_SIGMA**-2
        told_P2N = torch.stack(((pull_PN / all_PN).clamp(-1, 1), information_PN / all_PN), dim=1)
        later_P = torch.tensor(later, dtype=torch.long, device=depth_SYX.device)
        told_S2N = depth_SYX.new_zeros(S, 2, rows * columns).index_copy(0, later_P, told_P2N)
        known = (
            0.5 * (seen.matches[:, 2].float() - _COMMON_PRECISION),
            (self._at_cells(seen.confidence) - 1).clamp(min=1e-4).log(),
        )
        grid = _patches_of(seen, 4 * self.cell)
        patches_SCyx = seen.tokens[:, -grid[0] * grid[1] :].mT.reshape(S, -1, *grid)
        log_depth_SYX = depth_SYX.clamp(min=1e-4).log()
        told_S2YX = told_S2N.reshape(S, 2, rows, columns)
        return self.sweep(views, log_depth_SYX, told_S2YX, torch.stack(known, dim=1), seen.detail, patches_SCyx)


def _patches_of(seen: SeenFrames, patch: int) -> tuple[int, int]:
    """Rows and columns of patches in a frame."""
    return seen.depth.shape[1] // patch, seen.depth.shape[2] // patch


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
    uv_N2 = places_of_cells(rows, columns, matches_P3YX.device)
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
