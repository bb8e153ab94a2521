"""All that lives between configuring and cleaning up: the mapper, its threads, inputs, outputs and counters."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from scal3r_ros.configuration import to_parameters
from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.mapping.values import MapUpdate
from scal3r_ros.nodes.mapper.activity import Activity
from scal3r_ros.nodes.mapper.background_task import BackgroundTask
from scal3r_ros.nodes.mapper.faults import FaultLog
from scal3r_ros.nodes.mapper.input.camera import CameraInput
from scal3r_ros.nodes.mapper.input.image_watch import ImageWatch, explain_silence
from scal3r_ros.nodes.mapper.output.diagnostics import Health, diagnostics_message
from scal3r_ros.nodes.mapper.output.map_publishers import CORRECTION_PERIOD_S, MapPublishers, MapSource
from scal3r_ros.nodes.mapper.output.run_recorder import RunRecorder
from scal3r_ros.nodes.mapper.pipeline import Mapper, Pipeline
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import STREAM, image_qos
from scal3r_ros.nodes.ros.transforms import StaticTransforms

STOP_TIMEOUT_S = 1.0
"""How long a thread inside the mapper is waited for when it has to stop."""

SAVE_TIMEOUT_S = 30.0
"""How long a map that is being saved is waited for when the node has to stop."""

WATCH_PERIOD_S = 0.25


class MappingSession:
    """One configured mapper on a lifecycle node.

    Raises:
        MappingError: the folder that the parameter `result_directory` names can not be written.
    """

    def __init__(self, node: LifecycleNode, config: NodeConfig, mapper: Mapper, statics: StaticTransforms) -> None:
        self._node = node
        self._config = config
        self._mapper = mapper
        self._statics = statics
        self._log = node.get_logger()
        self._started_s = time.monotonic()
        self._subscriptions: list[Subscription] = []
        self._errand: BackgroundTask | None = None
        self._reported_drops = self._reported_faults = 0
        self._drops = FaultLog(lambda sentence: self._log.error(sentence))
        self._faults = FaultLog(lambda sentence: self._log.error(sentence))
        self._activity = Activity()
        self._watch = ImageWatch(config.no_image_warning_s)
        self._recorder = RunRecorder(Path(config.result_directory)) if config.result_directory else None
        self._camera = CameraInput(config.camera_info_wait_s, self._faults)
        source = MapSource(mapper.trajectory, mapper.cloud, mapper.loop_ends, self._T_base_cam)
        self._publishers = MapPublishers(node, config, source, self._activity)
        self._pipeline = Pipeline(
            mapper,
            self._camera,
            self._publishers,
            drops=self._drops,
            faults=self._faults,
            activity=self._activity,
            warn=lambda sentence: self._log.warning(sentence),
            record=self._record,
            queue=config.queue,
            reset_on_time_jump_s=config.reset_on_time_jump_s,
        )
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", STREAM)
        # Not the ROS clock: with use_sim_time it stands still exactly when there is silence to explain.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            node.create_timer(config.diagnostics_period_s, self._publish_diagnostics, clock=steady),
            node.create_timer(CORRECTION_PERIOD_S, self._publishers.repeat_correction, clock=steady),
            node.create_timer(WATCH_PERIOD_S, self._explain_silence, clock=steady),
        ]

    @property
    def active(self) -> bool:
        """Whether images are subscribed to."""
        return bool(self._subscriptions)

    @property
    def records(self) -> bool:
        """Whether the run is to be written to a folder."""
        return self._recorder is not None

    @property
    def paused(self) -> bool:
        """Whether images that come are ignored."""
        return self._pipeline.paused

    def pause(self, paused: bool) -> None:
        """Ignores images that come from now on, or takes them again."""
        self._pipeline.paused = paused
        self._watch.rest()

    def reset(self, timeout_s: float) -> bool:
        """Forgets the map; False where the chunk at hand takes longer than `timeout_s`: then it follows that."""
        return self._pipeline.reset(timeout_s)

    def save_map(self, folder: Path) -> BackgroundTask | None:
        """Begins to save the map; None where a map is being saved or loaded already."""

        def save() -> str:
            self._pipeline.save(folder)
            return f"the map is saved in {folder}"

        return self._begin("saving", save)

    def load_map(self, folder: Path) -> BackgroundTask | None:
        """Begins to load a map; None where a map is being saved or loaded already."""

        def load() -> str:
            stored = StoredMap(folder)
            self._pipeline.load(stored)
            return f"the map of {folder} is loaded; the drive continues it as soon as the camera is found in it"

        return self._begin("loading", load)

    def _begin(self, name: str, work: Callable[[], str]) -> BackgroundTask | None:
        if self._errand is not None and not self._errand.wait(0.0):
            return None
        self._errand = BackgroundTask(name, work)
        return self._errand

    def activate(self) -> None:
        """Starts the threads and subscribes to the camera."""
        self._watch.rest()
        self._pipeline.start()
        qos = image_qos(self._config.qos.image)
        kind = Image if self._config.image_transport == "raw" else CompressedImage
        lost = SubscriptionEventCallbacks(message_lost=lambda event: self._count_lost(event.total_count_change))
        self._subscriptions = [
            self._node.create_subscription(kind, "image", self._take_image, qos, event_callbacks=lost),
            self._node.create_subscription(CameraInfo, "camera_info", self._camera.calibrate, qos),
        ]
        self._log.info(f"mapping the images of {self._node.resolve_topic_name('image')}")

    def deactivate(self, give_up: Callable[[], bool]) -> None:
        """Stops the input, maps what was received unless `give_up` comes true, publishes and writes what came of it."""
        self._unsubscribe()
        if not self._pipeline.drain(self._config.drain_timeout_s, give_up):
            self._log.warning("what was received last is not mapped: there was no time left to drain")
        self._publishers.give_map()
        self._pipeline.stop(STOP_TIMEOUT_S)
        self._write_result()
        # The run's last word: without it, its final counts would be as old as the last period.
        self._publish_diagnostics()

    def close(self) -> bool:
        """Stops at once and takes everything off the node; False where a thread is still inside the mapper."""
        self._unsubscribe()
        stopped = self._pipeline.stop(STOP_TIMEOUT_S)
        if self._errand is not None:
            stopped = self._errand.wait(SAVE_TIMEOUT_S) and stopped
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._publishers.destroy(self._node)
        self._node.destroy_publisher(self._diagnostics)
        self._mapper.close()
        return stopped

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _take_image(self, message: Image | CompressedImage) -> None:
        self._watch.saw_image()
        if self._recorder is not None:
            self._recorder.begin()
        self._pipeline.submit(message)

    def _record(self, update: MapUpdate) -> None:
        if self._recorder is None:
            return
        try:
            self._recorder.add(update)
        except MappingError as error:
            self._faults.report("result not written", f"the result is incomplete: {error}")

    def _write_result(self) -> None:
        if self._recorder is None:
            return
        try:
            done = self._recorder.finish(
                self._mapper.trajectory(),
                self._mapper.cloud(),
                self._activity.images,
                self._drops.counts(),
                self._mapper.counters(),
                to_parameters(self._config),
            )
            self._log.info(done)
        except MappingError as error:
            self._faults.report("result not written", f"the result is incomplete: {error}")

    def _count_lost(self, number: int) -> None:
        self._drops.report(
            "lost in transport",
            "images were lost on their way to this node; give Fast DDS a larger shared-memory segment (README)",
            number,
        )

    def _explain_silence(self) -> None:
        if not self.active or self.paused:
            self._watch.rest()
        elif self._watch.should_tell():
            topic = self._node.resolve_topic_name("image")
            transport, reliability = self._config.image_transport, self._config.qos.image.reliability
            silence_s = self._config.no_image_warning_s
            self._log.warning(explain_silence(self._node, topic, transport, reliability, silence_s))

    def _T_base_cam(self) -> NDArray[np.float64]:
        camera, base = self._config.camera_frame or self._camera.frame_id, self._config.base_frame
        T_base_cam = self._statics.lookup(base, camera)
        if T_base_cam is not None:
            return T_base_cam
        self._log.warning(
            f"/tf_static does not connect {base!r} with the camera's frame {camera!r}, so the two are taken as one and "
            f"{base!r} is an optical frame; publish that transform, or set base_frame or camera_frame"
        )
        return np.eye(4)

    def _publish_diagnostics(self) -> None:
        drops, faults = self._drops.counts(), self._faults.counts()
        dropped, failed = sum(drops.values()), sum(faults.values())
        health = Health(
            state="active" if self.active else "inactive",
            paused=self.paused,
            silent=self.active and not self.paused and self._watch.silent,
            uptime_s=time.monotonic() - self._started_s,
            resident_mb=psutil.Process().memory_info().rss / 1e6,
            images_waiting=self._pipeline.images_waiting,
            chunks_waiting=self._pipeline.chunks_waiting,
            activity=self._activity.report(),
            drops=drops,
            faults=faults,
            new_drops=dropped - self._reported_drops,
            new_faults=failed - self._reported_faults,
            counters=self._mapper.counters(),
        )
        self._reported_drops, self._reported_faults = dropped, failed
        stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostics_message(stamp, self._node.get_fully_qualified_name().lstrip("/"), health))
