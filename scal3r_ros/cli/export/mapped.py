"""What was mapped: a saved map, or the result of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3, similarity_of
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.clouds.length_unit import LengthUnit
from scal3r_ros.io.results.layout import TRAJECTORY_FILE
from scal3r_ros.io.results.reader import Result, read_result
from scal3r_ros.mapping.occupancy.config import OccupancyConfig
from scal3r_ros.mapping.occupancy.occupancy_map import placed_grid
from scal3r_ros.mapping.storage.contents import SavedMap
from scal3r_ros.mapping.values import OccupancyGrid, PointCloud

Arrays = Mapping[str, NDArray[Any]]
Cameras = Sequence[Intrinsics | None]


@dataclass(frozen=True, eq=False)
class PosedFrames:
    """Frames of one or more drives by stamp: poses T_map_cam, and camera and drive of each."""

    poses: Trajectory
    cameras: Cameras
    drives: Sequence[int]

    def without_repeated_stamps(self) -> PosedFrames:
        """Of frames with one stamp, as where drives overlap, the newest drive's: the last."""
        last = np.append(np.diff(self.poses.stamps_ns) > 0, True)[: len(self.poses)]
        return self.select(np.flatnonzero(last).tolist())

    def select(self, rows: Sequence[int]) -> PosedFrames:
        """Only some of the frames."""
        chosen = np.array(rows, np.int64)
        poses = Trajectory(self.poses.stamps_ns[chosen], self.poses.T_ref_cam[chosen])
        return PosedFrames(poses, [self.cameras[row] for row in rows], [self.drives[row] for row in rows])


class Mapped:
    """A saved map or a result folder, in the frame `map` or, in metres by `source`, where `S_out_map` leads to.

    Raises:
        MappingError: the folder is neither.
        EvaluationError, SequenceError: a file of the result is damaged.
    """

    def __init__(self, folder: Path, S_out_map: Sim3 | None = None, source: str = "") -> None:
        self._folder = folder
        self._S_out_map = S_out_map
        self._metres_by = source
        result = (folder / TRAJECTORY_FILE).is_file()
        self._source: SavedMap | Result = read_result(folder) if result else SavedMap(folder)

    def moved(self, S_out_map: Sim3, source: str) -> Mapped:
        """The same in another frame, and in the metres of `source`."""
        return Mapped(self._folder, S_out_map, source)

    @property
    def unit(self) -> LengthUnit:
        """Whether it is in metres, and what measured them."""
        if self._S_out_map is not None:
            return LengthUnit.metre([self._metres_by])
        if isinstance(self._source, Result):
            return LengthUnit.of_run(self._source.run)
        sources = self._source.scale_sources
        return LengthUnit() if sources is None else LengthUnit.metre(sources)

    def frames(self, drive: int | None = None) -> PosedFrames:
        """All frames, or those of one drive."""
        drives, cameras = self._drives()
        if drive is not None and drive >= len(drives):
            raise MappingError(
                f"the map in {self._folder} has {len(drives)} drives, counted from 0, but no drive {drive}"
            )
        chosen = range(len(drives)) if drive is None else [drive]
        stamps = np.concatenate([drives[number].stamps_ns for number in chosen])
        poses = np.concatenate([drives[number].T_ref_cam for number in chosen])
        order = np.argsort(stamps, kind="stable")
        every = [camera for number in chosen for camera in cameras[number]]
        numbers = [number for number in chosen for _ in range(len(drives[number]))]
        poses = poses[order] if self._S_out_map is None else self._S_out_map.apply_pose(poses[order])
        return PosedFrames(
            Trajectory(stamps[order], poses), [every[row] for row in order], [numbers[row] for row in order]
        )

    @cached_property
    def cloud(self) -> PointCloud:
        """All points."""
        if isinstance(self._source, SavedMap):
            return self._moved(self._source.cloud())
        found = self._source.cloud
        if found is None:
            return PointCloud.empty()
        points = found.points.astype(np.float32)
        return self._moved(PointCloud(points, found.colours, found.normals, found.confidence, found.submaps))

    def occupancy(self) -> OccupancyGrid:
        """The occupancy grid; raises `MappingError` where the map has none."""
        source = self._source
        arrays = source.occupancy() if isinstance(source, SavedMap) else source.occupancy
        grid = None
        if arrays is not None:
            anchors = source.anchors if isinstance(source, SavedMap) else _anchors_of(arrays)
            if self._S_out_map is not None:
                anchors = {submap: self._S_out_map @ S_map_submap for submap, S_map_submap in anchors.items()}
            grid = placed_grid(arrays, anchors, OccupancyConfig.max_cells)
        if grid is None:
            raise MappingError(
                f"the map in {self._folder} has no occupancy grid: that takes a drive in metres (for example --set "
                "scale.camera_height=1.2) and the ground in view or an IMU; run.yaml counts occupancy_without_…"
            )
        return grid

    def submap_clouds(self) -> list[tuple[int, PointCloud]]:
        """The points by submap with the stamp in ns at which each was known; a result's are known at its end."""
        if isinstance(self._source, SavedMap):
            return [(stamp, self._moved(cloud)) for stamp, cloud in self._source.submap_clouds()]
        return [(int(self._source.trajectory.stamps_ns[-1]), self.cloud)]

    def _drives(self) -> tuple[Sequence[Trajectory], Sequence[Cameras]]:
        if isinstance(self._source, SavedMap):
            return self._source.drives(), self._source.cameras()
        trajectory = self._source.trajectory
        return [trajectory], [[None] * len(trajectory)]

    def _moved(self, cloud: PointCloud) -> PointCloud:
        return cloud if self._S_out_map is None else cloud.moved(self._S_out_map)


def _anchors_of(arrays: Arrays) -> dict[int, Sim3]:
    return {int(submap): similarity_of(row) for submap, row in zip(arrays["submap"], arrays["anchor"], strict=True)}
