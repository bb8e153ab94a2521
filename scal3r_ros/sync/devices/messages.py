"""Messages of the main process to its workers, and their replies: one reply to every message but two.

All of them are pickled; what was learned travels as arrays, not as tensors, whose pickles would share memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scal3r_ros.errors import ReconstructionError, Scal3rError
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.dividing.frame_split import FrameShare
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry
from scal3r_ros.sync.exchange.layout import SharedNetwork


def without_features(chunk: Chunk) -> Chunk:
    """`chunk` as it travels to a worker, where nobody reads its tracks."""
    return replace(chunk, frames=tuple(replace(frame, features=None) for frame in chunk.frames))


# Messages -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """The first message: which network to load, on which device, and whether the box shares its memory."""

    config: NetworkConfig
    shares: bool = False


@dataclass(frozen=True)
class Form:
    """Join a new group of `size` workers as number `rank`, if all of them come within `timeout_s`.

    `meeting` is a file that only this group uses.
    """

    meeting: Path
    rank: int
    size: int
    backend: str
    timeout_s: float


@dataclass(frozen=True)
class Step:
    """Take `chunk` through the network, or only the others' gradients with None.

    The step has as many passes through the memory as `members` has entries, each of which tells how many workers bring
    a part of a chunk to that pass; a chunk goes in parts of at most `frames_at_once` frames, None for undivided chunks.
    """

    chunk: Chunk | None
    frames_at_once: int | None
    members: tuple[int, ...]
    peer_sum: int = 0
    """Version of the peers' sum that the memory uses; 0 is none."""
    share: FrameShare | None = None
    """The frames of `chunk` that this worker takes; None takes all of them."""


@dataclass(frozen=True)
class Rewind:
    """Forget what the last step or restore has taught."""


@dataclass(frozen=True)
class Reset:
    """Forget everything."""


@dataclass(frozen=True)
class Save:
    """Write the memory to a file, with the starts of this box under which peers know it."""

    path: Path
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Restore:
    """Continue with the memory in a file."""

    path: Path


@dataclass(frozen=True)
class ReadGradients:
    """Reply with the accumulated gradient: of this box, or with the peers' sum of that version."""

    peer_sum: int | None = None


@dataclass(frozen=True)
class Write:
    """Write the accumulated gradient of this box into a file, in the background: no reply, but `Written` when done."""

    path: Path


@dataclass(frozen=True)
class PeerSum:
    """Read what the peers of the box have taught, in the background: no reply, but `Loaded` when it is there."""

    path: Path
    version: int


@dataclass(frozen=True)
class Recall:
    """Reply with the geometry of `chunk`, without learning from it."""

    chunk: Chunk


@dataclass(frozen=True)
class Stop:
    """End; the reply is the end of the process."""


Message = Start | Form | Step | Rewind | Reset | Save | Restore | ReadGradients | Write | PeerSum | Recall | Stop

# Replies ------------------------------------------------------------------------------------------------------------

Gradients = Mapping[int, tuple[NDArray[np.float32], ...]]
"""An accumulated gradient by layer: w0, w1, w2."""


@dataclass(frozen=True)
class Passed:
    """No reply but a sign of life: a sum over all workers is about to begin."""


@dataclass(frozen=True)
class Done:
    """The message was executed; `gradients` or `geometry` where it asked for them."""

    gradients: Gradients | None = None
    geometry: ChunkGeometry | None = None


@dataclass(frozen=True)
class Space:
    """The memory of a GPU in bytes, and the type in which the network computes there."""

    capacity: int
    compute: torch.dtype


@dataclass(frozen=True)
class Ready:
    """The network is loaded on `device`; `network` for a box that shares its memory.

    `space` is None where the device is no GPU, and shares the RAM with all others.
    """

    device: str
    network: SharedNetwork | None = None
    space: Space | None = None


@dataclass(frozen=True)
class Loaded:
    """No reply: the peers' sum of that version can be used."""

    version: int


@dataclass(frozen=True)
class Written:
    """No reply: the file that `Write` asked for is there."""

    path: Path


@dataclass(frozen=True)
class Answer:
    """The step is through: geometry of the worker's own chunk, None where it was not finite or there was no chunk."""

    geometry: ChunkGeometry | None
    metrics: Mapping[str, int | float]
    waited_s: float = 0.0
    """How long the worker's part in it waited for the peers of the box."""


@dataclass(frozen=True)
class OutOfMemory:
    """The step is through for the others, but this worker's chunk did not fit on its device."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """The message could not be executed; of a step, the others' part in it is through."""

    error: Scal3rError


@dataclass(frozen=True)
class Broken:
    """The group fell apart before the message was executed."""

    reason: str


@dataclass(frozen=True)
class Gone:
    """Stands in for the reply of a worker that has died."""


Reply = Passed | Loaded | Written | Done | Ready | Answer | OutOfMemory | Failed | Broken | Gone

# What became of the chunks of a step ---------------------------------------------------------------------------------

Outcome = ChunkGeometry | Scal3rError | None
"""What became of a chunk: None where the network gave nothing finite."""

ChunkKey = tuple[int, tuple[int, ...]]


def outcome_of(reply: Reply) -> Outcome:
    """The outcome of a chunk that its worker has replied to."""
    if isinstance(reply, Answer):
        return reply.geometry
    assert isinstance(reply, Failed), "all other replies to a step were handled"
    return reply.error


def metrics_of(reply: Reply) -> Mapping[str, int | float]:
    """The memory's metrics in a reply to a step."""
    return reply.metrics if isinstance(reply, Answer) else {}


def waited_of(replies: Sequence[Reply]) -> float:
    """How long a step has waited for the peers of the box, in seconds: its slowest worker counts."""
    return max((reply.waited_s for reply in replies if isinstance(reply, Answer)), default=0.0)


def done(reply: Reply) -> Done:
    """The reply to a message that is not a step; raises what was wrong."""
    if isinstance(reply, Done):
        return reply
    if isinstance(reply, Failed):
        raise reply.error
    raise ReconstructionError("all workers of the network are lost, and with them its memory")


def key_of(chunk: Chunk) -> ChunkKey:
    """What a chunk is recognised by."""
    return chunk.index, tuple(frame.stamp_ns for frame in chunk.frames)
