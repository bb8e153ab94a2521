"""Where every frame was, relative to the submap that knows it best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory


@dataclass(frozen=True)
class _Entry:
    stamp_ns: int
    submap: int
    T_submap_cam: NDArray[np.float64]


class FrameLog:
    """One pose a frame, in the frame and unit of its submap: it moves with the submap. About 300 bytes a frame."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, index: int, stamp_ns: int, submap: int, T_submap_cam: NDArray[np.float64]) -> None:
        """Sets or replaces the pose of frame `index`."""
        self._entries[index] = _Entry(stamp_ns, submap, T_submap_cam)

    def clear(self) -> None:
        """Forget all frames."""
        self._entries.clear()

    def trajectory(self, anchors: Mapping[int, Sim3]) -> Trajectory:
        """All frames by stamp, placed by their submaps' anchors."""
        entries = sorted(self._entries.values(), key=lambda entry: entry.stamp_ns)
        poses = np.empty((len(entries), 4, 4))
        submaps = np.array([entry.submap for entry in entries], np.int64)
        local = np.stack([entry.T_submap_cam for entry in entries]) if entries else poses
        for submap in np.unique(submaps):
            rows = submaps == submap
            poses[rows] = anchors[int(submap)].apply_pose(local[rows])
        return Trajectory(np.array([entry.stamp_ns for entry in entries], np.int64), poses)
