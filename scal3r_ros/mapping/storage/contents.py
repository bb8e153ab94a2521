"""The parts of a saved map, and how they are read without a mapper."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.cloud.packed_cloud import unpacked
from scal3r_ros.mapping.cloud.point_map import PointMap
from scal3r_ros.mapping.graph.observations import PositionObservation, ScaleObservation
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.storage.map_store import MapWriter, StoredMap
from scal3r_ros.mapping.storage.offload import PREFIX, submap_of
from scal3r_ros.mapping.storage.relocalization import LoadedMap
from scal3r_ros.mapping.submaps.frame_log import FrameLog
from scal3r_ros.mapping.values import PointCloud

Arrays = Mapping[str, NDArray[Any]]

GRAPH, FRAMES, POINTS, PLACES, MEMORY = "graph", "frames", "points", "places", "memory"
OCCUPANCY = "occupancy"


@dataclass(frozen=True)
class MapContents:
    """A map at one moment: arrays by part, the files of submaps that are on disk, the memory's file if there is one."""

    parts: Mapping[str, Arrays]
    submaps: Mapping[str, Path]
    memory: Path | None
    reconstructor: str


def parts_of(
    points: Arrays, places: Arrays, occupancy: Arrays | None, graph: Arrays, frames: Arrays
) -> dict[str, Arrays]:
    """The arrays of a map by part; one without an occupancy grid has no such part."""
    parts = {POINTS: points, PLACES: places, GRAPH: graph, FRAMES: frames}
    return parts if occupancy is None else parts | {OCCUPANCY: occupancy}


def write_contents(writer: MapWriter, contents: MapContents) -> None:
    """Writes a map and makes it the one of the writer's folder; raises `MappingError` as the writer."""
    for name, arrays in contents.parts.items():
        writer.add_arrays(name, arrays, compressed=name != PLACES)
    for name, path in contents.submaps.items():
        writer.add_file(name, path)
    if contents.memory is not None:
        writer.add_file(MEMORY, contents.memory)
    frames = contents.parts[FRAMES]
    writer.commit(
        {
            "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "scal3r_ros": importlib.metadata.version("scal3r_ros"),
            "reconstructor": contents.reconstructor,
            "drives": len(frames["starts"]),
            "frames": len(frames["index"]),
            "submaps": len(contents.parts[GRAPH]["index"]),
            "points": len(contents.parts[POINTS]["point"]),
        }
    )


def loaded_map(stored: StoredMap) -> tuple[LoadedMap, Arrays | None]:
    """What a drive needs of a saved map until the camera is found in it; and its places, where it has any."""
    occupancy, places = (stored.arrays(name) if name in stored else None for name in (OCCUPANCY, PLACES))
    graph, frames, points = (stored.arrays(name) for name in (GRAPH, FRAMES, POINTS))
    return LoadedMap(stored.folder, graph, frames, points, occupancy), places


def offloaded(stored: StoredMap) -> dict[str, Path]:
    """The files of submaps that had left RAM, by name."""
    return {name: stored.path(name) for name in stored.names(PREFIX)}


class SavedMap:
    """A map on disk, read-only: its drives and its cloud, in the frame `map`.

    Raises:
        MappingError: as `StoredMap`.
    """

    def __init__(self, folder: Path) -> None:
        self._stored = StoredMap(folder)
        graph = SubmapGraph()
        graph.restore(self._stored.arrays(GRAPH))
        self._anchors: Mapping[int, Sim3] = graph.anchors()
        observed = {o.source.value for o in graph.observations if isinstance(o, ScaleObservation | PositionObservation)}
        self._scale_sources = tuple(sorted(observed)) if graph.metric else None
        self._frames = FrameLog()
        self._frames.restore(self._stored.arrays(FRAMES))

    @property
    def scale_sources(self) -> tuple[str, ...] | None:
        """What measured the metre, where that is the unit of `map`; None where it is not."""
        return self._scale_sources

    @property
    def anchors(self) -> Mapping[int, Sim3]:
        """S_map_submap of every submap."""
        return self._anchors

    def occupancy(self) -> Arrays | None:
        """The occupancy grids of the submaps, as `OccupancyMap.snapshot` gives them; None where there are none."""
        return self._stored.arrays(OCCUPANCY) if OCCUPANCY in self._stored else None

    def drives(self) -> tuple[Trajectory, ...]:
        """The trajectory T_map_cam of each drive, oldest first."""
        return self._frames.drives(self._anchors)

    def cameras(self) -> tuple[tuple[Intrinsics | None, ...], ...]:
        """The camera of each frame of each drive, None where it was not known."""
        return self._frames.cameras()

    def cloud(self) -> PointCloud:
        """All points that the map shows: those on disk for offloaded submaps, else those of the point map."""
        on_disk = self._on_disk()
        clouds = [*(self._offloaded(submap) for submap in on_disk), self._resident().cloud(without=on_disk)]
        return PointCloud.joined(clouds)

    def submap_clouds(self) -> tuple[tuple[int, PointCloud], ...]:
        """The same points by submap: the stamp in ns of its last frame, and its cloud in `map`, oldest first.

        A submap whose frames all belong to later ones has the stamp of the submap before it.
        """
        frames = self._stored.arrays(FRAMES)
        on_disk, resident, every = self._on_disk(), self._resident(), set(self._anchors)
        stamp_ns, clouds = int(frames["stamp_ns"].min()) if len(frames["stamp_ns"]) else 0, []
        for submap in sorted(every):
            stamps = frames["stamp_ns"][frames["submap"] == submap]
            stamp_ns = int(stamps.max()) if len(stamps) else stamp_ns
            cloud = self._offloaded(submap) if submap in on_disk else resident.cloud(without=every - {submap})
            if len(cloud.points):
                clouds.append((stamp_ns, cloud))
        return tuple(clouds)

    def _on_disk(self) -> dict[int, str]:
        return {submap_of(name): name for name in self._stored.names(PREFIX)}

    def _offloaded(self, submap: int) -> PointCloud:
        cloud = unpacked(self._stored.arrays(self._on_disk()[submap]))
        return cloud.moved(self._anchors[submap])

    def _resident(self) -> PointMap:
        arrays = self._stored.arrays(POINTS)
        resident = PointMap(PointMapConfig(min_observations=int(arrays.get("min_observations", np.array(1)))))
        resident.restore(arrays)
        return resident
