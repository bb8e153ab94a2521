"""A reconstructor whose memory is shared with peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from scal3r_ros.model import FastWeights
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Previous, Reconstructor
from scal3r_ros.sync.peers.peers import MemoryPeers


class Learner(Reconstructor, Protocol):
    """A reconstructor that gathers evidence."""

    def evidence(self) -> Mapping[int, FastWeights]:
        """What it has gathered by itself, by layer; never waits, and the tensors are never changed."""


class SharingReconstructor:
    """A `Reconstructor` that was built with `peers`, and shares with them until it is closed.

    `reset` empties this node's own share, of which the peers hear with the next round; what they have taught stays.
    """

    def __init__(self, learner: Learner, peers: MemoryPeers) -> None:
        self._learner = learner
        self._peers = peers
        peers.start(learner.evidence)

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""
        return self._learner.name

    @property
    def max_parallel_chunks(self) -> int:
        """How many consecutive chunks it can work on at the same time."""
        return self._learner.max_parallel_chunks

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of `chunk`, answered by what peers have taught, too."""
        return self._learner.reconstruct(chunk, previous, following)

    def reset(self) -> None:
        """Forgets what was learnt here."""
        self._learner.reset()

    def metrics(self) -> Mapping[str, int | float]:
        """Figures of the memory and of the peers."""
        return {**self._learner.metrics(), **self._peers.metrics()}

    def close(self) -> None:
        """Tells the peers the last, within their deadline, and ends."""
        self._peers.close()
        self._learner.close()
