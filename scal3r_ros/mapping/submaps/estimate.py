"""The map's geometry as it is known now: submaps, frames and loops, and the saved map that waits to be joined."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.graph.observations import Observation
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.graph.solver import GraphProblem
from scal3r_ros.mapping.storage.relocalization import LoadedMap, Relocalization
from scal3r_ros.mapping.submaps.frame_log import FrameLog, FramePlace
from scal3r_ros.mapping.submaps.segments import WaitingJoins
from scal3r_ros.mapping.submaps.submap import Placed, PlacedSubmap

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Optimised:
    """What an optimisation did: whether submaps `moved`, and the loops that it `rejected`.

    `error` is set where there was no optimum: the submaps stay where they are, and all new loops are rejected.
    """

    moved: bool
    rejected: tuple[Edge, ...]
    error: MappingError | None = None


@dataclass(frozen=True)
class ScaleState:
    """Scale as the graph has it: whether `map` is in metres, and all anchors.

    `steps` gives of each submap the one before and the log of the ratio of their units by alignment; `first_stamps` the
    stamps of their first frames, of the drive at hand.
    """

    metric: bool
    anchors: Mapping[int, Sim3]
    steps: Mapping[int, tuple[int, float]]
    first_stamps: Mapping[int, int]


class MapEstimate:
    """Where submaps and frames are: the submap graph, every frame's pose in its submap, and the newest submap.

    Any thread may call any method: each takes the one lock of this object, for no longer than it takes to copy. Only
    `optimise` works without it; two calls of that must not overlap. Submaps have the numbers of their chunks, which
    are never used twice: whatever belongs to a submap of a map that was cleared meanwhile is passed over.

    Args:
        max_conflict: Mahalanobis distance from the optimum beyond which a loop is rejected.
    """

    def __init__(self, max_conflict: float) -> None:
        self._max_conflict = max_conflict
        self._lock = threading.RLock()
        self._frames = FrameLog()
        self.clear(0)

    def clear(self, first_submap: int) -> None:
        """Forget everything; submaps with numbers below `first_submap` are of the past from now on."""
        with self._lock:
            self._graph = SubmapGraph(self._max_conflict)
            self._frames.clear()
            self._newest: PlacedSubmap | None = None
            self._loaded: LoadedMap | None = None
            self._joins = WaitingJoins()
            self._first_submap = first_submap

    @property
    def newest(self) -> PlacedSubmap | None:
        """The submap that was added last; None before the first."""
        with self._lock:
            return self._newest

    def expects(self, submap: int) -> bool:
        """Whether a submap of this number may still be added: it is not of a map that was cleared, nor there."""
        with self._lock:
            return submap >= self._first_submap and submap not in self._graph

    def has(self, submap: int) -> bool:
        """Whether there is such a submap."""
        with self._lock:
            return submap in self._graph

    def in_map_unit(self, submap: PlacedSubmap | None) -> PlacedSubmap | None:
        """A submap in the unit that loops and sensors have given `map`; None for none, and for one that is gone."""
        with self._lock:
            if submap is None or submap.index not in self._graph:
                return None
            return submap.in_unit_of(self._graph.anchor(submap.index).scale)

    def add(self, placed: Placed, observations: Sequence[Observation] = ()) -> Sim3 | None:
        """Adds a submap as the newest; gives its S_map_submap, or None where it is not expected any more.

        `observations` are what other sensors measured of it and of those before it; the next `optimise` takes them in.
        """
        submap, edge = placed.submap, placed.edge
        with self._lock:
            if not self.expects(submap.index) or (edge is not None and edge.i not in self._graph):
                return None
            self._graph.add_submap(submap.index, edge, None if edge is not None else submap.S_odom_submap)
            if placed.metric:
                self._graph.be_metric()
            self._graph.add_observations([o for o in observations if o.submap in self._graph])
            self._newest = submap
            self._joins.remember(self._graph.segments[submap.index], submap.covariance)
            return self._graph.anchor(submap.index)

    def log(self, frames: Iterable[FramePlace]) -> None:
        """Sets the poses of frames; a frame keeps the one by its newest submap."""
        with self._lock:
            for frame in frames:
                if frame.submap in self._graph:
                    camera = frame.intrinsics
                    self._frames.put(frame.index, frame.stamp_ns, frame.submap, frame.T_submap_cam, camera)

    @property
    def pending(self) -> bool:
        """Whether there are observations or loops that `optimise` has not taken in."""
        with self._lock:
            return self._graph.pending

    def metric_scale(self) -> tuple[float, float] | None:
        """Metres in a unit of `odom` at the newest submap, and the sigma of the log of it; None as long as unknown."""
        with self._lock:
            sigma = self._graph.scale_sigma
            if self._newest is None or not self._graph.metric or sigma is None:
                return None
            return self._graph.anchor(self._newest.index).scale / self._newest.S_odom_submap.scale, sigma

    def scale_state(self) -> ScaleState:
        """The scale of every submap of the drive at hand, as it is known now."""
        with self._lock:
            return ScaleState(
                self._graph.metric,
                self._graph.anchors(),
                {e.j: (e.i, float(np.log(e.S_i_j.scale))) for e in self._graph.edges if e.kind is EdgeKind.ODOMETRY},
                self._frames.first_stamps(),
            )

    def anchors(self) -> dict[int, Sim3]:
        """S_map_submap of every submap, in order of their addition."""
        with self._lock:
            return self._graph.anchors()

    def all_anchors(self) -> dict[int, Sim3]:
        """As `anchors`, with those of a loaded map that waits, in its own frame."""
        with self._lock:
            return {**self._graph.anchors(), **({} if self._loaded is None else self._loaded.anchors)}

    def problem(self) -> GraphProblem:
        """The graph as it is now."""
        with self._lock:
            return self._graph.problem()

    def joins_loaded_map(self, edge: Edge) -> bool:
        """Whether an edge leads from a loaded map that waits to this one."""
        with self._lock:
            return self._loaded is not None and (edge.i in self._loaded) != (edge.j in self._loaded)

    def joins_segments(self, edge: Edge) -> bool:
        """Whether an edge leads from one segment to another."""
        with self._lock:
            segments = self._graph.segments
            return len({segments[end] for end in (edge.i, edge.j) if end in segments}) > 1

    def segments(self) -> Mapping[int, int]:
        """Of each submap the segment it belongs to."""
        with self._lock:
            return self._graph.segments

    @property
    def connected(self) -> bool:
        """Whether the newest submap is in the segment that the map began with."""
        with self._lock:
            return self._newest is None or self._graph.is_connected(self._newest.index)

    def add_edges(self, edges: Sequence[Edge]) -> LoadedMap | None:
        """Takes in loops for the next `optimise`. Those to a loaded map wait there until enough of them agree.

        Gives the loaded map where that has become part of this one.

        Raises:
            MappingError: a submap is not known.
        """
        joined = None
        with self._lock:
            for edge in edges:
                loaded = self._loaded
                if self._newest is not None and self.joins_segments(edge):
                    self._newest = self._joins.join(self._graph, edge, self._newest)
                elif loaded is None or not self.joins_loaded_map(edge):
                    self._graph.add_edge(edge)
                elif (found := loaded.consider(edge, self._graph.anchors())) is not None:
                    self._join(loaded, found)
                    joined = loaded
        return joined

    def optimise(self) -> Optimised:
        """Finds the optimum with the edges that came since the last time, and moves the submaps there."""
        with self._lock:
            graph, problem = self._graph, self._graph.problem()
        solution = graph.solve(problem)
        with self._lock:
            try:
                return Optimised(graph.accept(solution), solution.rejected)
            except MappingError as error:
                return Optimised(False, solution.rejected, error)

    def wait_for(self, loaded: LoadedMap) -> None:
        """Keeps a loaded map until the camera is found in it."""
        with self._lock:
            self._loaded = loaded

    def trajectory(self) -> Trajectory:
        """T_map_cam of every posed frame of the drive at hand, by stamp."""
        with self._lock:
            return self._frames.trajectory(self._graph.anchors())

    def drives(self) -> tuple[Trajectory, ...]:
        """As `trajectory`, of every drive, oldest first."""
        with self._lock:
            return self._frames.drives(self._graph.anchors())

    def loops(self) -> tuple[Edge, ...]:
        """The loops in the graph."""
        with self._lock:
            return tuple(edge for edge in self._graph.edges if edge.kind is EdgeKind.LOOP)

    def loop_ends(self) -> Array:
        """Positions (n, 2, 3) in `map` of the submaps that loops connect, the older one first."""
        with self._lock:
            anchors, loops = self._graph.anchors(), self.loops()
        return np.array([(anchors[edge.i].t, anchors[edge.j].t) for edge in loops]).reshape(-1, 2, 3)

    def T_map_odom(self) -> Array:
        """The correction (4, 4) of `odom`, right for the newest submap's last camera; TF carries no scale."""
        with self._lock:
            if self._newest is None:
                return np.eye(4)
            S_odom_submap = self._newest.S_odom_submap
            S_map_odom = self._graph.anchor(self._newest.index) @ S_odom_submap.inverse()
            here = S_odom_submap.apply(self._newest.last_centre)
            return se3.se3(S_map_odom.R, S_map_odom.apply(here) - S_map_odom.R @ here)

    def check_savable(self, folder: Path) -> None:
        """Raises `MappingError` where there is nothing to save, or saving to `folder` would lose a loaded map."""
        with self._lock:
            if not len(self._graph):
                raise MappingError("there is no map to save yet: no chunk has been mapped")
            if self._loaded is not None and self._loaded.folder.resolve() == folder.resolve():
                raise MappingError(
                    f"the map loaded from {folder} would be lost, since the camera has not been found in it yet; save "
                    "to another folder, or again later"
                )

    def snapshot(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Graph and frames of one moment, as plain arrays."""
        with self._lock:
            return self._graph.snapshot(), self._frames.snapshot()

    def counters(self) -> Mapping[str, int]:
        """Frames with a pose, submaps and loops, and submaps of a loaded map that the camera was not found in yet."""
        with self._lock:
            return {
                "frames_posed": len(self._frames),
                "submaps": len(self._graph),
                "loops": len(self.loops()),
                "segments": len(set(self._graph.segments.values())),
                "segments_joined": self._joins.count,
                "submaps_unconnected": self._graph.unconnected,
                "submaps_unlocalized": 0 if self._loaded is None else len(self._loaded),
            }

    def _join(self, loaded: LoadedMap, found: Relocalization) -> None:
        """Moves this drive into the frame of the loaded map, and takes in graph and frames of that."""
        self._graph.absorb(loaded.graph, found.S_loaded_own)
        for edge in found.edges:
            self._graph.add_edge(edge)
        self._frames.absorb(loaded.frames)
        self._loaded = None
        _log.info("the camera was found in the map of %s, which goes on from here", loaded.folder)
