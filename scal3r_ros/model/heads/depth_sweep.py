"""Depth from several frames: a plane sweep along the ray of each cell through the other frames of the chunk.

Shapes: S frames, those of B chunks with F frames each, P pairs of them, C channels, D depths along a ray, Y × X cells
(N of them, patch / 4 pixels wide) whose row and column (i, j) is at pixel (cell · i, cell · j), h × w pixels.
Source: plane sweep as in SimpleRecon (scores by scalar product, read by a two-dimensional network), convex upsampling
of RAFT. The scores carry no gradients: the features learn to match from the matching loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.model.encoder.matching import StemUnit, places_of
from scal3r_ros.model.heads.rigid_motion import RigidMotion, places_of_cells, rotate_by

# Distances in time of the frames that are compared. Neighbours are kept apart from all others: they constrain depth
# less, but share more of the view.
_NEAR, _FAR = (-1, 1), (-4, -2, 2, 4)
_DEPTHS = 32
# Of a frame's typical depth, as logarithms.
_NEAREST, _FURTHEST = -2.2, 2.6
_BEHIND = 0.02
_PAIRS_AT_ONCE = 4
_TEMPERATURE = 12.0
_WIDTH, _COARSE_WIDTH = 48, 64
_CHANGE = 2.5


class Views(NamedTuple):
    """The input of the sweep: `features` (S, C, Y, X) that can be compared by scalar products, `focal` (S,) in widths,
    `T_cam_chunk` (S) in the gauge of the depth, and `order`, a chunk's frames in order of time."""

    features: Tensor
    focal: Tensor
    T_cam_chunk: RigidMotion
    order: Sequence[int]

    @property
    def chunks(self) -> int:
        """Chunks of equal length, one after the other, whose frames are ordered alike."""
        return len(self.features) // len(self.order)


class Swept(NamedTuple):
    """Corrections of the logarithm of depth and of that of (confidence − 1), both (S, h, w)."""

    depth: Tensor
    confidence: Tensor


