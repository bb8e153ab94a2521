"""Shows the result of a finished run: in a live page with a time line, or as one HTML file."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import ViewError
from scal3r_ros.io.atomic_write import os_errors_as, write_atomically
from scal3r_ros.io.results.reader import Result
from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.viewer.live import LiveView, ViewSettings
from scal3r_ros.viewer.scene import Camera

Array = NDArray[np.float64]

PAGE_FILE = "map.html"
"""Name of the static page beside a report."""

PAGE_POINTS = 400_000
"""Points in a static page at most: with them it has about 7 MB."""

PLAY_S = 0.05
VOXEL_SIZE = 0.1
"""Of a result that does not know its own."""


def settings_of(result: Result, **wanted: Any) -> ViewSettings:
    """A page whose points are as large as the voxels of the result's map; `wanted` are fields of `ViewSettings`."""
    parameters = result.run.get("parameters")
    size = parameters.get("map.voxel_size") if isinstance(parameters, Mapping) else None
    unit = float(size) if isinstance(size, int | float) and 0 < size < float("inf") else VOXEL_SIZE
    return ViewSettings(unit=unit, **wanted)


def show_result(view: LiveView, result: Result, truth: Array | None = None) -> None:
    """Puts the map and the path of a result on a page, and the true path (n, 3) in `map` where it is given."""
    positions = result.trajectory.T_ref_cam[:, :3, 3]
    view.show_camera(Camera(result.trajectory.T_ref_cam[len(positions) // 2]))
    view.show_path(positions)
    if truth is not None:
        view.show_truth(truth)
    if result.cloud is not None:
        cloud = result.cloud
        points = cloud.points.astype(np.float32)
        view.replace_points(PointCloud(points, cloud.colours, confidence=cloud.confidence, submaps=cloud.submaps))
    view.show_metrics(_metrics(result))


class TimeLine:
    """A slider on the page that moves the camera along the path of a result, by hand or by itself."""

    def __init__(self, view: LiveView, result: Result) -> None:
        self._view = view
        self._poses = result.trajectory.T_ref_cam
        gui = view.server.gui
        last = max(1, len(self._poses) - 1)
        self._slider = gui.add_slider("Pose", 0, last, 1, last // 2)
        self._play = gui.add_checkbox("Play", False)
        self._slider.on_update(lambda _: self._show())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="time line", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops playing."""
        self._stopping.set()
        self._thread.join(2.0)

    def _show(self) -> None:
        self._view.show_camera(Camera(self._poses[min(int(self._slider.value), len(self._poses) - 1)]))

    def _run(self) -> None:
        while not self._stopping.wait(PLAY_S):
            if self._play.value:
                self._slider.value = (int(self._slider.value) + 1) % len(self._poses)  # type: ignore[misc]
                self._show()


def write_page(result: Result, path: Path, truth: Array | None = None, most_points: int = PAGE_POINTS) -> None:
    """Writes the result as one HTML file that needs neither a server nor the network.

    Raises:
        ViewError: the file cannot be written.
    """
    wanted = settings_of(result, port=0, most_points=most_points, bytes_per_s=float("inf"), follow=False)
    view = LiveView(wanted)
    try:
        show_result(view, result, truth)
        if not view.settle():
            raise ViewError(f"the page {path} could not be drawn in time")
        html = view.server.get_scene_serializer().as_html(dark_mode=True)
    finally:
        view.close()
    title = f"Map of {result.folder.resolve().name}"
    html = re.sub(r"<title>.*?</title>", lambda _: f"<title>{title}</title>", html, count=1, flags=re.DOTALL)
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, html.encode())


def _metrics(result: Result) -> dict[str, str]:
    counts = result.run.get("counts")
    shown = {"poses": f"{len(result.trajectory):,}"}
    if isinstance(counts, Mapping):
        shown |= {name: f"{counts[name]:,}" for name in ("submaps", "loops") if isinstance(counts.get(name), int)}
    factor = result.run.get("real_time_factor")
    return shown | ({"speed": f"{factor:.2f} × real time"} if isinstance(factor, int | float) else {})
