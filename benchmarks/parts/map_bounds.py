"""What the map itself costs over 20 km: memory, time a submap, what lies on disk, and how long saving takes.

    python benchmarks/parts/map_bounds.py
    python benchmarks/parts/map_bounds.py --kilometres 4 --max-points 500000

There are no images and nothing is reconstructed: submaps of a street, random within its surfaces, go straight into the
graph, the frame log and the point map, so that what grows with the drive is not hidden behind what does not.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
import psutil

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.cloud.point_map import PointMap
from scal3r_ros.mapping.graph.edges import Edge
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.storage.contents import FRAMES, GRAPH, POINTS, MapContents, write_contents
from scal3r_ros.mapping.storage.map_store import MapWriter
from scal3r_ros.mapping.storage.offload import Offload
from scal3r_ros.mapping.submaps.frame_log import FrameLog

SUBMAP_M = 8.0
FRAMES_PER_SUBMAP = 8
POINTS_PER_SUBMAP = 40_000
ROWS = 10


def main() -> None:
    """Drives, prints a row per tenth of the drive, saves, and checks that memory stayed flat."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kilometres", type=float, default=20.0)
    parser.add_argument("--max-points", type=int, default=2_000_000)
    parser.add_argument("--out", type=Path, default=Path("out/map_bounds"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)
    offload = Offload(arguments.out / "offload")
    points = PointMap(PointMapConfig(max_points=arguments.max_points), offload.leave)
    graph, log, process = SubmapGraph(), FrameLog(), psutil.Process()
    count = round(arguments.kilometres * 1000 / SUBMAP_M)
    streets = [_street(seed) for seed in range(5)]
    ahead = Sim3(1.0, np.eye(3), np.array([SUBMAP_M, 0.0, 0.0]))
    colours, weights = np.full((POINTS_PER_SUBMAP, 3), 128, np.uint8), np.ones(POINTS_PER_SUBMAP, np.float32)
    resident, milliseconds = [], []
    print(f"{'km':>6} {'RSS MB':>7} {'ms/submap':>10} {'ms/path':>8} {'points':>9} {'on disk':>8}")
    for number in range(count):
        started = time.perf_counter()
        graph.add_submap(number, Edge(number - 1, number, ahead, 1e-4 * np.eye(7)) if number else None)
        points.add(number, streets[number % len(streets)], colours, weights, graph.anchor(number))
        offload.write()
        milliseconds.append(1e3 * (time.perf_counter() - started))
        for index in range(number * FRAMES_PER_SUBMAP, (number + 1) * FRAMES_PER_SUBMAP):
            log.put(index, index * 10**8, number, np.eye(4))
        if (number + 1) % max(1, count // ROWS) == 0:
            started = time.perf_counter()
            log.trajectory(graph.anchors())
            path_ms = 1e3 * (time.perf_counter() - started)
            resident.append(process.memory_info().rss / 2**20)
            recent = np.mean(milliseconds[-count // ROWS :])
            held, on_disk = points.counters()["map_points"], offload.counters()["submaps_on_disk"]
            kilometres = (number + 1) * SUBMAP_M / 1000
            print(f"{kilometres:>6.1f} {resident[-1]:>7.0f} {recent:>10.1f} {path_ms:>8.1f} {held:>9} {on_disk:>8}")
    _save(arguments.out / "map", graph, log, points, offload)
    print(f"resident memory, end over a tenth of the drive: {resident[-1] / resident[0]:.3f}")
    offload.clear()


def _street(seed: int) -> np.ndarray:
    """Points on the ground and on both façades of 8 m of street, in the submap's frame."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([0.0, -12.0, 0.0], [SUBMAP_M, 12.0, 9.0], (POINTS_PER_SUBMAP, 3))
    ground = rng.random(POINTS_PER_SUBMAP) < 0.4
    points[ground, 2] = 0.02 * rng.normal(size=int(ground.sum()))
    points[~ground, 1] = 12.0 * np.sign(points[~ground, 1])
    return points.astype(np.float32)


def _save(folder: Path, graph: SubmapGraph, log: FrameLog, points: PointMap, offload: Offload) -> None:
    for name in ("saving", "saving again"):
        started = time.perf_counter()
        parts = {GRAPH: graph.snapshot(), FRAMES: log.snapshot(), POINTS: points.snapshot()}
        copied = time.perf_counter()
        with MapWriter(folder) as writer:
            write_contents(writer, MapContents(parts, offload.paths(graph.anchors()), None, "none"))
        written = time.perf_counter()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
        print(f"{name}: {copied - started:.2f} s to copy, {written - copied:.1f} s to write {size:.0f} MB")


if __name__ == "__main__":
    main()
