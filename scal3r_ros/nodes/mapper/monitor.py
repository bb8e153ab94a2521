"""Tells how the node is: diagnostics in a steady rhythm, and one warning when images stay away."""

from __future__ import annotations

import time

import psutil
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from rclpy.timer import Timer

from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.nodes.mapper.input.image_source import ImageSource
from scal3r_ros.nodes.mapper.input.image_watch import ImageWatch, explain_silence
from scal3r_ros.nodes.mapper.output.diagnostics import Health, diagnostics_message
from scal3r_ros.nodes.mapper.stages.pipeline import Pipeline
from scal3r_ros.nodes.mapper.statistics import Statistics
from scal3r_ros.nodes.ros.parameters import NodeConfig
from scal3r_ros.nodes.ros.qos import STREAM
from scal3r_ros.nodes.ros.timers import steady_timer

WATCH_PERIOD_S = 0.25


class HealthMonitor:
    """Publishes on /diagnostics from configuration to cleanup, and watches the images while the node is active."""

    def __init__(
        self,
        node: LifecycleNode,
        config: NodeConfig,
        mapper: OnlineMapper,
        pipeline: Pipeline,
        source: ImageSource,
        statistics: Statistics,
    ) -> None:
        self._node = node
        self._config = config
        self._mapper = mapper
        self._pipeline = pipeline
        self._source = source
        self._statistics = statistics
        self._started_s = time.monotonic()
        self._reported_drops = self._reported_faults = 0
        self._watch = ImageWatch(config.no_image_warning_s)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", STREAM)
        self._timers: list[Timer] = [
            steady_timer(node, config.diagnostics_period_s, self.publish),
            steady_timer(node, WATCH_PERIOD_S, self._explain_silence),
        ]

    def apply(self, config: NodeConfig) -> None:
        """Takes over the parameters that may change while the node runs."""
        self._config = config
        self._watch.limit_s = config.no_image_warning_s

    def saw_image(self) -> None:
        """An image came."""
        self._watch.saw_image()

    def rest(self) -> None:
        """Starts to wait for an image: at activation and after a pause."""
        self._watch.rest()

    def publish(self) -> None:
        """Publishes the diagnostics of the time since the last ones."""
        drops, faults = self._statistics.drops.counts(), self._statistics.faults.counts()
        dropped, failed = sum(drops.values()), sum(faults.values())
        active, paused = self._source.active, self._pipeline.paused
        health = Health(
            state="active" if active else "inactive",
            paused=paused,
            silent=active and not paused and self._watch.silent,
            uptime_s=time.monotonic() - self._started_s,
            resident_mb=psutil.Process().memory_info().rss / 1e6,
            images_waiting=self._pipeline.images_waiting,
            chunks_waiting=self._pipeline.chunks_waiting,
            activity=self._statistics.activity.report(),
            drops=drops,
            faults=faults,
            new_drops=dropped - self._reported_drops,
            new_faults=failed - self._reported_faults,
            counters=self._mapper.counters(),
            scale=self._mapper.scale.estimate(),
            earth=self._mapper.scale.earth(),
            no_grid=self._mapper.occupancy.reason,
        )
        self._reported_drops, self._reported_faults = dropped, failed
        name = self._node.get_fully_qualified_name().lstrip("/")
        self._diagnostics.publish(diagnostics_message(self._node.get_clock().now().to_msg(), name, health))

    def close(self) -> None:
        """Ends timers and topic."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._node.destroy_publisher(self._diagnostics)

    def _explain_silence(self) -> None:
        if not self._source.active or self._pipeline.paused:
            self._watch.rest()
        elif self._watch.should_tell():
            images = self._statistics.activity.images if self._watch.images_came else 0
            self._node.get_logger().warning(explain_silence(self._node, self._source, images, self._config))