class DepthSweep(nn.Module):
    """Reads the scores along the rays and the depth predicted so far, and predicts a correction."""

    def __init__(self, detail_channels: int, channels: int, cell: int) -> None:
        super().__init__()
        self.cell = cell
        self.detail = nn.Conv2d(detail_channels, 24, 1)
        self.tokens = nn.Conv2d(channels, _COARSE_WIDTH, 1)
        self.norm = nn.LayerNorm(channels)
        self.read = nn.Conv2d(2 * _DEPTHS + 24 + 13, _WIDTH, 3, padding=1)
        self.fine = StemUnit(_WIDTH)
        self.down1 = nn.Conv2d(_WIDTH, _COARSE_WIDTH, 3, stride=2, padding=1)
        self.coarse1 = nn.Sequential(StemUnit(_COARSE_WIDTH), StemUnit(_COARSE_WIDTH))
        self.down2 = nn.Conv2d(_COARSE_WIDTH, _COARSE_WIDTH, 3, stride=2, padding=1)
        self.coarse2 = nn.Sequential(StemUnit(_COARSE_WIDTH), StemUnit(_COARSE_WIDTH))
        self.up1 = nn.Conv2d(_COARSE_WIDTH, _COARSE_WIDTH, 1)
        self.merge1 = StemUnit(_COARSE_WIDTH)
        self.up0 = nn.Conv2d(_COARSE_WIDTH, _WIDTH, 1)
        self.merge0 = nn.Sequential(StemUnit(_WIDTH), StemUnit(_WIDTH))
        self.out = nn.Conv2d(_WIDTH, 4, 3, padding=1)
        self.between = nn.Conv2d(_WIDTH, 9 * cell**2, 1)
        for last in (self.out, self.between):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, last.bias))
        with torch.no_grad():
            # At the start the parallax of two frames counts by half, the sweep hardly.
            cast(Tensor, self.out.bias)[2:] = torch.tensor([0.0, -2.0])

    def forward(
        self,
        views: Views,
        log_depth_SYX: Tensor,
        told_S2YX: Tensor,
        known_SKYX: Tensor,
        detail: Tensor,
        patches: Tensor,
    ) -> Swept:
        """Corrections at every pixel.

        Args:
            views: the frames and where they were taken from.
            log_depth_SYX: logarithm of the predicted depth.
            told_S2YX: its correction by the parallax to the frame before, and the information in that.
            known_SKYX: two maps more: precision of the matches and confidence of the depth, about zero.
            detail: (S, E, Y, X) image features.
            patches: (S, C, y, x) tokens of the last layer, four cells wide each.
        """
        typical_S11 = log_depth_SYX.detach().flatten(1).median(1).values[:, None, None]
        steps_D = torch.linspace(_NEAREST, _FURTHEST, _DEPTHS, device=log_depth_SYX.device)
        near_SDYX, far_SDYX = scores(views, (typical_S11[:, 0] + steps_D).exp())
        seen_SYX = log_depth_SYX - typical_S11
        both = [best_depth(s_SDYX, steps_D) for s_SDYX in (near_SDYX, far_SDYX, near_SDYX + 2 * far_SDYX)]
        found = [part for best, sure in both for part in (best - seen_SYX, sure)]
        places_S2YX = places_of(log_depth_SYX[:, None]).expand(len(log_depth_SYX), -1, -1, -1)
        known = torch.cat(
            (told_S2YX.detach(), torch.stack((*found, seen_SYX), dim=1).detach(), known_SKYX.detach(), places_S2YX),
            dim=1,
        )
        dtype = self.read.weight.dtype
        shown = self.detail(detail.to(self.detail.weight.dtype)).to(dtype)
        inputs = torch.cat((4 * near_SDYX.to(dtype), 4 * far_SDYX.to(dtype), shown, known.to(dtype)), dim=1)
        hidden = self._mixed(functional.gelu(self.read(inputs)), patches)
        said_S4YX = self.out(hidden).float()
        gate_S2YX = said_S4YX[:, 2:].sigmoid()
        change_SYX = (
            gate_S2YX[:, 0] * told_S2YX[:, 0]
            + gate_S2YX[:, 1] * (both[-1][0] - seen_SYX)
            + said_S4YX[:, 0].clamp(-_CHANGE, _CHANGE)
        )
        corrections_S2YX = torch.stack((change_SYX, said_S4YX[:, 1]), dim=1)
        return Swept(*convex_upsampling(corrections_S2YX, self.between(hidden).float(), self.cell).unbind(1))

    def _mixed(self, x_SWYX: Tensor, patches: Tensor) -> Tensor:
        """The inputs seen at three scales, the coarsest beside the tokens."""
        fine = self.fine(x_SWYX)
        half = self.coarse1(functional.gelu(self.down1(fine)))
        quarter = functional.gelu(self.down2(half))
        tokens = self.norm(patches.movedim(1, -1).to(self.norm.weight.dtype)).movedim(-1, 1)
        quarter = self.coarse2(quarter + self.tokens(tokens.to(self.tokens.weight.dtype)))
        half = self.merge1(half + _sized(self.up1(quarter), half))
        return self.merge0(fine + _sized(self.up0(half), fine))


