"""The node's threads: one tracks every image at camera rate, one maps chunks, one closes loops; none waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from scal3r_ros.errors import MappingError, Scal3rError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.images.decoding import ImageError
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.mapping.values import FramePose, MapUpdate, Observation, PointCloud
from scal3r_ros.nodes.mapper.activity import Activity
from scal3r_ros.nodes.mapper.chunk_worker import ChunkWorker
from scal3r_ros.nodes.mapper.faults import FaultLog
from scal3r_ros.nodes.mapper.input.camera import CameraInput, ReceivedImage
from scal3r_ros.nodes.mapper.input.frame_queue import DropOldestQueue
from scal3r_ros.nodes.mapper.input.timestamp_filter import StampVerdict, TimestampFilter
from scal3r_ros.nodes.mapper.loop_worker import LoopWorker
from scal3r_ros.nodes.ros.messages import stamp_ns
from scal3r_ros.nodes.ros.parameters import QueueConfig
from scal3r_ros.reconstruction.protocol import Chunk, Frame

POLL_S = 0.1
"""How long the tracking thread sleeps at most before it looks for orders."""

FIRST_UPDATE_WAIT_S = 2.0
"""How long the first tracked poses wait at most for the older poses of the first map update to be published."""


class Mapper(Protocol):
    """What the node needs of an OnlineMapper; every method may be called from any thread."""

    def observe(self, frame: Frame, busy: bool = False) -> Observation: ...
    @property
    def max_parallel_chunks(self) -> int: ...
    def map_chunk(self, chunk: Chunk, following: Sequence[Chunk] = ()) -> MapUpdate: ...
    def close_window(self) -> Chunk | None: ...
    def reset(self) -> None: ...
    def save(self, folder: Path) -> None: ...
    def load(self, stored: StoredMap) -> None: ...
    def trajectory(self) -> Trajectory: ...
    @property
    def loops_waiting(self) -> int: ...
    def close_loops(self) -> MapUpdate | None: ...
    def loop_ends(self) -> NDArray[np.float64]: ...
    def cloud(self, max_points: int | None = None) -> PointCloud: ...
    def counters(self) -> Mapping[str, int | float]: ...
    def close(self) -> None: ...


class Output(Protocol):
    """Who publishes what the mapper gives; called from all threads."""

    def give_poses(self, poses: Sequence[FramePose]) -> None: ...
    def give_update(self, update: MapUpdate) -> None: ...
    def give_what_is_due(self) -> None: ...
    def clear(self) -> None: ...


@dataclass
class _Renewal:
    """An order to begin anew with what `begin` leaves in the mapper; `done` once it did, or raised `error`."""

    begin: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


class Pipeline:
    """Images in by `submit`, poses and updates out to `output`; `drops` counts lost images, `faults` all else.

    `record` is given every update after it was published.
    """

    def __init__(
        self,
        mapper: Mapper,
        camera: CameraInput,
        output: Output,
        *,
        drops: FaultLog,
        faults: FaultLog,
        activity: Activity,
        warn: Callable[[str], object],
        record: Callable[[MapUpdate], object],
        queue: QueueConfig,
        reset_on_time_jump_s: float,
    ) -> None:
        self._mapper = mapper
        self._camera = camera
        self._output = output
        self._drops = drops
        self._faults = faults
        self._activity = activity
        self._warn = warn
        self._record = record
        self._images: DropOldestQueue[ReceivedImage] = DropOldestQueue(queue.frames)
        self._worker = ChunkWorker(self._map, self._rest, max(queue.chunks, mapper.max_parallel_chunks))
        self._loops = LoopWorker(self._close_loops, lambda: mapper.loops_waiting)
        self._publishing = threading.Lock()  # updates come from two threads
        self._gate = TimestampFilter(reset_on_time_jump_s)
        self._generation = 0
        self._first_update = threading.Event()
        self._renewals: SimpleQueue[_Renewal] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.paused = False

    @property
    def images_waiting(self) -> int:
        """Images received and not yet tracked."""
        return len(self._images)

    @property
    def chunks_waiting(self) -> int:
        """Chunks that wait for reconstruction or are in it."""
        return len(self._worker)

    def start(self) -> None:
        """Starts the threads."""
        self._stopping.clear()
        self._worker.start()
        self._loops.start()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ends the threads, dropping what waits; False where one is still inside the mapper after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        self._camera.stop_waiting()
        self._images.clear()
        stopped = self._worker.stop(timeout_s)
        stopped = self._loops.stop(max(0.0, deadline - time.monotonic())) and stopped
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
            stopped = stopped and not self._thread.is_alive()
        return stopped

    def submit(self, message: Image | CompressedImage) -> None:
        """Queues an image; never waits."""
        if self.paused:
            self._activity.image_while_paused()
            return
        self._activity.image_received()
        received = ReceivedImage(message, stamp_ns(message.header.stamp), time.monotonic())
        if self._images.put(received):
            self._drops.report(
                "queue full",
                "tracking is slower than the camera, so the oldest waiting image is dropped; lower its rate or size",
            )

    def reset(self, timeout_s: float) -> bool:
        """Forgets map and trajectory once the chunk at hand is done; False where that takes longer than `timeout_s`."""
        return self._order(_Renewal(self._mapper.reset), timeout_s)

    def load(self, stored: StoredMap) -> None:
        """Begins anew with a saved map once the chunk at hand is done, and waits for it; raises what the mapper does.

        Raises:
            MappingError: the node stopped meanwhile.
        """
        renewal = _Renewal(lambda: self._mapper.load(stored))
        done = self._order(renewal, POLL_S)
        while not done:
            if self._stopping.is_set():
                raise MappingError("the node stopped before the map was loaded")
            done = renewal.done.wait(POLL_S)
        if renewal.error is not None:
            raise renewal.error

    def save(self, folder: Path) -> None:
        """Saves the map; images go on being tracked. Raises what the mapper does."""
        self._mapper.save(folder)

    def drain(self, timeout_s: float, give_up: Callable[[], bool]) -> bool:
        """Maps what was received, the begun window included; False where `timeout_s` passed or `give_up` came true."""
        deadline = time.monotonic() + timeout_s

        def wait(condition: Callable[[float], bool]) -> bool:
            while not condition(time.monotonic() + POLL_S):
                if time.monotonic() > deadline or give_up():
                    return False
            return True

        if not (wait(self._images.wait_until_done) and wait(self._worker.wait_until_idle)):
            return False
        chunk = self._mapper.close_window()
        if chunk is not None:
            self._worker.offer(chunk)
        return wait(self._worker.wait_until_idle) and wait(self._loops.wait_until_idle)

    def _run(self) -> None:
        while not self._stopping.is_set():
            while not self._renewals.empty():
                self._renew(self._renewals.get())
            received = self._images.take(POLL_S)
            if received is None:
                continue
            try:
                self._track(received)
            except ImageError as error:
                self._drops.report(error.reason, f"an image was dropped: {error}")
            except Exception as error:  # a defect in the mapper must cost an image, not the node
                self._drops.report("tracking failed", f"an image was dropped: {_describe(error)}")
            finally:
                self._activity.image_done(time.monotonic() - received.arrived_s)
                self._images.done()

    def _track(self, received: ReceivedImage) -> None:
        newest_ns = self._gate.newest_ns
        verdict = self._gate.judge(received.stamp_ns)
        if newest_ns is not None and verdict is not StampVerdict.NEXT:
            step = f"image stamp {received.stamp_ns * 1e-9:.9f} s follows {newest_ns * 1e-9:.9f} s"
            if verdict is StampVerdict.NOT_LATER:
                sentence = f"an image was dropped: {step}; its driver has to stamp every image later than the last"
                self._drops.report("stamp not later", sentence)
                return
            self._warn(f"time jumped back ({step}), as when a bag loops: the map is reset")
            renewal = _Renewal(self._mapper.reset)
            self._renew(renewal)
            if renewal.error is not None:
                raise renewal.error
            self._gate.judge(received.stamp_ns)
        observation = self._mapper.observe(self._camera.frame(received), busy=self._worker.busy)
        if observation.chunk is not None:
            self._worker.offer(observation.chunk)
        if observation.poses:
            self._first_update.wait(FIRST_UPDATE_WAIT_S)
            self._output.give_poses(observation.poses)

    def _map(self, chunk: Chunk, following: Sequence[Chunk]) -> None:
        generation, start = self._generation, time.monotonic()
        try:
            update = self._mapper.map_chunk(chunk, following)
            if generation != self._generation:
                return  # of a map that was reset meanwhile
            with self._publishing:
                self._output.give_update(update)
            self._loops.nudge()
            if update.submap is not None:
                self._first_update.set()
            self._activity.chunk_mapped(update, time.monotonic() - start)
            self._record(update)
        except Exception as error:  # as above: a chunk, not the node
            self._faults.report("mapping failed", f"chunk {chunk.index} could not be mapped: {_describe(error)}")

    def _close_loops(self) -> None:
        generation, start = self._generation, time.monotonic()
        try:
            update = self._mapper.close_loops()
            if update is None or generation != self._generation:
                return
            with self._publishing:
                self._output.give_update(update)
            self._activity.loop_closed(time.monotonic() - start)
            self._record(update)
        except Exception as error:  # as above: a loop, not the node
            self._faults.report("loop failed", f"a place seen again could not be used: {_describe(error)}")

    def _rest(self) -> None:
        try:
            with self._publishing:
                self._output.give_what_is_due()
        except Exception as error:
            self._faults.report("publishing failed", f"the map could not be published: {_describe(error)}")

    def _order(self, renewal: _Renewal, timeout_s: float) -> bool:
        """Has the tracking thread, or where there is none the calling one, carry it out; whether that was in time."""
        self._renewals.put(renewal)
        if self._thread is None or not self._thread.is_alive():
            self._renew(self._renewals.get())
        done = renewal.done.wait(timeout_s)
        if renewal.error is not None:
            raise renewal.error
        return done

    def _renew(self, renewal: _Renewal) -> None:
        self._generation += 1
        self._worker.discard()
        while not self._worker.wait_until_idle(time.monotonic() + POLL_S):
            if self._stopping.is_set():
                return
        try:
            renewal.begin()
        except Exception as error:  # whoever ordered it is told, and the map is as it was
            renewal.error = error
        else:
            self._camera.restart()
            self._gate.forget()
            self._first_update.clear()
            self._output.clear()
        renewal.done.set()


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, Scal3rError) else f"{type(error).__name__}: {error}"
