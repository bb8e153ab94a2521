"""All that lives between configuring and cleaning up: the mapper, its threads, inputs, outputs and counters."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from scal3r_ros.errors import MappingError
from scal3r_ros.io.bags.topics import is_rectified_topic
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.nodes.mapper.input.camera import CameraInput
from scal3r_ros.nodes.mapper.input.image_source import ImageSource
from scal3r_ros.nodes.mapper.input.sensors import SensorInput
from scal3r_ros.nodes.mapper.monitor import HealthMonitor
from scal3r_ros.nodes.mapper.output.map_publishers import CORRECTION_PERIOD_S, MapPublishers, MapSource
from scal3r_ros.nodes.mapper.output.navigation import NavigationPublishers
from scal3r_ros.nodes.mapper.output.run_result import RunResult
from scal3r_ros.nodes.mapper.output.scale_publisher import ScalePublisher
from scal3r_ros.nodes.mapper.output.update_sink import UpdateSink
from scal3r_ros.nodes.mapper.stages.pipeline import Pipeline
from scal3r_ros.nodes.mapper.stages.serial_executor import SerialExecutor
from scal3r_ros.nodes.mapper.statistics import Statistics
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.timers import steady_timer
from scal3r_ros.nodes.ros.transforms import StaticTransforms

STOP_TIMEOUT_S = 1.0
"""How long a thread inside the mapper is waited for when the process has to end."""

SAVE_TIMEOUT_S = 30.0
"""How long a map that is being saved is waited for when the node has to stop."""

TF_STATIC_WAIT_S = 1.0
"""How long after the first image /tf_static is waited for to connect the camera with the base, by the first poses."""

TICKS_BETWEEN_LOOKS = 2
"""Every so many repetitions of map → odom the node also looks whether path, scale or global cloud are due.

