"""From an image to its pose, live: the real node and the real player over DDS, with and without looking for loops.

    scal3r simulate --circuit block --rate 10 --width 480 --height 144 -o out/block.bag
    python benchmarks/live_latency.py out/block.bag

This process listens to the images and to `odometry`; an image's latency is the time between hearing of one and of the
other. Images that came before the first pose wait for the first chunk and are left out. Prints a row a run, with the
machine's load in its last minute, and writes the latency of each image to `latency_*.csv`; the images that came while a
loop was in work are not separated, the tail shows them.
`--set separate_process=false` keeps the reconstructor in the node.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
import yaml
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image

from scal3r_ros.io.bags.reader import BagReader


class Listener(Node):
    """Notes when it hears of each image and of each pose, by stamp."""

    def __init__(self, image_topic: str) -> None:
        super().__init__("latency_listener")
        self.images: dict[int, float] = {}
        self.poses: dict[int, float] = {}
        self.create_subscription(Image, image_topic, self._image, qos_profile_sensor_data)
        self.create_subscription(Odometry, "odometry", self._pose, QoSProfile(depth=100))

    def _image(self, message: Image) -> None:
        self.images[_stamp(message)] = time.monotonic()

    def _pose(self, message: Odometry) -> None:
        self.poses.setdefault(_stamp(message), time.monotonic())

    def latencies_ms(self) -> np.ndarray:
        """Of all images (n, 2) that were heard and got a pose, from the first pose on: seconds since that, latency."""
        begun = min(self.poses.values(), default=0.0)
        both = [stamp for stamp in self.images.keys() & self.poses.keys() if self.images[stamp] >= begun]
        heard = np.array([[self.images[stamp], self.poses[stamp]] for stamp in sorted(both)])
        return np.stack([heard[:, 0] - begun, 1000 * np.maximum(heard[:, 1] - heard[:, 0], 0.0)], axis=1)


def main() -> None:
    """Plays the bag once for each of `--loops`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config/driving.yaml"))
    parser.add_argument("--sweep-width", type=int, default=160)
    parser.add_argument("--set", action="append", default=[], help="a parameter of the node, as name=value")
    parser.add_argument("--loops", choices=("off", "on"), nargs="+", default=["off", "on"])
    parser.add_argument("--rate", type=float, default=1.0, help="how many times as fast as recorded")
    parser.add_argument("--out", type=Path, default=Path("out/live_latency"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    print("loops   images  posed dropped  median    95 %    99 %  99.9 %     max ms  submaps  loops  looked at  load")
    for loops in arguments.loops:
        row = run(arguments, loops == "on")
        rows.append(row)
        print(
            f"{loops:>5}  {row['images']:7d} {row['posed']:6d} {row['dropped']:7d} {row['median_ms']:7.1f}"
            f" {row['p95_ms']:7.1f} {row['p99_ms']:7.1f} {row['p999_ms']:7.1f} {row['max_ms']:10.1f}"
            f" {row['submaps']:8d} {row['loops']:6d} {row['candidates']:10d} {row['load']:5.1f}",
            flush=True,
        )
    (arguments.out / "live_latency.json").write_text(json.dumps(rows, indent=2))


def run(arguments: argparse.Namespace, loops: bool) -> dict[str, float | int]:
    """One live drive."""
    with BagReader(arguments.bag) as reader:
        topic, info = reader.image_topic, reader.camera_info_topic
    rclpy.init()
    listener = Listener(topic)
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    parameters = {"loops.enabled": str(loops).lower(), "geometric.sweep.width": arguments.sweep_width}
    parameters |= dict(word.split("=", 1) for word in arguments.set)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result"
        mapper = _start(
            "mapper", arguments.out / f"mapper_{loops}.log", "--params-file", str(arguments.config),
            *_set(result_directory=result, **parameters),
            "-r", f"image:={topic}", "-r", f"camera_info:={info}",
        )  # fmt: skip
        player = _start(
            "player",
            arguments.out / f"player_{loops}.log",
            *_set(bag=arguments.bag, topics=f"{topic},{info}", rate=arguments.rate),
        )
        try:
            player.wait()
            mapper.send_signal(signal.SIGINT)
            mapper.wait(600)
        finally:
            for process in (player, mapper):
                process.kill()
                process.wait()
        counts = yaml.safe_load((result / "run.yaml").read_text())["counts"]
    executor.shutdown()
    spinning.join()
    rclpy.shutdown()
    rows = listener.latencies_ms()
    np.savetxt(arguments.out / f"latency_{loops}.csv", rows, "%.4f", ",", header="seconds,latency_ms", comments="")
    latency = rows[:, 1]
    quantiles = np.quantile(latency, [0.5, 0.95, 0.99, 0.999, 1.0])
    return {
        "images": int(counts["frames_in"]), "posed": int(counts["frames_posed"]), "heard": len(latency),
        "dropped": sum(counts["frames_dropped"].values()), "submaps": int(counts["submaps"]),
        **dict(zip(("median_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms"), map(float, quantiles), strict=True)),
        "load": os.getloadavg()[0],
        "loops": int(counts.get("loops", 0)), "candidates": int(counts.get("loop_candidates", 0)),
    }  # fmt: skip


def _start(name: str, log: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"scal3r_ros.nodes.{name}_main", "--ros-args", *words]
    with log.open("w") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def _set(**values: object) -> list[str]:
    return [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]


def _stamp(message: Image | Odometry) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


if __name__ == "__main__":
    main()
