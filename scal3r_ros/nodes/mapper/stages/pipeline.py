"""The node's work in three stages of a thread each: tracking at camera rate, mapping of chunks, loops; none waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

from sensor_msgs.msg import CompressedImage, Image

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.nodes.mapper.input.camera import CameraInput
from scal3r_ros.nodes.mapper.output.update_sink import UpdateSink
from scal3r_ros.nodes.mapper.stages.loops import LoopStage
from scal3r_ros.nodes.mapper.stages.mapping import MappingStage
from scal3r_ros.nodes.mapper.stages.serial_executor import wait_for
from scal3r_ros.nodes.mapper.stages.tracking import TrackingStage
from scal3r_ros.nodes.mapper.statistics import Statistics
from scal3r_ros.nodes.ros.parameters import QueueConfig


class Pipeline:
    """Images in by `submit`, poses and updates out to the sink. Its threads live until `shutdown`."""

    def __init__(
        self,
        mapper: OnlineMapper,
        camera: CameraInput,
        sink: UpdateSink,
        statistics: Statistics,
        queue: QueueConfig,
    ) -> None:
        self._mapper = mapper
        self._loops = LoopStage(mapper, sink, statistics)
        self._mapping = MappingStage(mapper, self._loops, sink, statistics, queue.chunks)
        self._tracking = TrackingStage(mapper, camera, self._mapping, sink, statistics, queue.frames)
        self._activity = statistics.activity
        self.paused = False

    @property
    def images_waiting(self) -> int:
        """Images received and not yet tracked."""
        return len(self._tracking)

    @property
    def chunks_waiting(self) -> int:
        """Chunks that wait for reconstruction or are in it."""
        return len(self._mapping)

    def resume(self) -> None:
        """Loops are closed from now on."""
        self._loops.resume()

    def submit(self, message: Image | CompressedImage) -> None:
        """Queues an image, unless paused; never waits."""
        if self.paused:
            self._activity.image_while_paused()
            return
        self._activity.image_received()
        self._tracking.submit(message)

    def publish_due(self) -> None:
        """Has the global cloud published where that is due; never waits."""
        self._mapping.publish_due()

    def reset(self, timeout_s: float) -> bool:
        """Forgets map and trajectory once the chunk at hand is done; False where that takes longer than `timeout_s`."""
        replaced = self._tracking.replace_map(self._mapper.reset)
        if not wait_for(replaced, time.monotonic() + timeout_s):
            return False
        replaced.result()
        return True

    def load(self, stored: StoredMap) -> None:
        """Begins anew with a saved map once the chunk at hand is done, and waits for it; raises what the mapper does.

        Raises:
            MappingError: the node stopped meanwhile.
        """
        try:
            self._tracking.replace_map(lambda: self._mapper.load(stored)).result()
        except CancelledError as error:
            raise MappingError("the node stopped before the map was loaded") from error

    def save(self, folder: Path) -> None:
        """Saves the map; images go on being tracked. Raises what the mapper does."""
        self._mapper.save(folder)

    def drain(self, timeout_s: float, give_up: Callable[[], bool]) -> bool:
        """Maps what was received, the begun window included; False where `timeout_s` passed or `give_up` came true.

        Then what waits is dropped. The chunk at hand goes on, and whatever comes after it waits for it.
        """
        deadline_s = time.monotonic() + timeout_s
        drained = self._tracking.wait_until_idle(deadline_s, give_up)
        if drained:
            while (chunk := self._mapper.close_window()) is not None:
                self._mapping.offer(chunk)
            drained = self._mapping.wait_until_idle(deadline_s, give_up) and self._loops.wait_until_idle(
                deadline_s, give_up
            )
        self._tracking.discard()
        self._mapping.discard()
        self._loops.pause()
        return drained

    def shutdown(self, timeout_s: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Ends the threads, dropping what waits; False where one is still inside the mapper after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        stages = (self._tracking, self._mapping, self._loops)
        stopped = [stage.shutdown(deadline_s, give_up) for stage in stages]
        return all(stopped)