@torch.no_grad()
def scores(views: Views, depths_SD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine (S, D, Y, X) between a cell and its projections into other frames, 0 where it is outside of all.

    One for neighbouring frames, one for those farther away.
    """
    S, _, rows, columns = views.features.shape
    features_SNC = functional.normalize(views.features.float(), dim=1).flatten(2).mT
    cosines = []
    for offsets in (_NEAR, _FAR):
        sum_SND = features_SNC.new_zeros(S, rows * columns, depths_SD.shape[1])
        count_SND = torch.zeros_like(sum_SND)
        pairs = _pairs(views, offsets)
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            frame_P, other_P = torch.tensor(pairs[start : start + _PAIRS_AT_ONCE], device=features_SNC.device).unbind(1)
            like_PNM = features_SNC[frame_P] @ features_SNC[other_P].mT
            grid_PND2, inside_PND = _seen_in_other(views, depths_SD, frame_P, other_P, rows, columns)
            like_PND = functional.grid_sample(
                like_PNM.reshape(-1, 1, rows, columns), grid_PND2.flatten(0, 1)[:, None], align_corners=True
            ).reshape(inside_PND.shape)
            sum_SND.index_add_(0, frame_P, like_PND * inside_PND)
            count_SND.index_add_(0, frame_P, inside_PND.to(count_SND.dtype))
        cosines.append((sum_SND / count_SND.clamp(min=1)).mT.reshape(S, -1, rows, columns))
    return cosines[0], cosines[1]


def _pairs(views: Views, offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of frames of the same chunk at a given distance in time."""
    F = len(views.order)
    return [
        (chunk * F + views.order[i], chunk * F + views.order[i + offset])
        for chunk in range(views.chunks)
        for i in range(F)
        for offset in offsets
        if 0 <= i + offset < F
    ]


def _seen_in_other(
    views: Views, depths_SD: Tensor, frame_P: Tensor, other_P: Tensor, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """Where in the other frame (P, N, D, 2) each place would be at each depth, in half sizes of the map, and whether
    that is inside of it."""
    to_chunk = RigidMotion(*(part[frame_P] for part in views.T_cam_chunk)).inverse()
    T_other_frame = RigidMotion(*(part[other_P] for part in views.T_cam_chunk)).after(to_chunk)
    uv_N2 = places_of_cells(rows, columns, depths_SD.device)
    focal_P11 = views.focal[frame_P][:, None, None]
    rays_PN3 = functional.pad(uv_N2 / focal_P11, (0, 1), value=1.0)
    turned_PN3 = rotate_by(T_other_frame.quat_xyzw, rays_PN3)
    points_PND3 = (
        turned_PN3[:, :, None] * depths_SD[frame_P][:, None, :, None] + T_other_frame.translation[:, None, None]
    )
    z_PND = points_PND3[..., 2]
    seen_PND2 = focal_P11[..., None] * points_PND3[..., :2] / z_PND.clamp(min=_BEHIND)[..., None]
    column_PND = (seen_PND2[..., 0] + 0.5) * (2 * columns / (columns - 1)) - 1
    row_PND = (seen_PND2[..., 1] * columns + 0.5 * rows) * (2 / (rows - 1)) - 1
    inside_PND = (z_PND > _BEHIND) & (column_PND.abs() <= 1) & (row_PND.abs() <= 1)
    return torch.stack((column_PND, row_PND), dim=-1), inside_PND


def best_depth(scores_SDYX: Tensor, steps_D: Tensor) -> tuple[Tensor, Tensor]:
    """Mean step around the best score (S, Y, X), and the margin of that score over the mean."""
    best_S1YX = scores_SDYX.argmax(1, keepdim=True)
    beside_SDYX = (torch.arange(len(steps_D), device=steps_D.device)[:, None, None] - best_S1YX).abs() <= 2
    share_SDYX = functional.softmax((_TEMPERATURE * scores_SDYX).masked_fill(~beside_SDYX, -math.inf), dim=1)
    better_SYX = scores_SDYX.amax(1) - scores_SDYX.mean(1)
    return torch.einsum("sdij,d->sij", share_SDYX, steps_D), better_SYX


def convex_upsampling(x_SKYX: Tensor, shares: Tensor, times: int) -> Tensor:
    """Values of cells at every pixel (S, K, times · Y, times · X): each a mean of those around its cell, weighted by
    the softmax of `shares` (S, 9 · times², Y, X)."""
    S, K, rows, columns = x_SKYX.shape
    shares_SNR = functional.softmax(shares.reshape(S, 9, times**2, rows * columns), dim=1).permute(0, 3, 1, 2)
    around = functional.unfold(functional.pad(x_SKYX, (1, 1, 1, 1), mode="replicate"), 3)
    fine_SNK = around.reshape(S, K, 9, rows * columns).permute(0, 3, 1, 2) @ shares_SNR
    fine = fine_SNK.reshape(S, rows, columns, K, times, times).permute(0, 3, 1, 4, 2, 5)
    return fine.reshape(S, K, times * rows, times * columns)


def _sized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
