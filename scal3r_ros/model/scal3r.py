"""The complete network: images of a chunk in, cameras, depth and points out, with a memory in between.

Shapes: S frames of a chunk, the first of which is its reference; h × w pixels, both multiples of the patch; N patches
and P tokens of a frame, C channels.

    images ─ encode ─► patches ─ aggregate ─► features ─┬─► camera head ─► pose encodings
                                    ▲                   ├─► depth head  ─► depth, confidence
                                  memory                └─► point head  ─► points, confidence

A network whose stem compares frames has a camera head that solves for the poses, see solved_cameras.py: it takes the
depth as input, and returns it in agreement with the poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scal3r_ros.errors import ModelError
from scal3r_ros.model.aggregator import Aggregator, FastWeightSource, Grid, OtherFrames
from scal3r_ros.model.encoder.build import build_encoder, sees_previous
from scal3r_ros.model.encoder.encoder import Encoding, VitConfig, normalise_colours
from scal3r_ros.model.heads.camera import CameraHead
from scal3r_ros.model.heads.dpt import DptHead, depth_of, points_of
from scal3r_ros.model.heads.solved_cameras import SeenFrames, SolvedCameras
from scal3r_ros.model.weights.presets import Preset


@dataclass(frozen=True)
class DenseMaps:
    """`values` (S, h, w) z-depth or (S, h, w, 3) points in the chunk's gauge; `confidence` (S, h, w), above one."""

    values: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Prediction:
    """The network's prediction for a chunk, in the chunk's own frame (that of its first camera) and scale.

    `pose_encoding` (S, 9), see pose_encoding.py; `descriptors` (S, C or 0) of each frame on its own; `points` is None
    where there is no point head or it was not asked.
    """

    pose_encoding: Tensor
    depth: DenseMaps
    points: DenseMaps | None
    descriptors: Tensor


