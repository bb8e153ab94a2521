"""What a memory's gradient costs over a ROS topic, and over the TCP transport: two processes of this machine.

    python benchmarks/sharing/topics_or_tcp.py                  100 MB in pieces of 2 MB, three times each
    python benchmarks/sharing/topics_or_tcp.py --megabytes 20

The topic is reliable and keeps all pieces, as an exchange would need it. Prints seconds, MB/s and CPU seconds of both
processes together.
"""

from __future__ import annotations

import argparse
import array
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from scal3r_ros.sync.transport.tcp import TcpWire

PIECE = 2 * 2**20
TOPIC = "memory_pieces"
PATIENCE_S = 120.0


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    pieces = max(1, given.megabytes * 10**6 // PIECE)
    print(f"{pieces} pieces of {PIECE / 1e6:.1f} MB\n")
    print("| over | seconds | MB/s | CPU seconds |")
    print("|---|---|---|---|")
    for name, sending, receiving in (("topic", _publish, _subscribe), ("TCP", _send, _receive)):
        for _ in range(given.times):
            seconds, cpu_s = _measure(sending, receiving, pieces)
            print(f"| {name} | {seconds:.2f} | {pieces * PIECE / 1e6 / seconds:.0f} | {cpu_s:.2f} |", flush=True)


def _measure(sending: Callable[..., None], receiving: Callable[..., None], pieces: int) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = zip(*(context.Pipe() for _ in range(2)), strict=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        context.Process(target=work, args=(pieces, port, pipe), daemon=True)
        for work, pipe in zip((receiving, sending), theirs, strict=True)
    ]
    for process, pipe in zip(processes, ours, strict=True):
        process.start()
        pipe.recv()
    for pipe in ours:
        pipe.send("go")
    ended = [pipe.recv() for pipe in ours]
    for process in processes:
        process.join(10.0)
        process.kill()
    begin = min(start for start, _, _ in ended)
    return ended[0][1] - begin, sum(cpu_s for _, _, cpu_s in ended)


def _timed(pipe: Connection, work: Callable[[], Any]) -> None:
    pipe.send("ready")
    pipe.recv()
    begin, cpu = time.time(), time.process_time()
    work()
    pipe.send((begin, time.time(), time.process_time() - cpu))


def _send(pieces: int, port: int, pipe: Connection) -> None:
    wire = TcpWire(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
    piece = torch.zeros(PIECE, dtype=torch.uint8)
    _timed(pipe, lambda: [wire.send(piece, PATIENCE_S) for _ in range(pieces)])


def _receive(pieces: int, port: int, pipe: Connection) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        pipe.send("ready")
        wire = TcpWire(server.accept()[0])
    piece = torch.zeros(PIECE, dtype=torch.uint8)
    pipe.recv()
    begin, cpu = time.time(), time.process_time()
    for _ in range(pieces):
        wire.receive(piece, PATIENCE_S)
    pipe.send((begin, time.time(), time.process_time() - cpu))


def _quality() -> Any:
    from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)


def _publish(pieces: int, port: int, pipe: Connection) -> None:
    import rclpy
    from std_msgs.msg import UInt8MultiArray

    rclpy.init(domain_id=1 + os.getppid() % 100)
    node = rclpy.create_node("sender")
    publisher = node.create_publisher(UInt8MultiArray, TOPIC, _quality())
    message = UInt8MultiArray(data=array.array("B", bytes(PIECE)))
    end = time.monotonic() + PATIENCE_S
    while publisher.get_subscription_count() == 0 and time.monotonic() < end:
        time.sleep(0.05)

    def work() -> None:
        for _ in range(pieces):
            publisher.publish(message)

    _timed(pipe, work)
    pipe.poll(PATIENCE_S)  # alive until the other has everything


def _subscribe(pieces: int, port: int, pipe: Connection) -> None:
    import rclpy
    from std_msgs.msg import UInt8MultiArray

    rclpy.init(domain_id=1 + os.getppid() % 100)
    node = rclpy.create_node("receiver")
    received: list[int] = []
    node.create_subscription(UInt8MultiArray, TOPIC, lambda message: received.append(len(message.data)), _quality())

    def work() -> None:
        end = time.monotonic() + PATIENCE_S
        while len(received) < pieces and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.5)
        if len(received) < pieces:
            raise SystemExit(f"only {len(received)} of {pieces} pieces came")

    _timed(pipe, work)


if __name__ == "__main__":
    main()