One timer for all: rclpy takes about a millisecond to call one, in which the threads of the camera have to wait.
"""


class MappingSession:
    """One configured mapper on a lifecycle node.

    Raises:
        MappingError: the folder that the parameter `result_directory` names cannot be written.
    """

    def __init__(
        self, node: LifecycleNode, config: NodeConfig, mapper: OnlineMapper, statics: StaticTransforms
    ) -> None:
        self._config = config
        self._mapper = mapper
        self._statics = statics
        self._log = node.get_logger()
        self._statistics = Statistics(self._error, self._warn)
        folder = config.result_directory
        self._result = RunResult(Path(folder), config, self._statistics) if folder else None
        rectified = self._images_are_rectified(str(node.resolve_topic_name("image")))
        self._camera = CameraInput(config.camera_info_wait_s, self._statistics.faults, rectified)
        shown = MapSource(mapper.trajectory, mapper.cloud, mapper.loop_ends, self._T_base_cam)
        self._publishers = MapPublishers(node, config, shown, self._statistics.activity)
        writer = self._result.writer if self._result is not None else None
        self._navigation = NavigationPublishers(node, config, mapper.occupancy)
        self._sink = UpdateSink(self._publishers, self._navigation, writer, self._statistics)
        self._pipeline = Pipeline(mapper, self._camera, self._sink, self._statistics, config.queue)
        self._source = ImageSource(node, config, self._statistics.drops, self._take_image, self._camera.calibrate)
        self._sensors = SensorInput(node, config.camera_frame, statics, mapper.add_sensor, self._statistics)
        self._scale = ScalePublisher(node, config, mapper.scale)
        self._monitor = HealthMonitor(node, config, mapper, self._pipeline, self._source, self._statistics)
        self._base_missing = False
        self._first_image_s: float | None = None
        self._storage = SerialExecutor("storage")
        self._stored: Future[str] | None = None
        self._ticks = 0
        self._timer = steady_timer(node, CORRECTION_PERIOD_S, self._tick)
        self._node = node

    def _images_are_rectified(self, topic: str) -> bool:
        wanted = self._config.rectification
        rectified = is_rectified_topic(topic) if wanted == "auto" else wanted == "rectified"
        if rectified:
            self._log.info(f"the images on {topic} are taken as rectified: their camera is P of camera_info")
        return rectified

    @property
    def active(self) -> bool:
        """Whether images are subscribed to."""
        return self._source.active

    @property
    def records(self) -> bool:
        """Whether the run is to be written to a folder."""
        return self._result is not None

    def apply(self, config: NodeConfig) -> None:
        """Takes over the parameters that may change while the node runs."""
        self._config = config
        self._publishers.apply(config)
        self._navigation.apply(config)
        self._monitor.apply(config)

    def pause(self, paused: bool) -> None:
        """Ignores images that come from now on, or takes them again."""
        self._pipeline.paused = paused
        self._monitor.rest()
        self._log.info("paused: images are ignored" if paused else "running again: images are mapped")

    def reset(self, timeout_s: float) -> bool:
        """Forgets the map; False where the chunk at hand takes longer than `timeout_s`: then it follows that."""
        done = self._pipeline.reset(timeout_s)
        self._log.info("the map was reset" if done else "the map will be reset after the chunk at hand")
        return done

    def save_map(self, folder: Path) -> Future[str] | None:
        """Begins to save the map; None where a map is being saved or loaded already."""

        def save() -> str:
            self._pipeline.save(folder)
            return f"the map is saved in {folder}"

        return self._begin(save)

    def load_map(self, folder: Path) -> Future[str] | None:
        """Begins to load a map; None where a map is being saved or loaded already."""

        def load() -> str:
            self._pipeline.load(StoredMap(folder))
            return (
                f"the map of {folder} is loaded; the drive continues it as soon as the camera is found in it. "
                "Until then the topics show this drive only: nothing, before its first chunk"
            )

        return self._begin(load)

    def _begin(self, work: Callable[[], str]) -> Future[str] | None:
        if self._stored is not None and not self._stored.done():
            return None
        self._stored = self._storage.submit(work)
        return self._stored

    def activate(self) -> None:
        """Subscribes to the camera. A chunk that is still in work since a deactivation is finished first."""
        self._monitor.rest()
        self._pipeline.resume()
        self._source.open()
        self._sensors.open()
        self._log.info(f"mapping the images of {self._source.topic}")

    def deactivate(self, give_up: Callable[[], bool]) -> None:
        """Stops the input, maps what was received unless `give_up` comes true, publishes and writes what came of it."""
        self._source.close()
        self._sensors.close()
        self._log.info(
            f"stopping: {self._pipeline.images_waiting} images and {self._pipeline.chunks_waiting} chunks wait to be "
            f"mapped, for at most {self._config.drain_timeout_s:g} s; a second Ctrl-C leaves them out"
        )
        if not self._pipeline.drain(self._config.drain_timeout_s, give_up):
            self._log.warning("what was received last is not mapped: there was no time left")
        self._sink.publish_map()
        self._scale.publish()
        self._write_result()
        # The run's last word: without it, its final counts would be as old as the last period.
        self._monitor.publish()
        self._log.info("stopped: no images are subscribed to")

    def close(self, give_up: Callable[[], bool], timeout_s: float = math.inf) -> bool:
        """Drops what waits, and takes everything off the node as soon as the chunk at hand is done.

        Returns False where a thread is still inside the mapper after `timeout_s`, or when `give_up` came true.
        """
        self._source.close()
        self._sensors.close()
        stopped = self._pipeline.shutdown(timeout_s, give_up)
        stopped = self._storage.shutdown(time.monotonic() + SAVE_TIMEOUT_S, lambda: False) and stopped
        if self._sink.unwritten:
            self._write_result()
        self._node.destroy_timer(self._timer)
        self._monitor.close()
        self._publishers.close()
        self._navigation.close()
        self._scale.close()
        self._mapper.close()
        return stopped

    def _tick(self) -> None:
        self._publishers.repeat_correction()
        self._ticks += 1
        if self._ticks % TICKS_BETWEEN_LOOKS == 0:
            self._pipeline.publish_due()
            self._publishers.extend_path()
            self._scale.publish()

    def _error(self, sentence: str) -> None:
        self._log.error(sentence)

    def _warn(self, sentence: str) -> None:
        self._log.warning(sentence)

    def _take_image(self, message: Image | CompressedImage) -> None:
        if self._first_image_s is None:
            self._first_image_s = time.monotonic()
        self._monitor.saw_image()
        self._sensors.saw_image(message.header.frame_id)
        if self._result is not None:
            self._result.begin()
        self._pipeline.submit(message)

    def _write_result(self) -> None:
        self._sink.unwritten = False
        if self._result is None:
            return
        try:
            self._log.info(self._result.finish(self._mapper))
        except MappingError as error:
            self._statistics.faults.report("result not written", f"the result is incomplete: {error}")

    def _T_base_cam(self) -> NDArray[np.float64] | None:
        """Where the camera sits on the base; None as long as that is not known: /tf_static may come late."""
        camera, base = self._config.camera_frame or self._camera.frame_id, self._config.base_frame
        since_s = 0.0 if self._first_image_s is None else time.monotonic() - self._first_image_s
        T_base_cam = self._statics.lookup(base, camera, 0.0 if self._base_missing else TF_STATIC_WAIT_S - since_s)
        if T_base_cam is None and not self._base_missing:
            self._log.warning(
                f"/tf_static does not connect {base!r} with the camera's frame {camera!r}, so the two are taken as one "
                f"and {base!r} is an optical frame until it does; publish that transform, or set base_frame or "
                "camera_frame"
            )
        elif T_base_cam is not None and self._base_missing:
            self._log.info(f"/tf_static connects {base!r} with {camera!r} now, and is used from here on")
        self._base_missing = T_base_cam is None
        return T_base_cam
