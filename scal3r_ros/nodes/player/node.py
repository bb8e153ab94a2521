"""The node `player`: replays a rosbag2 onto its topics, with its own /clock."""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock as ClockMessage
from std_srvs.srv import SetBool

from scal3r_ros.configuration import parameter
from scal3r_ros.errors import ConfigurationError, Scal3rError, SequenceError
from scal3r_ros.io.bags.file import BagFile
from scal3r_ros.nodes.mapper.input.image_source import IMAGE_TYPES
from scal3r_ros.nodes.player.playback import PlaybackClock
from scal3r_ros.nodes.ros.messages import stamp_message
from scal3r_ros.nodes.ros.parameters import DeclaredParameters
from scal3r_ros.nodes.ros.qos import STATIC_TRANSFORMS, STREAM

CLOCK_STEP_S = 0.01
"""Recorded time between two messages on /clock, at most."""

MATCH_PERIOD_S = 0.05
SETTLE_S = 0.3
"""How long the other topics have to find their subscribers after the images have."""

DELIVERY_S = 2.0
"""How long the last messages may take to be delivered before the player leaves."""


@dataclass(frozen=True)
class PlayerConfig:
    """Parameters of the node `player`."""

    bag: str = parameter("", "rosbag2 folder, or its .mcap or .db3 file")
    rate: float = parameter(1.0, "speed of the replay", unit="recorded s per s", minimum=0.01, maximum=100.0)
    loop: bool = parameter(False, "start again at the end, with stamps that jump back")
    start_paused: bool = parameter(False, "wait for ~/pause with data: false before the first message")
    start_delay: float = parameter(
        0.0, "time between finding subscribers and the first message", unit="s", minimum=0.0, maximum=3600.0
    )
    wait_for_subscribers: bool = parameter(True, "wait until somebody subscribes to the images")
    clock: bool = parameter(False, "publish the recorded time on /clock, at 100 Hz of it or more")
    topics: str = parameter("", "topics to replay, with commas between; empty replays all")
    exit_at_end: bool = parameter(True, "end the process at the end of the bag")


