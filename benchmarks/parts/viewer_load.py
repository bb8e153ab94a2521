"""The page of the map under load, in a headless chromium without a GPU: frames a second, and memory over a long drive.

    python benchmarks/parts/viewer_load.py              3,000 frames, 2 million points mapped, 1 million of them shown
    python benchmarks/parts/viewer_load.py --frames 300 --points 500000

A camera drives along a made-up street; every tenth frame brings a submap and takes a tenth of the points of the five
before away, as fusion does; every frame brings a pose, every third an image, and every 300th moves the map, as a loop
does, so that all points come anew. `most` are the most points that the page had at any time since the line before.
`server` is the resident memory of this process, `page` the JavaScript heap after a garbage collection, both in MB. At
the end the camera drives along the second half again: `frames/s` by the page's own clock, with the most points that
WebGL drew in one of them. Needs playwright and Debian's chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.values import CloudChange, PointCloud
from scal3r_ros.viewer.live import LiveView, ViewSettings
from scal3r_ros.viewer.scene import Camera

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))

R_MAP_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
STEP_M = 0.5
SUBMAP_FRAMES, IMAGE_FRAMES, LOOP_FRAMES = 10, 3, 300
CLOCK = "window.clock = {n: 0}; (function f() { window.clock.n++; requestAnimationFrame(f); })();"


def main() -> None:
    """Drives, and prints a line every tenth of the way and one at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--points", type=int, default=2_000_000, help="of the whole map")
    parser.add_argument("--shown", type=int, default=1_000_000, help="on the page at most")
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second; 0 is as fast as the page takes them")
    parser.add_argument("--window", type=int, nargs=2, default=(1280, 720), help="of the browser, in pixels")
    arguments = parser.parse_args()
    from browser import FLAGS, Page
    from playwright.sync_api import sync_playwright

    view = LiveView(ViewSettings(port=0, unit=0.2, most_points=arguments.shown))
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=[*FLAGS, "--js-flags=--expose-gc"])
        size = dict(zip(("width", "height"), arguments.window, strict=True))
        page = Page(browser.new_page(viewport=size))
        started = time.monotonic()
        page.open(view.url)
        print(f"the page is up after {time.monotonic() - started:.1f} s")
        page.page.evaluate(CLOCK)
        drive(view, page, arguments)
        view.settle(120.0)
        rate_hz, drawn = frames_per_second(view, page, arguments.frames // 2)
        print(f"{rate_hz:.1f} frames/s at {size['width']}×{size['height']}, {drawn:,} points drawn, "
              f"{view.points_shown:,} on the page; errors: {page.errors}")  # fmt: skip
        browser.close()
    view.close()


def drive(view: LiveView, page: Any, arguments: argparse.Namespace) -> None:
    """Shows the drive frame by frame, and prints memory every tenth of it."""
    rng = np.random.default_rng(0)
    points = MapPoints()
    each = arguments.points * SUBMAP_FRAMES // arguments.frames
    path = np.stack([pose(k)[:3, 3] for k in range(arguments.frames)])
    print(f"{'frame':>6} {'mapped':>10} {'on page':>10} {'most':>10} {'server':>7} {'page':>6}")
    start, most = time.monotonic(), 0
    for k in range(arguments.frames):
        most = max(most, view.points_shown)
        image = rng.integers(0, 255, (108, 320, 3)).astype(np.uint8) if k % IMAGE_FRAMES == 0 else None
        view.show_camera(Camera(pose(k), 1.0, 3.0, image))
        if k % SUBMAP_FRAMES == 0:
            view.update_points(points.grow(street(rng, STEP_M * k, each)))
            view.show_path(path[: k + 1])
        if k % LOOP_FRAMES == LOOP_FRAMES - 1:
            view.update_points(points.move())
        if k % max(1, arguments.frames // 10) == 0 or k == arguments.frames - 1:
            view.settle(60.0)
            memory = psutil.Process().memory_info().rss / 1e6, heap_mb(page)
            shown = f"{view.points_shown:>10,} {max(most, view.points_shown):>10,}"
            print(f"{k:>6} {points.mapped:>10,} {shown} {memory[0]:7.0f} {memory[1]:6.0f}", flush=True)
            most = 0
        if arguments.rate:
            page.page.wait_for_timeout(max(0.0, 1e3 * (start + (k + 1) / arguments.rate - time.monotonic())))


class MapPoints:
    """The points of a mapper, submap by submap, as fusion and loops change them."""

    def __init__(self) -> None:
        self._submaps: dict[int, PointCloud] = {}
        self._revision = 0
        self.mapped = 0

    def grow(self, cloud: PointCloud) -> CloudChange:
        """A new submap, whose depth maps look through a tenth of the points of the five before."""
        number = len(self._submaps)
        self.mapped += len(cloud.points)
        for earlier in range(max(0, number - 5), number):
            self._submaps[earlier] = self._submaps[earlier].take(np.arange(len(self._submaps[earlier].points)) % 10 > 0)
        submaps = np.full(len(cloud.points), number, np.int32)
        self._submaps[number] = replace(cloud, submaps=submaps, confidence=np.full(len(submaps), 0.5, np.float32))
        return self._change(range(max(0, number - 5), number + 1))

    def move(self) -> CloudChange:
        """A loop moves all points a little."""
        for number, cloud in self._submaps.items():
            self._submaps[number] = replace(cloud, points=cloud.points + np.float32(0.01))
        return self._change(self._submaps)

    def _change(self, changed: Iterable[int]) -> CloudChange:
        self._revision += 1
        cloud = PointCloud.joined([self._submaps[number] for number in changed])
        return CloudChange(self._revision, frozenset(changed), frozenset(self._submaps), cloud)


def frames_per_second(view: LiveView, page: Any, k: int, seconds: float = 10.0) -> tuple[float, int]:
    """Frames a second by the page's clock while the camera drives on from frame k, and the most points of a frame."""
    first, start, drawn = page.page.evaluate("window.clock.n"), time.monotonic(), 0
    while time.monotonic() - start < seconds:
        k += 1
        view.show_camera(Camera(pose(k), 1.0, 3.0))
        page.page.wait_for_timeout(100)
        drawn = max(drawn, page.points())
    return (page.page.evaluate("window.clock.n") - first) / (time.monotonic() - start), drawn


def heap_mb(page: Any) -> float:
    """The page's JavaScript heap after a garbage collection, typed arrays included."""
    page.page.evaluate("window.gc && window.gc()")
    session = page.page.context.new_cdp_session(page.page)
    session.send("Performance.enable")
    metrics = {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return float(metrics["JSHeapUsedSize"]) / 1e6


def pose(k: int) -> NDArray[np.float64]:
    """T_map_cam (4, 4) of frame k: straight on."""
    return se3.se3(R_MAP_CAM, [STEP_M * k, 0.0, 1.5])


def street(rng: np.random.Generator, x: float, count: int) -> PointCloud:
    """Points of a road and the walls beside it, from x on."""
    along = x + rng.uniform(5.0, 5.0 + STEP_M * SUBMAP_FRAMES, count)
    side = rng.integers(0, 3, count)
    wall = np.stack([along, np.where(side == 1, 8.0, -8.0), rng.uniform(0.0, 9.0, count)], axis=1)
    road = np.stack([along, rng.uniform(-8.0, 8.0, count), np.zeros(count)], axis=1)
    points = np.where((side == 0)[:, None], road, wall).astype(np.float32)
    return PointCloud(points, rng.integers(40, 220, (count, 3)).astype(np.uint8))


if __name__ == "__main__":
    main()
