"""Pose and field of view of every frame, refined a few times from its camera token.

Shapes: S frames, those of B chunks with F frames each, C channels, 9 numbers of a pose encoding (see pose_encoding.py).
Source: VGGT (camera head: adaptive LayerNorm on the last estimate, a small trunk over the camera tokens).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scal3r_ros.model.heads.pose_encoding import POSE_NUMBERS
from scal3r_ros.model.layers.blocks import Block, Mlp
from scal3r_ros.model.layers.cpu_kernels import Linear


@dataclass(frozen=True)
class CameraHeadConfig:
    """`depth` blocks, run `iterations` times."""

    depth: int = 4
    heads: int = 16
    iterations: int = 4


class CameraHead(nn.Module):
    """Iterative refinement of pose encodings."""

    def __init__(self, channels: int, config: CameraHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_NUMBERS))
        self.token_norm = nn.LayerNorm(channels)
        self.embed_pose = Linear(POSE_NUMBERS, channels)
        self.modulation = Linear(channels, 3 * channels)
        self.trunk = nn.ModuleList(Block(channels, config.heads) for _ in range(config.depth))
        self.trunk_norm = nn.LayerNorm(channels)
        self.pose_mlp = Mlp(channels, channels // 2, POSE_NUMBERS)

    def forward(self, x_SPC: Tensor) -> Tensor:
        """Pose encodings (S, 9) from the last layer's tokens."""
        return self.refinements(x_SPC)[-1]

    def refinements(self, x_SPC: Tensor, chunks: int = 1) -> list[Tensor]:
        """The estimate (S, 9) after each iteration; training supervises all of them.

        Frames may be those of `chunks` chunks of equal length, one after the other, which do not see each other.
        """
        camera_SC = self.token_norm(x_SPC[:, 0])
        normed_SC = functional.layer_norm(camera_SC, camera_SC.shape[-1:], eps=1e-6)
        pose_S9 = self.empty_pose_tokens[0].expand(len(camera_SC), -1)
        total_S9 = torch.zeros_like(pose_S9)
        estimates: list[Tensor] = []
        for _ in range(self.config.iterations):
            shift, scale, gate = self.modulation(functional.silu(self.embed_pose(pose_S9))).chunk(3, dim=-1)
            hidden_BFC = (camera_SC + gate * (normed_SC * (1 + scale) + shift)).unflatten(0, (chunks, -1))
            for block in self.trunk:
                hidden_BFC = block(hidden_BFC)
            total_S9 = total_S9.detach() + self.pose_mlp(self.trunk_norm(hidden_BFC)).flatten(0, 1)
            # A field of view is never negative.
            estimates.append(torch.cat((total_S9[:, :7], functional.relu(total_S9[:, 7:])), dim=-1))
            # As in training: an iteration learns to correct the last one, not to prepare the next.
            pose_S9 = total_S9.detach()
        return estimates
