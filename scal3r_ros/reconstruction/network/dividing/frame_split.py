"""One chunk whose frames several processes share: each takes some of them through the network.

Encoder, frame attention and depth head see a frame at a time, so they stay where the frame is. Global attention needs
the keys and values of all frames, the cameras a token of each; both are gathered. Memory units sum their gradients.

Shapes: S frames of a chunk, L tokens of this process's frames, K of all frames, H heads, D channels of a head.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scal3r_ros.model import DenseMaps, Scal3R
from scal3r_ros.model.aggregator import OtherFrames
from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.network.dividing.chunk_parts import FrameOrder

Gather = Callable[[Tensor, Sequence[int]], Tensor]
"""The rows of all processes in order of rank, from those of this one and the number that each has."""
KeysAndValues = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FrameShare:
    """The positions of a chunk's frames that each process takes, in order of rank and time; this one's `rank`."""

    of_all: tuple[range, ...]
    rank: int

    @classmethod
    def equal(cls, frames: int, processes: int) -> FrameShare:
        """Shares as equal as can be of `frames`, at least one for each process; that of a process with most of them."""
        bounds = [rank * frames // processes for rank in range(processes + 1)]
        shares = tuple(range(first, end) for first, end in itertools.pairwise(bounds))
        return cls(shares, max(range(processes), key=lambda rank: len(shares[rank])))

    @property
    def own(self) -> range:
        """The positions of this process's frames."""
        return self.of_all[self.rank]

    @property
    def frames(self) -> int:
        """How many frames the chunk has."""
        return self.of_all[-1].stop


class GatheredFrames:
    """`OtherFrames` that come to every process, instead of going round in a ring.

    The keys and values of one layer are a small part of what a chunk takes, and attention remains one call of the
    kernel that answers a chunk on one device.
    """

    def __init__(self, share: FrameShare, gather: Gather) -> None:
        self.has_reference = FrameOrder.of(share.frames).positions[0] in share.own
        self._gather = gather
        self._counts = [len(positions) for positions in share.of_all]
        self._own = len(share.own)
        self._uncompiled: KeysAndValues = self._gathered
        # Where layers are compiled, torch's compiler is there; else this would import it, two seconds in every process.
        if "torch._dynamo" in sys.modules:
            untyped: Callable[[KeysAndValues], KeysAndValues] = torch.compiler.disable
            self._uncompiled = untyped(self._gathered)

    def keys_and_values(self, k_1HLD: Tensor, v_1HLD: Tensor) -> tuple[Tensor, Tensor]:
        """See `OtherFrames`."""
        return self._uncompiled(k_1HLD, v_1HLD)

    def _gathered(self, k_1HLD: Tensor, v_1HLD: Tensor) -> tuple[Tensor, Tensor]:
        rows_L2HD = torch.stack((k_1HLD[0], v_1HLD[0])).permute(2, 0, 1, 3)
        tokens = len(rows_L2HD) // self._own
        rows_K2HD = self._gather(rows_L2HD, [tokens * count for count in self._counts])
        k_HKD, v_HKD = rows_K2HD.permute(1, 2, 0, 3)
        return k_HKD[None], v_HKD[None]

    def gather(self, rows_SX: Tensor) -> Tensor:
        """See `OtherFrames`."""
        return self._gather(rows_SX, self._counts)


def cameras_of_all(
    model: Scal3R, tokens_SPC: Tensor, maps: DenseMaps, own: Encoding, others: OtherFrames, focal: float | None
) -> tuple[Tensor, DenseMaps]:
    """Pose encodings (S, 9) of all frames of a chunk in order of time; every process computes the same.

    `tokens_SPC` of the last layer, `maps` and `own` are of this process's frames in order of time. Where the network
    solves for the poses, the maps of all frames are returned in agreement with them, else `maps`. `focal` as in
    `Scal3R.cameras`.
    """
    gathered = others.gather(tokens_SPC if model.sees_previous else tokens_SPC[:, :1])  # the tokens of the cameras
    order = FrameOrder.of(len(gathered))

    def of_all(rows: Tensor) -> Tensor:
        return others.gather(rows)[order.positions]

    if model.sees_previous:
        maps = DenseMaps(of_all(maps.values), of_all(maps.confidence))
        own = own._replace(matches=of_all(own.matches), detail=of_all(own.detail), compared=of_all(own.compared))
    poses_S9, maps = model.cameras([gathered[order.positions]], maps, own, order.previous, focal)
    if model.sees_previous:
        maps = DenseMaps(maps.values[order.places], maps.confidence[order.places])
    return poses_S9[order.places], maps
