"""The stage that poses every image at camera rate."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

from sensor_msgs.msg import CompressedImage, Image

from scal3r_ros.io.images.decoding import ImageError
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.nodes.mapper.input.camera import CameraInput, ReceivedImage
from scal3r_ros.nodes.mapper.output.update_sink import UpdateSink
from scal3r_ros.nodes.mapper.stages.mapping import MappingStage
from scal3r_ros.nodes.mapper.stages.serial_executor import POLL_S, SerialExecutor
from scal3r_ros.nodes.mapper.statistics import Statistics, describe
from scal3r_ros.nodes.ros.messages import stamp_ns


class TrackingStage:
    """Images in by `submit`, poses out to the publishers and full chunks to the mapping stage.

    At most `limit` images wait; a further one drops the oldest, which is counted.
    """

    def __init__(
        self,
        mapper: OnlineMapper,
        camera: CameraInput,
        mapping: MappingStage,
        sink: UpdateSink,
        statistics: Statistics,
        limit: int,
    ) -> None:
        self._mapper = mapper
        self._camera = camera
        self._mapping = mapping
        self._sink = sink
        self._statistics = statistics
        self._limit = limit
        self._executor = SerialExecutor("tracking")
        self._lock = threading.Lock()
        self._waiting: deque[ReceivedImage] = deque()
        self._stopping = threading.Event()

    def __len__(self) -> int:
        """Images that wait."""
        with self._lock:
            return len(self._waiting)

    def submit(self, message: Image | CompressedImage) -> None:
        """Queues an image; never waits."""
        received = ReceivedImage(message, stamp_ns(message.header.stamp), time.monotonic())
        with self._lock:
            full = len(self._waiting) >= self._limit
            if full:
                self._waiting.popleft()
            self._waiting.append(received)
        if full:
            self._statistics.drops.report(
                "queue full",
                "tracking is slower than the camera, so the oldest waiting image is dropped; lower its rate or size",
            )
        self._executor.submit(self._track_next)

    def discard(self) -> None:
        """Drops the images that wait."""
        with self._lock:
            self._waiting.clear()

    def replace_map(self, begin: Callable[[], None]) -> Future[None]:
        """Begins anew with what `begin` leaves in the mapper, after the images and the chunk at hand.

        The future raises what `begin` does, and the map is then as it was; it is cancelled where the node stops before.
        """
        return self._executor.submit(lambda: self._replace_map(begin))

    def wait_until_idle(self, deadline_s: float, give_up: Callable[[], bool]) -> bool:
        """Whether no image waited or was in work before `deadline_s` and before `give_up`."""
        return self._executor.wait_until_idle(deadline_s, give_up)

    def shutdown(self, deadline_s: float, give_up: Callable[[], bool]) -> bool:
        """Ends the thread after the image at hand; False where that goes on too long."""
        self._stopping.set()
        self._camera.stop_waiting()
        self.discard()
        return self._executor.shutdown(deadline_s, give_up)

    def _track_next(self) -> None:
        with self._lock:
            if not self._waiting:
                return  # dropped
            received = self._waiting.popleft()
        drops = self._statistics.drops
        try:
            self._track(received)
        except ImageError as error:
            drops.report(error.reason, f"an image was dropped: {error}")
        except Exception as error:  # a defect must cost an image, not the node
            drops.report("tracking failed", f"an image was dropped: {describe(error)}")
        finally:
            self._statistics.activity.image_done(time.monotonic() - received.arrived_s)

    def _track(self, received: ReceivedImage) -> None:
        observation = self._mapper.observe(self._camera.frame(received), busy=self._mapping.busy)
        if observation.dropped is not None:
            self._statistics.drops.report(
                observation.dropped.reason, f"an image was dropped: {observation.dropped.message}"
            )
            return
        if observation.restarted:
            self._mapping.discard()
            self._sink.begin_anew()
            self._statistics.activity.map_replaced(1 + len(self))
        self._sink.give_image(received.stamp_ns)
        if observation.chunk is not None:
            self._mapping.offer(observation.chunk)
        if observation.poses:
            self._sink.give_poses(observation.poses)

    def _replace_map(self, begin: Callable[[], None]) -> None:
        self._mapping.discard()
        while not self._mapping.wait_until_idle(time.monotonic() + POLL_S):
            if self._stopping.is_set():
                raise CancelledError
        begin()
        self._sink.begin_anew()
        self._statistics.activity.map_replaced(len(self))
        self._camera.restart()
