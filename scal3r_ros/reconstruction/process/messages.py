"""What the two processes of a `SeparateReconstructor` send each other: one `Answer` to every message but the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scal3r_ros.errors import Scal3rError
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Previous, Reconstructor


@dataclass(frozen=True)
class Start:
    """The first message, answered by `Ready` or `Failed`.

    `build` makes the reconstructor. What that learns is written to `memory` now and then, and read from there first
    where there is something.
    """

    build: Callable[[], Reconstructor]
    memory: Path


@dataclass(frozen=True)
class Reconstruct:
    """See `Reconstructor.reconstruct`; `after_last` stands for the last chunk and its geometry as `previous`."""

    chunk: Chunk
    previous: Previous | None
    after_last: bool
    following: tuple[Chunk, ...]


@dataclass(frozen=True)
class Recall:
    """See `Reconstructor.recall`."""

    chunk: Chunk


@dataclass(frozen=True)
class Snapshot:
    """See `LearnedMemory.snapshot`."""

    path: Path


@dataclass(frozen=True)
class Restore:
    """See `LearnedMemory.restore`."""

    path: Path


@dataclass(frozen=True)
class Reset:
    """See `Reconstructor.reset`."""


@dataclass(frozen=True)
class Stop:
    """Close the reconstructor and end."""


Message = Start | Reconstruct | Recall | Snapshot | Restore | Reset | Stop


@dataclass(frozen=True)
class Ready:
    """The reconstructor was made; `restored` tells whether it goes on with what another process had learned."""

    name: str
    has_memory: bool
    can_recall: bool
    max_parallel_chunks: int
    restored: bool


@dataclass(frozen=True)
class Failed:
    """The reconstructor was not made, or cannot do what it was asked for."""

    error: Scal3rError


@dataclass(frozen=True)
class Measured:
    """The reconstructor's metrics, and MB of RAM in use; comes at any time: peers come and go between two chunks."""

    metrics: Mapping[str, int | float] = field(default_factory=dict)
    resident_mb: float = 0.0


@dataclass(frozen=True)
class Answer:
    """A message was carried out; `geometry` where one was asked for and came out."""

    geometry: ChunkGeometry | None = None
    measured: Measured = field(default_factory=Measured)
    max_parallel_chunks: int = 1


@dataclass(frozen=True)
class Logged:
    """A line for the log of this package; comes at any time."""

    logger: str
    level: int
    sentence: str


@dataclass(frozen=True)
class Gone:
    """Made on this side: the process has ended."""


Reply = Ready | Failed | Answer | Gone
