"""A process that runs one node until it is done or a signal stops it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol, cast

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from scal3r_ros.errors import Scal3rError
from scal3r_ros.nodes.ros.transport import prefer_shared_memory

SPIN_S = 0.1
"""How long a signal may go unnoticed, in seconds."""


class RunnableNode(Protocol):
    """What `run_node` calls, in this order: `start`, `finish`, and between them `exit_code` until it is not None.

    `give_up` is called by a second signal, from its handler, while `finish` runs; `stopped` tells after `finish`
    whether every thread of the node has ended.
    """

    exit_code: int | None
    stopped: bool

    def start(self) -> None: ...
    def finish(self) -> None: ...
    def give_up(self) -> None: ...


def run_node(make: Callable[[], RunnableNode], arguments: list[str] | None) -> int:
    """The exit code of the node, 0 after SIGINT or SIGTERM, 1 where the node could not be made or started."""
    prefer_shared_memory()
    stop_requested = threading.Event()
    try:
        # Own handlers: those of rclpy invalidate the context at once, and nothing could be published or drained after.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
    except (Scal3rError, rclpy_implementation.RCLError) as error:
        print(f"error: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop_requested.is_set():
            node.give_up()
        stop_requested.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    executor = SingleThreadedExecutor()
    executor.add_node(cast("Node", node))
    node.start()
    while not stop_requested.is_set() and node.exit_code is None:
        executor.spin_once(timeout_sec=SPIN_S)
    node.finish()
    code, stopped = node.exit_code or 0, node.stopped
    executor.shutdown(timeout_sec=0.5)
    cast("Node", node).destroy_node()
    rclpy.try_shutdown()
    if not stopped:
        # A thread deep inside a native library would bring the interpreter down on its way out.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
