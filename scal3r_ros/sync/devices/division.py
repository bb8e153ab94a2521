"""How the work of a step is divided among the workers of a box: a chunk for each, or the frames of one chunk.

A chunk for each costs the least: only gradients travel. Frames of one chunk need less memory on each device, but the
keys and values of every global layer travel, so they are for chunks that do not fit on one device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from scal3r_ros.model import preset_named
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import crop_of
from scal3r_ros.reconstruction.network.dividing.chunk_parts import SMALLEST_PART, parts_of
from scal3r_ros.reconstruction.network.dividing.frame_split import FrameShare
from scal3r_ros.reconstruction.network.plan import plan_memory
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry
from scal3r_ros.sync.devices.messages import (
    Answer,
    Broken,
    Failed,
    Gone,
    OutOfMemory,
    Reply,
    Space,
    Step,
    waited_of,
    without_features,
)

_log = logging.getLogger(__name__)


class StepLostError(Exception):
    """A worker was lost in the step, which was undone by the others."""


def replies_of_chunks(replies: Sequence[Reply], chunks: int, split: bool) -> list[Reply]:
    """The replies to a step, one for each of its chunks, from those of all workers in order of rank.

    Raises:
        StepLostError: a worker was lost; or the group fell apart, and no share of a `split` chunk is the reason.
    """
    faults = [reply for reply in replies if isinstance(reply, OutOfMemory | Failed)]
    lost = any(isinstance(reply, Gone) for reply in replies)
    if split and faults and not lost:
        return [min(faults, key=lambda reply: isinstance(reply, Failed))]
    if lost or any(isinstance(reply, Broken) for reply in replies):
        raise StepLostError
    return [_joined(replies)] if split else list(replies[:chunks])


def _joined(replies: Sequence[Reply]) -> Answer:
    answers = [reply for reply in replies if isinstance(reply, Answer)]
    shares = [answer.geometry for answer in answers if answer.geometry is not None]
    geometry = _side_by_side(shares) if len(shares) == len(answers) else None
    return Answer(geometry, answers[0].metrics, waited_of(replies))


def _side_by_side(shares: Sequence[ChunkGeometry]) -> ChunkGeometry:
    """Shares in the same gauge as one chunk; a stage takes as long as its slowest worker."""
    descriptors = [share.descriptors for share in shares if share.descriptors is not None]
    return replace(
        shares[0],
        T_chunk_cam=np.concatenate([share.T_chunk_cam for share in shares]),
        intrinsics=tuple(camera for share in shares for camera in share.intrinsics),
        depth=np.concatenate([share.depth for share in shares]),
        confidence=np.concatenate([share.confidence for share in shares]),
        descriptors=np.concatenate(descriptors) if descriptors else None,
        note="; ".join(dict.fromkeys(share.note for share in shares if share.note)),
        timings={stage: max(share.timings[stage] for share in shares) for stage in shares[0].timings},
    )


class Division:
    """Which chunks have their frames split over the workers.

    Args:
        config: says so by `split`, or leaves it to the memory that a chunk needs.
        shares: whether the box shares its memory, which takes room on each device.
        space: the memory of the smallest device; None where that is not known.
    """

    def __init__(self, config: NetworkConfig, shares: bool, space: Callable[[], Space | None]) -> None:
        self._config = config
        self._preset = preset_named(config.preset)
        self._shares = shares
        self._space = space
        self._needs: dict[tuple[int, int, int], float] = {}
        self._too_many: int | None = None
        self._fits = True

    @property
    def always(self) -> bool:
        """Whether the frames of every chunk are split."""
        return self._config.split == "frames" and self._fits

    def steps(self, chunks: Sequence[Chunk], workers: int, frames_at_once: int | None, peer_sum: int) -> list[Step]:
        """What each worker does in the step of some chunks: no more than workers, and alone where it is to be split."""
        if len(chunks) == 1 and self.splits(chunks[0], workers):
            shares = FrameShare.equal(len(chunks[0].frames), workers).of_all
            chunk = without_features(chunks[0])
            return [Step(chunk, None, (1,), peer_sum, FrameShare(shares, rank)) for rank in range(workers)]
        parts = [len(parts_of(len(c.frames), frames_at_once or len(c.frames))) for c in chunks]
        members = tuple(sum(count > number for count in parts) for number in range(max(parts)))
        given = [*map(without_features, chunks), *[None] * (workers - len(chunks))]
        return [Step(chunk, frames_at_once, members, peer_sum) for chunk in given]

    def splits(self, chunk: Chunk, workers: int) -> bool:
        """Whether the frames of `chunk` are split over that many workers."""
        frames = len(chunk.frames)
        if self._config.split == "chunks" or not self._fits or workers < 2 or frames < workers:
            return False
        if self.always or (self._too_many is not None and frames >= self._too_many):
            return True
        space = self._space()
        return space is not None and self._need(chunk, space) > space.capacity

    def out_of_memory(self, chunks: Sequence[Chunk], split: bool, workers: int) -> tuple[str, int | None] | None:
        """What to do after chunks that did not fit, as a sentence, and the frames of a part where they go in parts.

        None where their frames can be split no further.
        """
        longest = max(len(chunk.frames) for chunk in chunks)
        if split:
            self._fits = False
            share = max(SMALLEST_PART, -(-longest // workers))
            return (
                f"out of memory with frames split over {workers} devices: chunks now go in parts of {share} frames",
                share,
            )
        if self._config.split != "auto" or not self._fits or self._too_many is not None:
            return None
        if workers < 2 or longest < workers:
            return None
        self._too_many = longest
        return f"out of memory on a worker: the frames of a chunk are now split over {workers} devices", None

    def _need(self, chunk: Chunk, space: Space) -> float:
        """Bytes that the device needs for the whole chunk; found out once for each length and size."""
        crop = crop_of(chunk.frames[:1], self._config.image_width or self._preset.image_width, self._preset.patch)
        height, width = crop.plans[0].target
        key = len(chunk.frames), width, height
        if key not in self._needs:
            self._needs[key] = plan_memory(
                self._preset,
                *key,
                compute=space.compute,
                head_frames=self._config.head_frames,
                shares=self._shares,
            ).device
            if self._needs[key] > space.capacity:
                _log.info(
                    "chunks of %d frames need %.1f GB, a device has %.1f GB: their frames are split over the devices",
                    key[0],
                    self._needs[key] / 1e9,
                    space.capacity / 1e9,
                )
        return self._needs[key]
