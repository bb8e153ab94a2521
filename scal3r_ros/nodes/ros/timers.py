"""Timers that run on while simulated time stands still."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.timer import Timer


def steady_timer(node: Node, period_s: float, callback: Callable[[], object]) -> Timer:
    """Calls back every `period_s` seconds of the monotonic clock.

    The ROS clock would not do: with `use_sim_time` it stands still exactly when there is silence to explain.
    """
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
