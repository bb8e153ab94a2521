"""A page that shows a map while it grows. Whoever maps hands values over and never waits for a browser."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import NDArray

from scal3r_ros.mapping.values import CloudChange, PointCloud
from scal3r_ros.viewer.controls import Controls, Wishes
from scal3r_ros.viewer.detail import Browsers
from scal3r_ros.viewer.points import PointLayer
from scal3r_ros.viewer.scene import Camera, MapScene
from scal3r_ros.viewer.server import LOOPBACK, PrivateServer, announcement, open_server, stop

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

TICK_S = 0.1
"""How often the page is brought up to date."""

BEHIND, ABOVE, AHEAD = 120.0, 60.0, 150.0
"""Where a following view stands behind and above the camera, and how far ahead of it it looks, in sizes of a point."""

FOLLOWING = 0.25
"""Share of the way to its place that a following view goes at each tick."""


@dataclass(frozen=True)
class ViewSettings:
    """Where a page is served and how much it may show and send.

    `host` and `port` as of `open_server`; `unit` is the size of a point in the map's unit; `most_points` on the page;
    `bytes_per_s` of points that are sent; `follow` the camera to begin with.
    """

    host: str = LOOPBACK
    port: int = 8080
    unit: float = 0.1
    most_points: int = 1_000_000
    bytes_per_s: float = 6e6
    follow: bool = True


class LiveView:
    """A page and the thread that draws it. Every method may be called from any thread, and none waits for the page.

    Points are kept in tiles; at each tick those that changed are sent, near ones first, as far as the bandwidth goes.

    Raises:
        ViewError: the machine has no such address.
    """

    def __init__(self, settings: ViewSettings | None = None) -> None:
        self._settings = settings = settings or ViewSettings()
        self.server: PrivateServer = open_server(settings.host, settings.port)
        self._scene = MapScene(self.server, settings.unit)
        self._points = PointLayer(self.server, settings.unit, settings.most_points)
        self._browsers = Browsers(self.server, settings.most_points)
        self._controls = Controls(self.server, self._points.cloud, settings.follow)
        self._lock = threading.Lock()  # of what was given and is not drawn yet
        self._clouds: list[tuple[PointCloud | CloudChange, bool]] = []
        self._given: dict[str, object] = {}
        self._camera: Camera | None = None
        self._metrics: Mapping[str, str] = {}
        self._wishes = Wishes(settings.follow)
        self._eye: tuple[Array, Array] | None = None
        self.server.on_client_connect(self._welcome)
        self._drawn = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return self.announcement.split()[1]

    @property
    def announcement(self) -> str:
        """One sentence: where the page is, and who can open it."""
        return announcement(self.server.get_host(), self.server.get_port())

    @property
    def points_shown(self) -> int:
        """Points that the page has."""
        return self._points.points_shown

    def add_points(self, cloud: PointCloud) -> None:
        """More points, in `map`."""
        with self._lock:
            self._clouds.append((cloud, False))

    def replace_points(self, cloud: PointCloud) -> None:
        """The points, in `map`, in place of all that were given before."""
        with self._lock:
            self._clouds = [(cloud, True)]

    def update_points(self, change: CloudChange) -> None:
        """What became of the points; every change has to be given, in order."""
        with self._lock:
            self._clouds.append((change, False))

    def show_camera(self, camera: Camera) -> None:
        """Where the camera is, and what it sees."""
        with self._lock:
            self._camera = camera
            self._given["camera"] = camera

    def show_path(self, positions: Array) -> None:
        """The path so far: positions (n, 3) in `map`."""
        with self._lock:
            self._given["path"] = positions

    def show_loops(self, ends: Array) -> None:
        """Where loops end: (n, 2, 3) in `map`."""
        with self._lock:
            self._given["loops"] = ends

    def show_truth(self, positions: Array) -> None:
        """The true path: positions (n, 3), in `map`."""
        with self._lock:
            self._given["truth"] = positions

    def show_metrics(self, metrics: Mapping[str, str]) -> None:
        """Lines of the panel, by their labels."""
        with self._lock:
            self._metrics = dict(metrics)

    def clear(self) -> None:
        """An empty page, as when the map is reset."""
        with self._lock:
            self._clouds, self._camera = [], None
            self._given = {"clear": True}

    def settle(self, timeout_s: float = 30.0) -> bool:
        """Waits until all that was given is on its way to the page; False where that took longer than `timeout_s`."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            self._drawn.clear()
            if self._drawn.wait(min(1.0, timeout_s)) and self._nothing_left():
                return True
        return False

    def close(self) -> None:
        """Takes the page off."""
        self._stopping.set()
        self._thread.join(5.0)
        stop(self.server)

    def _run(self) -> None:
        failed = False
        while not self._stopping.wait(TICK_S):
            try:
                self._tick()
            except Exception as error:  # a page that cannot be drawn must not end the mapping
                if not failed:
                    _log.warning("the view could not be drawn (%s: %s)", type(error).__name__, error)
                failed = True
            self._drawn.set()

    def _tick(self) -> None:
        with self._lock:
            given, self._given = self._given, {}
            clouds, self._clouds = self._clouds, []
            camera = self._camera
        if "clear" in given:
            self._points.clear()
            self._scene.clear()
        here = None if camera is None else camera.T_map_cam[:3, 3]
        for cloud, whole in clouds:
            self._points.take(cloud, whole, here)
        wishes = self._wishes = self._controls.wishes
        self._points.show_as(wishes.colour_by, wishes.size, wishes.confidence)
        self._draw_values(given)
        with self.server.atomic():
            self._points.send(here, self._settings.bytes_per_s * TICK_S)
            self._points.draw_within(self._browsers.eyes(), self._browsers.budget())
        if camera is not None and (self._wishes.follow or self._eye is None):
            self._follow(camera.T_map_cam)
        self._controls.show(
            {**self._metrics, "points": f"{self._points.points_shown:,} of {len(self._points.tiles):,}"}
        )

    def _draw_values(self, given: Mapping[str, object]) -> None:
        with self.server.atomic():
            if isinstance(camera := given.get("camera"), Camera):
                self._scene.draw_camera(camera)
            if isinstance(path := given.get("path"), np.ndarray):
                self._scene.draw_path(path)
            if isinstance(loops := given.get("loops"), np.ndarray):
                self._scene.draw_loops(loops)
            if isinstance(truth := given.get("truth"), np.ndarray):
                self._scene.draw_truth(truth)

    def _nothing_left(self) -> bool:
        with self._lock:
            waiting = bool(self._clouds or self._given)
        return not waiting and self._points.nothing_left

    def _follow(self, T_map_cam: Array) -> None:
        """Moves the view of every browser to behind and above the camera, on level ground and smoothly."""
        unit, forward = self._settings.unit, T_map_cam[:3, 2] * (1.0, 1.0, 0.0)
        length = float(np.linalg.norm(forward))
        forward = forward / length if length > 1e-3 else np.array([1.0, 0.0, 0.0])
        wanted = T_map_cam[:3, 3] - BEHIND * unit * forward + (0.0, 0.0, ABOVE * unit)
        target = T_map_cam[:3, 3] + AHEAD * unit * forward
        if self._eye is None:
            self._eye = (wanted, target)
            self.server.initial_camera.position, self.server.initial_camera.look_at = wanted, target
        eye, look_at = (old + FOLLOWING * (new - old) for old, new in zip(self._eye, (wanted, target), strict=True))
        if max(np.abs(eye - self._eye[0]).max(), np.abs(look_at - self._eye[1]).max()) < 1e-3 * unit:
            return
        self._eye = (eye, look_at)
        self._browsers.look(eye, look_at)

    def _welcome(self, client: viser.ClientHandle) -> None:
        """Puts the view of one browser where that of the others is, while they follow the camera."""
        if self._eye is not None:
            with client.atomic():
                client.camera.position, client.camera.look_at = self._eye
