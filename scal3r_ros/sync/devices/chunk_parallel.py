"""The reconstructor `scal3r` on several devices of one box: consecutive chunks go through the network in step.

At every memory unit the workers sum the gradients of their chunks, so that each chunk of a step is answered by a memory
that has learned from all of them. Which worker has a chunk makes no difference to the result. A chunk that does not fit
on one device has its frames split over all of them.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from scal3r_ros.errors import ReconstructionError, Scal3rError
from scal3r_ros.model import FastWeights, preset_named
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.crop import crop_of
from scal3r_ros.reconstruction.network.dividing.chunk_parts import SMALLEST_PART
from scal3r_ros.reconstruction.network.geometry import constant_velocity
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkStep, LearnedMemory, Previous
from scal3r_ros.sync.devices.division import Division, StepLostError
from scal3r_ros.sync.devices.messages import (
    Answer,
    ChunkKey,
    Failed,
    Gone,
    Outcome,
    OutOfMemory,
    ReadGradients,
    Recall,
    Reset,
    Restore,
    Rewind,
    Save,
    done,
    key_of,
    metrics_of,
    outcome_of,
    waited_of,
    without_features,
)
from scal3r_ros.sync.devices.worker_pool import WorkerPool
from scal3r_ros.sync.devices.worker_process import Launch, WorkerProcess
from scal3r_ros.sync.exchange.layout import SharedNetwork
from scal3r_ros.sync.peers.peers import MemoryPeers


class ChunkParallelReconstructor:
    """A worker process on each of `config.devices`, and one memory that all of them have in common.

    A chunk is answered together with the full chunks that follow it; their results are kept until they are asked for.
    A chunk that is never asked for has taught the memory all the same.

    The note of the next chunk reports a lost worker. Its step is undone and repeated by the others, in more steps; with
    the last worker the memory is lost, too, and a new worker is started.

    All public methods may be called from any thread; they wait for a step, except `metrics`, `reset` and `close`.

    Args:
        config: the network; `devices` names two or more.
        refine: done to every chunk that the network has answered, also where the memory does not learn from it.
        share: makes the other boxes with which the memory is shared, for the network; None shares nothing.
        launch: starts a worker.

    Raises:
        ReconstructionError: no weights, or a device that cannot be used.
        ModelError: a checkpoint that does not fit the preset.
    """

    def __init__(
        self,
        config: NetworkConfig,
        refine: ChunkStep | None = None,
        share: Callable[[SharedNetwork], MemoryPeers] | None = None,
        launch: Launch = WorkerProcess,
    ) -> None:
        self._config = config
        self._refine = refine
        self._preset = preset_named(config.preset)
        self._lock = threading.Lock()  # one step at a time
        self._reset_wanted = threading.Event()
        self._kept: dict[ChunkKey, Outcome] = {}
        self._frames_at_once: int | None = None
        self._notes: list[str] = []
        self._pool = WorkerPool(config, share is not None, launch)
        self._division = Division(config, share is not None, lambda: self._pool.space)
        self._box = None if share is None else self._pool.share(share)
        self._memory_metrics: Mapping[str, int | float] = {}
        self._waited_s = 0.0  # for peers, of the steps that they have not heard of

    @property
    def name(self) -> str:
        """Name as in the parameter `reconstructor`."""
        return "scal3r"

    @property
    def max_parallel_chunks(self) -> int:
        """As many chunks as workers are alive; one where the frames of every chunk are split over them."""
        return 1 if self._division.always else max(1, len(self._pool))

    @property
    def memory(self) -> LearnedMemory | None:
        """None for a network without memory units."""
        return None if self._preset.memory is None else self

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers alive."""
        return self._pool.pids

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """Geometry of `chunk`, which the memory learns from, and at the same time of as many of `following` as fit.

        Raises:
            ReconstructionError: images of different size, a device too small for two frames, or no worker survives.
        """
        with self._lock:
            self._reset_if_wanted()
            if key_of(chunk) not in self._kept:
                batch = self._batch(chunk, following)
                self._kept = dict(zip(map(key_of, batch), self._outcomes(batch), strict=False))
                if self._box is not None:
                    waited_s, self._waited_s = self._waited_s, 0.0
                    self._box.learned(int(self._memory_metrics.get("memory_chunks", 0)), waited_s)
            outcome = self._kept.pop(key_of(chunk))
            self._notes += self._pool.news()
            if isinstance(outcome, Scal3rError):
                raise outcome
            if outcome is None:
                width = self._config.image_width or self._preset.image_width
                outcome = constant_velocity(chunk, previous, crop_of(chunk.frames, width, self._preset.patch))
            notes, self._notes = [*self._notes, outcome.note], []
            outcome = replace(outcome, note="; ".join(note for note in notes if note))
        return outcome if self._refine is None else self._refine(chunk, outcome, previous)

    def recall(self, chunk: Chunk) -> ChunkGeometry | None:
        """Geometry of `chunk` as the memory answers it now, by the first worker; nothing is learned from it.

        None where nothing finite comes out, the device's memory does not suffice, or no worker is alive.

        Raises:
            ReconstructionError: images of different size.
        """
        with self._lock:
            self._reset_if_wanted()
            reply = self._pool.send_first(Recall(without_features(chunk)))
            geometry = None if isinstance(reply, Gone) else done(reply).geometry
        return geometry if geometry is None or self._refine is None else self._refine(chunk, geometry, None)

    def reset(self) -> None:
        """Forgets what the memory has learned; during a step, as soon as that is done."""
        self._reset_wanted.set()
        if self._lock.acquire(blocking=False):
            try:
                self._reset_if_wanted()
            finally:
                self._lock.release()

    def metrics(self) -> Mapping[str, int | float]:
        """The memory after the last step, workers alive and workers lost so far. Never waits."""
        learned = {} if self._reset_wanted.is_set() else self._memory_metrics
        peers = {} if self._box is None else self._box.metrics()
        return {**learned, "workers": len(self._pool), "workers_lost": self._pool.lost, **peers}

    def snapshot(self, path: Path) -> None:
        """Writes what the memory has learned so far; `ModelError` where the disk refuses it."""
        with self._lock:
            self._reset_if_wanted()
            sessions = () if self._box is None else tuple(self._box.sessions())
            done(self._pool.send_first(Save(path.absolute(), sessions)))

    def restore(self, path: Path) -> None:
        """Continues with the memory in `path`; `ModelError` where it is none, or one of another preset or rule."""
        with self._lock:
            self._reset_if_wanted()
            self._kept = {}
            replies = self._pool.send_all(Restore(path.absolute()))
            if any(isinstance(reply, Failed) for reply in replies):
                self._pool.send_all(Rewind())
            for reply in replies:
                done(reply)
            if self._box is not None:
                self._box.restored(path)

    def accumulated_gradient(self) -> Mapping[int, FastWeights]:
        """What the memory has learned, by layer, on the CPU; the same in all workers."""
        with self._lock:
            self._reset_if_wanted()
            return self._own_gradient()

    def close(self) -> None:
        """Ends the workers within about a second; a chunk in work on another thread fails.

        A box that shares its memory sends its peers the last that was learned before, within their deadline.
        """
        if self._box is not None:
            if self._lock.acquire(blocking=False):
                try:
                    with contextlib.suppress(ReconstructionError):
                        self._box.replace(self._own_gradient())
                finally:
                    self._lock.release()
            self._box.close()
        self._pool.close()

    def _batch(self, chunk: Chunk, following: Sequence[Chunk]) -> list[Chunk]:
        """Chunks to work on now; one whose frames are split goes alone."""
        batch = [chunk]
        if not self._division.splits(chunk, len(self._pool)):
            whole = itertools.takewhile(lambda one: not self._division.splits(one, len(self._pool)), following)
            batch += itertools.islice(whole, self.max_parallel_chunks - 1)
        return batch

    def _own_gradient(self) -> Mapping[int, FastWeights]:
        gradients = done(self._pool.send_first(ReadGradients())).gradients or {}
        return {layer: FastWeights(*map(torch.from_numpy, arrays)) for layer, arrays in gradients.items()}

    def _reset_if_wanted(self) -> None:
        if self._reset_wanted.is_set():
            self._pool.send_all(Reset())
            self._kept, self._memory_metrics = {}, {}
            self._reset_wanted.clear()
            if self._box is not None:
                self._box.reset()

    def _outcomes(self, chunks: Sequence[Chunk]) -> list[Outcome]:
        """What becomes of the chunks, in order; of the first one at least.

        A step with any fault is undone and repeated as suits the fault. That comes to an end: with every repetition
        there are fewer workers, or smaller parts, or fewer chunks in a step.
        """
        outcomes: list[Outcome] = []
        steps = deque([list(chunks)])
        revived = False
        while steps:
            step = steps.popleft()
            if not len(self._pool):
                if revived:
                    return [*outcomes, ReconstructionError(f"chunk {step[0].index} has cost all workers, new ones too")]
                revived = True
                try:
                    self._pool.start_anew()
                except Scal3rError as error:
                    return [*outcomes, error]
            if len(step) > len(self._pool):
                steps.extendleft([step[len(self._pool) :], step[: len(self._pool)]])
                continue
            try:
                replies, split = self._pool.step(step, self._frames_at_once, self._division)
            except StepLostError:
                steps.appendleft(step)
                continue
            if all(isinstance(reply, Answer) and reply.geometry is not None for reply in replies):
                outcomes += [outcome_of(reply) for reply in replies]
                self._memory_metrics = metrics_of(replies[0])
                self._waited_s += waited_of(replies)
                continue
            self._pool.send_all(Rewind())
            out_of_memory = next((reply for reply in replies if isinstance(reply, OutOfMemory)), None)
            if out_of_memory is not None and self._take_less_memory(step, split):
                steps.extendleft(reversed(self._regrouped(step)))
            elif len(step) > 1:
                steps.extendleft([one] for one in reversed(step))
            else:
                outcomes.append(self._too_large(step[0], out_of_memory) if out_of_memory else outcome_of(replies[0]))
        return outcomes

    def _regrouped(self, step: Sequence[Chunk]) -> list[list[Chunk]]:
        """The chunks of a step in steps of their own where their frames are split from now on."""
        alone = any(self._division.splits(chunk, len(self._pool)) for chunk in step)
        return [[chunk] for chunk in step] if alone else [list(step)]

    def _take_less_memory(self, step: Sequence[Chunk], split: bool) -> bool:
        """Splits frames over the devices, or halves the parts that chunks go in; False where neither can be."""
        answer = self._division.out_of_memory(step, split, len(self._pool))
        if answer is not None:
            note, parts = answer
            self._frames_at_once = parts or self._frames_at_once
            self._notes.append(note)
            return True
        longest = max(len(chunk.frames) for chunk in step)
        frames = min(self._frames_at_once or longest, longest)
        if frames <= SMALLEST_PART:
            return False
        self._frames_at_once = max(SMALLEST_PART, -(-frames // 2))
        self._notes.append(f"out of memory on a worker: chunks now go in parts of {self._frames_at_once} frames")
        return True

    def _too_large(self, chunk: Chunk, reply: OutOfMemory) -> ReconstructionError:
        devices = " or ".join(dict.fromkeys(self._config.devices))
        return ReconstructionError(
            f"chunk {chunk.index}: preset {self._preset.name} does not fit on {devices} even with {SMALLEST_PART}"
            f" frames ({reply.reason}): choose a smaller preset or network.image_width"
        )
