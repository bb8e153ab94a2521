"""A reconstructor that works once for several mappers of the same frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Previous, Reconstructor


@dataclass
class _Kept:
    chunk: Chunk
    geometry: ChunkGeometry
    given: int = 0


class SharedGeometry:
    """Gives every mapper what the first one got for a chunk.

    `mappers`: how many ask for each chunk, which is forgotten after the last of them; None keeps all of them.
    """

    max_parallel_chunks = 1
    recall = None
    memory = None

    def __init__(self, reconstructor: Reconstructor, mappers: int | None = None) -> None:
        self._reconstructor, self._mappers = reconstructor, mappers
        self.kept: dict[int, _Kept] = {}
        self.name = reconstructor.name

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """The geometry that the first mapper got for this chunk."""
        if chunk.index not in self.kept:
            self.kept[chunk.index] = _Kept(chunk, self._reconstructor.reconstruct(chunk, previous, following))
        kept = self.kept[chunk.index]
        kept.given += 1
        if kept.given == self._mappers:
            del self.kept[chunk.index]
        return kept.geometry

    def metrics(self) -> Mapping[str, int | float]:
        """None."""
        return {}

    def reset(self) -> None:
        """Nothing is learned."""

    def close(self) -> None:
        """Nothing to end."""