class PlayerNode(Node):
    """Publishes what was recorded, byte for byte, when it is due. Topics can be remapped as those of any node."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("player", automatically_declare_parameters_from_overrides=True, **node_arguments)
        self._declared = DeclaredParameters(self, PlayerConfig)
        self._bag: BagFile | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._clock_lock = threading.Lock()
        self._newest_clock_ns = 0
        self.exit_code: int | None = None
        self.stopped = True

    def start(self) -> None:
        """Opens the bag and starts to play it; with one message, ends with exit code 1 where it cannot."""
        try:
            self._config = self._declared.read()
            self._declared.in_use = True
            if not self._config.bag:
                raise ConfigurationError("parameter bag is empty; give the rosbag2 folder to replay")
            self._bag = BagFile(Path(self._config.bag))
            self._outputs = self._make_outputs(self._bag)
        except Scal3rError as error:
            self._fail(error)
            return
        self._playback = PlaybackClock(self._config.rate, self._config.start_paused)
        self.create_service(SetBool, "~/pause", self._on_pause)
        if self._config.clock:
            self._clock_publisher = self.create_publisher(ClockMessage, "/clock", STREAM)
            period = CLOCK_STEP_S / max(1.0, self._config.rate)
            self.create_timer(period, self._publish_clock, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Stops playing."""
        self._stopping.set()
        if self._thread is not None:
            self._playback.stop()
            self._thread.join(1.0)
            self.stopped = not self._thread.is_alive()
        if self._bag is not None and self.stopped:
            self._bag.close()

    def give_up(self) -> None:
        """Nothing to hurry: `finish` does not wait for the bag."""

    def _run(self) -> None:
        try:
            self._play()
        except Exception as error:  # whatever it is, the process has to end with it and not hang
            self._fail(error)

    def _play(self) -> None:
        assert self._bag is not None
        if not self._await_subscribers():
            return
        played = 0
        while not self._stopping.is_set():
            number = self._play_once(self._bag)
            played += number
            if not number or not self._config.loop:
                break
            self.get_logger().info("the bag starts again")
        if self._stopping.is_set():
            return
        for publisher in self._outputs.values():
            publisher.wait_for_all_acked(Duration(seconds=DELIVERY_S))
        self._stopping.wait(SETTLE_S)  # best-effort readers acknowledge nothing
        if self._bag.damage is not None:
            self._fail(SequenceError(self._bag.damage))
            return
        self.get_logger().info(f"played {played} messages of bag {self._bag.path} to its end")
        if self._config.exit_at_end:
            self.exit_code = 0

    def _play_once(self, bag: BagFile) -> int:
        number = 0
        for message in bag.messages(self._outputs.keys()):
            if number == 0:
                self._start_clock(message.stamp_ns)
            if not self._playback.wait_until(message.stamp_ns):
                return number
            self._publish_clock(message.stamp_ns)
            self._outputs[message.topic].publish(message.data)
            number += 1
        return number

    def _await_subscribers(self) -> bool:
        """Waits for a subscriber of the images, however long it takes; False where the node is stopping."""
        wanted = IMAGE_NAMES if self._config.wait_for_subscribers else ()
        images = [item for item in self._outputs.values() if item.msg_type.__name__ in wanted]
        waited_s = 0.0
        while images and not any(item.get_subscription_count() for item in images):
            if self._stopping.wait(MATCH_PERIOD_S):
                return False
            waited_s += MATCH_PERIOD_S
            if 5.0 <= waited_s < 5.0 + MATCH_PERIOD_S:
                names = ", ".join(item.topic_name for item in images)
                self.get_logger().info(
                    f"waiting for a subscriber of {names}; wait_for_subscribers:=false plays at once"
                )
        return not self._stopping.wait(self._config.start_delay + SETTLE_S)

    def _make_outputs(self, bag: BagFile) -> dict[str, Publisher]:
        wanted = {name.strip() for name in self._config.topics.split(",") if name.strip()}
        missing = sorted(wanted - {topic.name for topic in bag.topics})
        if missing:
            names = ", ".join(topic.name for topic in bag.topics)
            raise ConfigurationError(f"parameter topics names {missing[0]}, but bag {bag.path} has only {names}")
        publishers = {}
        for topic in bag.topics:
            if (wanted and topic.name not in wanted) or not topic.count or topic.name == "/clock":
                continue
            kind = _message_class(topic.kind)
            if kind is None:
                self.get_logger().warning(f"topic {topic.name} is left out: its type {topic.kind} is not installed")
                continue
            qos = STATIC_TRANSFORMS if topic.name == "/tf_static" else STREAM
            publishers[topic.name] = self.create_publisher(kind, topic.name, qos)
        if not publishers:
            raise SequenceError(f"bag {bag.path} has no topic that can be replayed")
        return publishers

    def _start_clock(self, recorded_ns: int) -> None:
        with self._clock_lock:
            self._newest_clock_ns = 0
            self._playback.start(recorded_ns)

    def _publish_clock(self, at_least_ns: int = 0) -> None:
        """Publishes the recorded time, never an earlier one than before, except where the bag starts again."""
        if not self._config.clock:
            return
        with self._clock_lock:
            now_ns = max(self._playback.now_ns() or 0, at_least_ns)
            if now_ns > 0 and now_ns >= self._newest_clock_ns:
                self._newest_clock_ns = now_ns
                self._clock_publisher.publish(ClockMessage(clock=stamp_message(now_ns)))

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._playback.pause(request.data)
        response.success = True
        response.message = "paused" if request.data else "playing"
        return response

    def _fail(self, error: Exception) -> None:
        known = isinstance(error, Scal3rError)
        self.get_logger().error(str(error) if known else f"replay failed: {type(error).__name__}: {error}")
        self.exit_code = 1


IMAGE_NAMES = tuple(kind.__name__ for kind in IMAGE_TYPES.values())


def _message_class(kind: str) -> Any | None:
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None
