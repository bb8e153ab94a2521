"""What the main process tells its workers and what they answer, one answer to every order.

All of it is pickled; what was learnt travels as arrays, not as tensors, whose pickles would share memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import Scal3rError
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry

# Orders -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """The first order: which network to load, on which device."""

    config: NetworkConfig


@dataclass(frozen=True)
class Form:
    """Take part in a new group of `size` workers as number `rank`, if all of them come within `patience_s`.

    `meeting` is a file that only this group uses.
    """

    meeting: Path
    rank: int
    size: int
    backend: str
    patience_s: float


@dataclass(frozen=True)
class Step:
    """Go through the network with `chunk`, or stand by with None.

    The step has as many passes through the memory as `members` has entries, each of which says how many workers bring
    a part of a chunk to that pass; a chunk goes in parts of at most `frames_at_once` frames, None for whole chunks.
    """

    chunk: Chunk | None
    frames_at_once: int | None
    members: tuple[int, ...]


@dataclass(frozen=True)
class Rewind:
    """Forget what the last step or restore has taught."""


@dataclass(frozen=True)
class Reset:
    """Forget everything."""


@dataclass(frozen=True)
class Save:
    """Write the memory to a file."""

    path: Path


@dataclass(frozen=True)
class Restore:
    """Continue with the memory in a file."""

    path: Path


@dataclass(frozen=True)
class SetPeerGradients:
    """Answer with the evidence gathered so far."""


@dataclass(frozen=True)
class Recall:
    """Answer `chunk` without learning from it."""

    chunk: Chunk


@dataclass(frozen=True)
class Leave:
    """End; the only order without an answer but the end of the process."""


Order = Start | Form | Step | Rewind | Reset | Save | Restore | SetPeerGradients | Recall | Leave

# Answers ------------------------------------------------------------------------------------------------------------

Evidence = Mapping[int, tuple[NDArray[np.float32], ...]]


@dataclass(frozen=True)
class Passed:
    """No answer but a sign of life: a sum over all workers is about to begin."""


@dataclass(frozen=True)
class Done:
    """The order was carried out; `evidence` where that was asked; `geometry` of a chunk that was recalled."""

    evidence: Evidence | None = None
    geometry: ChunkGeometry | None = None


@dataclass(frozen=True)
class Ready:
    """The network is loaded on `device`."""

    device: str


@dataclass(frozen=True)
class Answer:
    """The step is through: geometry of the worker's own chunk, None where nothing finite came out or there was none."""

    geometry: ChunkGeometry | None
    figures: Mapping[str, int | float]


@dataclass(frozen=True)
class OutOfMemory:
    """The step is through for the others, but this worker's chunk did not fit on its device."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """The order could not be carried out; of a step, the others' part in it is through."""

    error: Scal3rError


@dataclass(frozen=True)
class Broken:
    """The group fell apart before the order was carried out."""

    reason: str


@dataclass(frozen=True)
class Gone:
    """What stands in for the answer of a worker that has died."""


Reply = Passed | Done | Ready | Answer | OutOfMemory | Failed | Broken | Gone