class Scal3R(nn.Module):
    """Encoder, aggregator with memory units, and heads, shaped by `preset`; weights are random until loaded."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.unit_sigma: float | None = None
        """How far the logarithm of a chunk's unit is off that of a drive's first; None where that was not measured."""
        channels = 2 * preset.aggregator.channels
        self.encoder = build_encoder(preset.encoder)
        self.aggregator = Aggregator(preset.aggregator, preset.memory)
        finer = 0 if isinstance(preset.encoder, VitConfig) else preset.encoder.detail_channels
        self.camera_head = (
            SolvedCameras(channels, finer, preset.patch // 4, preset.says_unit)
            if self.sees_previous
            else CameraHead(channels, preset.camera_head)
        )
        self.depth_head = DptHead(channels, 1, depth_of, preset.patch, preset.dpt_head, finer)
        self.point_head = (
            DptHead(channels, 3, points_of, preset.patch, preset.dpt_head) if preset.has_point_head else None
        )

    def grid(self, images_S3hw: Tensor) -> Grid:
        """Size of the images in patches; `ModelError` where that is not a whole number."""
        height, width = images_S3hw.shape[-2:]
        if height % self.preset.patch or width % self.preset.patch:
            raise ModelError(
                f"images of {width} × {height} pixels do not divide into patches of {self.preset.patch}:"
                " resize them as preprocessing.py does"
            )
        return Grid(height // self.preset.patch, width // self.preset.patch)

    def encode(
        self, images_S3hw: Tensor, frames_at_once: int = 16, *, previous: Sequence[int] | None = None
    ) -> Encoding:
        """The encoding of each frame by itself, from RGB in 0..1, so that it can be cached.

        For a stem that sees the frame before, `previous` is the index of that image for each, its own index where there
        is none; without `previous` the images are in order of time.
        """
        self.grid(images_S3hw)
        if self.sees_previous:
            encoding: Encoding = self.encoder(normalise_colours(images_S3hw), previous)
            return encoding
        batches = [self.encoder(normalise_colours(batch)) for batch in torch.split(images_S3hw, frames_at_once)]
        return Encoding(*(torch.cat(parts) for parts in zip(*batches, strict=True)))

    @property
    def sees_previous(self) -> bool:
        """Whether the encoder compares each frame with the one before it and poses are solved from the matches."""
        return sees_previous(self.preset.encoder)

    def aggregate(
        self, patches_SNC: Tensor, grid: Grid, memory: FastWeightSource, others: OtherFrames | None = None
    ) -> list[Tensor]:
        """Tokens (S, P, 2C) of the four layers that the heads read; see `Aggregator.forward`."""
        features: list[Tensor] = self.aggregator(patches_SNC, grid, memory, others)
        return features

    def depth(
        self, features: Sequence[Tensor], grid: Grid, detail: Tensor | None = None, frames_at_once: int = 8
    ) -> DenseMaps:
        """Depth of the frames in `features` with the encoding's `detail`; give it slices to decode only some frames."""
        finer = detail if detail is not None and detail.shape[-1] else None
        values, confidence = self.depth_head(features, grid, self.aggregator.special, frames_at_once, finer)
        return DenseMaps(values[..., 0], confidence)

    def points(self, features: Sequence[Tensor], grid: Grid, frames_at_once: int = 8) -> DenseMaps:
        """Points of the frames in `features`; `ModelError` where the preset has no head for them."""
        if self.point_head is None:
            raise ModelError(f"preset {self.preset.name} has no point head: take points from depth and cameras")
        return DenseMaps(*self.point_head(features, grid, self.aggregator.special, frames_at_once))

    def cameras(
        self,
        features: Sequence[Tensor],
        depth: DenseMaps,
        encoding: Encoding,
        previous: Sequence[int] | None = None,
        focal: float | None = None,
    ) -> tuple[Tensor, DenseMaps]:
        """Pose encodings (S, 9) of all frames of a chunk, and their depth in agreement with them.

        `depth` is asked for only where the network `sees_previous`, and then of all frames; `previous` as for
        `encode`; `focal`: focal length in widths of the image, where it is known and the network solves for poses.
        """
        if isinstance(self.camera_head, CameraHead):
            return self.camera_head(features[-1]), depth
        if previous is None:
            previous = [max(0, position - 1) for position in range(len(features[-1]))]
        focal_B = None if focal is None else depth.values.new_tensor([focal])
        seen = SeenFrames(features[-1].float(), depth.values, depth.confidence, *encoding[2:])
        predicted = self.camera_head(seen, previous, focal_B=focal_B)
        return predicted.pose_encoding, DenseMaps(predicted.depth, predicted.confidence)

    def decode(
        self,
        features: Sequence[Tensor],
        grid: Grid,
        encoding: Encoding,
        with_points: bool = True,
        previous: Sequence[int] | None = None,
        focal: float | None = None,
    ) -> Prediction:
        """All heads of the network on the features of a chunk, the point head only `with_points`; see `cameras`."""
        poses_S9, depth = self.cameras(features, self.depth(features, grid, encoding.detail), encoding, previous, focal)
        return Prediction(
            pose_encoding=poses_S9,
            depth=depth,
            points=self.points(features, grid) if with_points and self.point_head is not None else None,
            descriptors=encoding.descriptor,
        )

    def forward(
        self, images_S3hw: Tensor, memory: FastWeightSource, previous: Sequence[int] | None = None
    ) -> Prediction:
        """A chunk from images, the first of which is its reference, to geometry; `previous` as for `encode`."""
        grid = self.grid(images_S3hw)
        encoding = self.encode(images_S3hw, previous=previous)
        features = self.aggregate(encoding.patches, grid, memory)
        return self.decode(features, grid, encoding, previous=previous)

    def set_precision(self, compute: torch.dtype, heads: torch.dtype = torch.float32) -> Scal3R:
        """Linear layers and convolutions of encoder and blocks compute in `compute`, those of the DPT heads in `heads`.

        Norms, residual stream, tokens, memory, camera head and the last two convolutions of a DPT head stay float32, as
        in the released code under autocast.
        """
        aggregator = self.aggregator
        dense_heads = [head for head in (self.depth_head, self.point_head) if head is not None]
        for part, dtype in (
            (self.encoder, compute),
            (aggregator.frame_blocks, compute),
            (aggregator.global_blocks, compute),
            *((head, heads) for head in dense_heads),
        ):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    module.to(dtype)
        for head in dense_heads:
            head.hidden.float()
            head.out.float()
        return self


def random_model(preset: Preset, seed: int) -> Scal3R:
    """A network with untrained weights, equal for equal seeds: for tests, benchmarks and as a start for training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Scal3R(preset).eval()
