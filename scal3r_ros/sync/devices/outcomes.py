"""What became of the chunks of a step, by what the workers replied."""

from __future__ import annotations

from collections.abc import Mapping

from scal3r_ros.errors import ReconstructionError, Scal3rError
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry
from scal3r_ros.sync.devices.messages import Answer, Done, Failed, Reply

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
