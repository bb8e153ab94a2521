"""The points of the map, shared by threads: in RAM, and in full on disk where they had to be thinned there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.cloud import visibility
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.cloud.point_map import PointMap
from scal3r_ros.mapping.storage.offload import Offload
from scal3r_ros.mapping.submaps import normals
from scal3r_ros.mapping.submaps.points import ColouredPoints
from scal3r_ros.mapping.values import CloudChange, PointCloud

Anchors = Callable[[], Mapping[int, Sim3]]
"""Gives S_map_submap of all submaps as it is when it is called."""


class MapCloud:
    """A `PointMap` and the `Offload` of what leaves it. Any thread may call any method.

    One lock guards the points. Anchors are read under it, so that points end where the newest anchors put them; the
    disk is written without it.

    Args:
        config: resolution and size of the point map.
        folder: where thinned submaps go; None takes the system's folder for temporary files.
    """

    def __init__(self, config: PointMapConfig, folder: Path | None) -> None:
        self._lock = threading.Lock()
        visibility.prepare()
        normals.prepare()
        self._offload = Offload(folder)
        self._points = PointMap(config, self._offload.leave)
        self._count = self._cleared = 0

    def add(self, submap: int, points: ColouredPoints, anchors: Anchors) -> PointCloud:
        """Fuses points of a submap; gives those new to the map, in `map`. None are where the submap is gone."""
        with self._lock:
            anchor = anchors().get(submap)
            if anchor is None:
                return PointCloud.empty()
            cloud = self._points.add(submap, points.points, points.colours, points.weights, anchor, points.surface)
            self._take_counts()
        self._offload.write()
        return cloud

    def move(self, anchors: Anchors) -> None:
        """Moves the points with their submaps."""
        with self._lock:
            self._points.reanchor(anchors())
            self._take_counts()

    def absorb(self, earlier: Mapping[str, NDArray[Any]], anchors: Anchors) -> None:
        """Takes in the points of another map's `snapshot`, as older, and moves all with their submaps."""
        with self._lock:
            self._points.absorb(earlier)
            self._points.reanchor(anchors())
            self._take_counts()
        self._offload.write()

    def adopt(self, paths: Mapping[str, Path]) -> None:
        """Takes in the files of a saved map's submaps; raises `MappingError` where the disk has no room for them."""
        self._offload.adopt(paths)

    def cloud(self, max_points: int | None) -> PointCloud:
        """The points in `map`; an even choice of `max_points` of them where given."""
        with self._lock:
            return self._points.cloud(max_points)

    def change(self, since: int) -> CloudChange:
        """What became of the points since the map had the revision `since`."""
        with self._lock:
            return self._points.change(since)

    def snapshot(self, submaps: Collection[int]) -> tuple[dict[str, NDArray[Any]], dict[str, Path]]:
        """The points in memory as plain arrays, and the files of those of `submaps` that are on disk, by name."""
        self._offload.write()
        with self._lock:
            return self._points.snapshot(), self._offload.paths(submaps)

    def clear(self) -> None:
        """Forgets all points, and removes all files."""
        with self._lock:
            self._points.clear()
            self._take_counts()
            self._offload.clear()

    def close(self) -> None:
        """Removes all files; the points in memory stay."""
        self._offload.clear()

    def counters(self) -> Mapping[str, int]:
        """Points that the map shows, those removed since, and submaps on disk; never waits for the points."""
        return {"map_points": self._count, "map_points_cleared": self._cleared, **self._offload.counters()}

    def _take_counts(self) -> None:
        self._count, self._cleared = len(self._points), self._points.counters()["map_points_cleared"]
