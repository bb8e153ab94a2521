"""The occupancy grid in the mapper: casts each submap as soon as its ground and its metres are known."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3, rows_of
from scal3r_ros.mapping.graph.observations import Observation, UpObservation
from scal3r_ros.mapping.occupancy.config import OccupancyConfig
from scal3r_ros.mapping.occupancy.ground import Ground, ground_of
from scal3r_ros.mapping.occupancy.occupancy_map import OccupancyMap
from scal3r_ros.mapping.occupancy.raycast import cast
from scal3r_ros.mapping.submaps.estimate import MapEstimate
from scal3r_ros.mapping.submaps.local_cloud import thinned
from scal3r_ros.mapping.submaps.submap import PlacedSubmap
from scal3r_ros.mapping.values import MapUpdate, OccupancyGrid, PointCloud
from scal3r_ros.reconstruction.protocol import ChunkHealth

Array = NDArray[np.float64]

MOST_WAITING = 6
"""Submaps whose depth waits in RAM until the map is in metres; the oldest beyond are left out and counted."""
GROUND_GOES_ON = 3
"""Submaps for which the ground of one before is continued where theirs does not stand out."""
STEEPEST = np.cos(np.deg2rad(25.0))


@dataclass(frozen=True, eq=False)
class _LastGround:
    """Ground in `map`: `up` (3,), a `point` (3,) on it, and the submap that showed it."""

    up: Array
    point: Array
    submap: int


class OccupancyStage:
    """Free and occupied cells of the ground. Any thread may call any method.

    There is a grid as soon as the map is in metres, and the ground or gravity is known; until then `reason` says what
    is missing.
    """

    def __init__(self, config: OccupancyConfig, min_confidence: float, estimate: MapEstimate) -> None:
        self._config = config
        self._min_confidence = min_confidence
        self._estimate = estimate
        self._lock = threading.Lock()
        self._map = OccupancyMap(config.cell_size, config.max_cells, int(config.memory_mb * 1e6))
        self._forget()

    def add(self, submap: PlacedSubmap, observations: Sequence[Observation]) -> None:
        """Takes in a new submap of the estimate, and what sensors observed with it."""
        if not self._config.enabled:
            return
        with self._lock:
            up = next((o for o in observations if isinstance(o, UpObservation) and o.submap == submap.index), None)
            self._gravity |= up is not None
            if submap.geometry.health is not ChunkHealth.OK:
                return
            self._without["metres"] += len(self._waiting) == MOST_WAITING
            self._waiting.append(submap)
            self._cast_waiting()

    def grid(self) -> OccupancyGrid | None:
        """The whole grid in `map`; None where there is none, for a `reason`."""
        with self._lock:
            self._cast_waiting()
            return self._map.whole(self._estimate.anchors()) if self._metric else None

    def window(self, size: float) -> OccupancyGrid | None:
        """A square of `size` metres in `odom` around the newest submap's last camera, by the newest submaps."""
        newest = self._estimate.newest
        if newest is None:
            return None
        with self._lock:
            if not self._metric:
                return None
            T = self._estimate.T_map_odom()
            S_odom_map = Sim3.from_rigid(T).inverse()
            anchors = {submap: S_odom_map @ S for submap, S in self._estimate.anchors().items()}
            if newest.index not in anchors:
                return None
            return self._map.window(anchors, anchors[newest.index].apply(newest.last_centre)[:2], size)

    def local_cloud(self, update: MapUpdate, voxel_size: float) -> PointCloud | None:
        """One point a voxel of all that an update's chunk saw anew, in `odom`; None where that is not in metres."""
        if update.submap is None or not self._metric:
            return None
        return thinned(update.submap.seen, update.submap.S_odom_submap, voxel_size)

    @property
    def reason(self) -> str:
        """Why there is no grid; empty where there is one."""
        if not self._config.enabled:
            return "occupancy.enabled is false"
        if not self._metric:
            return "the map is not in metres; give a source of metres, for example scale.camera_height"
        if len(self._map):
            return ""
        return "no ground stands out in the depth, and no IMU shows which way is up"

    def snapshot(self) -> dict[str, NDArray[Any]] | None:
        """The grids of all submaps as plain arrays; None where there are none."""
        with self._lock:
            self._cast_waiting()
            return self._map.snapshot() if self._metric and len(self._map) else None

    def placed(self) -> dict[str, NDArray[Any]] | None:
        """As `snapshot`, with where the submaps lie: `anchor` (n, 13) as by `sim3.rows_of`."""
        arrays, anchors = self.snapshot(), self._estimate.anchors()
        if arrays is None or any(submap not in anchors for submap in arrays["submap"].tolist()):
            return None
        return arrays | {"anchor": rows_of(anchors[submap] for submap in arrays["submap"].tolist())}

    def absorb(self, arrays: Mapping[str, NDArray[Any]] | None) -> None:
        """Takes in the grids of a map that this one has joined, where that has any."""
        with self._lock:
            if arrays is not None:
                self._map.absorb(arrays)

    def clear(self) -> None:
        """Forgets all grids."""
        with self._lock:
            self._map.clear()
            self._forget()

    def counters(self) -> Mapping[str, int]:
        """Submaps with a grid, and those without for want of ground, of metres and of RAM."""
        if not self._config.enabled:
            return {}
        return {
            "occupancy_submaps": len(self._map),
            "occupancy_without_ground": self._without["ground"],
            "occupancy_without_metres": self._without["metres"] + len(self._waiting),
            "occupancy_left_out": self._map.left_out,
        }

    @property
    def _metric(self) -> bool:
        return self._estimate.metric_scale() is not None

    def _forget(self) -> None:
        self._waiting: deque[PlacedSubmap] = deque(maxlen=MOST_WAITING)
        self._without = {"ground": 0, "metres": 0}
        self._gravity = False
        self._last: _LastGround | None = None

    def _cast_waiting(self) -> None:
        if not self._waiting or not self._metric:
            return
        anchors = self._estimate.anchors()
        while self._waiting:
            submap = self._waiting.popleft()
            anchor = anchors.get(submap.index)
            if anchor is None:
                continue
            ground = self._ground(submap, anchor)
            if ground is None:
                self._without["ground"] += 1
                continue
            grid = cast(submap.chunk, submap.geometry, ground, anchor.scale, self._config, self._min_confidence)
            if grid is not None:
                self._map.add(submap.index, grid)

    def _ground(self, submap: PlacedSubmap, anchor: Sim3) -> Ground | None:
        """The ground of a submap, or that of one before, where that is not long ago."""
        up_submap = anchor.R[2] if self._gravity else None
        ground = ground_of(submap.chunk, submap.geometry, up_submap, self._min_confidence)
        centres = submap.geometry.T_chunk_cam[:, :3, 3]
        if ground is not None and (anchor.R @ ground.up)[2] > STEEPEST:
            point = anchor.apply(centres[-1] - ground.heights[-1] * ground.up)
            self._last = _LastGround(anchor.R @ ground.up, point, submap.index)
            return ground
        last = self._last
        if last is None or submap.index - last.submap > GROUND_GOES_ON:
            return None
        heights = (anchor.apply(centres) - last.point) @ last.up / anchor.scale
        return Ground(anchor.R.T @ last.up, heights) if (heights > 0).all() else None
