"""The pose of every frame, relative to a submap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory

_FIRST_ROWS = 256
_NAMES = ("index", "stamp_ns", "submap", "camera", "T_submap_cam")


@dataclass(frozen=True, eq=False)
class FramePlace:
    """Frame `index` of a drive lies at `T_submap_cam` (4, 4) in a submap, in its unit; `intrinsics` where known."""

    index: int
    stamp_ns: int
    submap: int
    T_submap_cam: NDArray[np.float64]
    intrinsics: Intrinsics | None = None


class FrameLog:
    """One pose a frame, in the frame and unit of its submap: it moves with the submap. 128 bytes a frame.

    Frames belong to drives: those of earlier drives never change, and each drive counts its frames from 0.
    """

    def __init__(self) -> None:
        self.clear()

    def __len__(self) -> int:
        """Number of frames of the drive at hand."""
        return self._count - self._starts[-1]

    def put(
        self,
        index: int,
        stamp_ns: int,
        submap: int,
        T_submap_cam: NDArray[np.float64],
        camera: Intrinsics | None = None,
    ) -> None:
        """Sets the pose of frame `index` of the drive at hand, in place of one by the same or an older submap.

        `camera` is the one that took it, None where it is not known; the log keeps it as a pinhole camera.
        """
        camera = None if camera is None else replace(camera, radial=0.0, readout_s=0.0)
        start, end = self._starts[-1], self._count
        row = start + int(np.searchsorted(self._index[start:end], index))
        if row == end or self._index[row] != index:
            self._make_room()
            for column in self._columns():
                column[row + 1 : end + 1] = column[row:end].copy()
            self._count += 1
        elif self._submap[row] > submap:
            return
        self._index[row], self._stamp_ns[row], self._submap[row] = index, stamp_ns, submap
        self._camera[row] = self._cameras.setdefault(camera, len(self._cameras))
        self._T_submap_cam[row] = T_submap_cam[:3]

    def clear(self) -> None:
        """Forget all frames."""
        self._index = np.zeros(_FIRST_ROWS, np.int64)
        self._stamp_ns = np.zeros(_FIRST_ROWS, np.int64)
        self._submap = np.zeros(_FIRST_ROWS, np.int64)
        self._camera = np.zeros(_FIRST_ROWS, np.int64)
        self._cameras: dict[Intrinsics | None, int] = {}  # number by camera
        self._T_submap_cam = np.zeros((_FIRST_ROWS, 3, 4))
        self._count = 0
        self._starts = [0]  # the row with which each drive begins

    def trajectory(self, anchors: Mapping[int, Sim3]) -> Trajectory:
        """All frames of the drive at hand by stamp, placed by their submaps' anchors."""
        return self._placed(self._starts[-1], self._count, anchors)

    def drives(self, anchors: Mapping[int, Sim3]) -> tuple[Trajectory, ...]:
        """The trajectory of each drive, oldest first; the last is that of the drive at hand."""
        ends = [*self._starts[1:], self._count]
        return tuple(self._placed(start, end, anchors) for start, end in zip(self._starts, ends, strict=True))

    def cameras(self) -> tuple[tuple[Intrinsics | None, ...], ...]:
        """The camera of each frame of each drive, in the order of `drives`; None where it was not known."""
        known = list(self._cameras)
        ends = [*self._starts[1:], self._count]
        return tuple(
            tuple(known[number] for number in self._camera[self._by_stamp(start, end)])
            for start, end in zip(self._starts, ends, strict=True)
        )

    def first_stamps(self) -> dict[int, int]:
        """The earliest stamp of each submap that has frames of the drive at hand."""
        rows = self._by_stamp(self._starts[-1], self._count)
        submaps, first = np.unique(self._submap[rows], return_index=True)
        return dict(zip(submaps.tolist(), self._stamp_ns[rows[first]].tolist(), strict=True))

    def begin_drive(self) -> None:
        """What is put from now on belongs to a new drive."""
        if self._count > self._starts[-1]:
            self._starts.append(self._count)

    def absorb(self, earlier: Mapping[str, NDArray[Any]]) -> None:
        """Take in the drives of another log's `snapshot`, as earlier than all of this one."""
        own, known = self.snapshot(), _cameras(earlier["cameras"])
        own["camera"] = own["camera"] + len(known)
        joined = {name: np.concatenate([earlier[name], own[name]]) for name in own}
        joined["starts"] = np.concatenate([earlier["starts"], own["starts"] + len(earlier["index"])])
        self.restore(joined)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The log as plain arrays, for `restore`."""
        columns = {name: column[: self._count].copy() for name, column in zip(_NAMES, self._columns(), strict=True)}
        nothing = (np.nan,) * 6
        cameras = [nothing if camera is None else astuple(camera)[:6] for camera in self._cameras]
        return {
            **columns,
            "starts": np.array(self._starts, np.int64),
            "cameras": np.array(cameras, np.float64).reshape(-1, 6),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the log whose `snapshot` is given, in place of this one."""
        cameras = _cameras(arrays["cameras"])
        self._cameras = {}
        numbers = np.array([self._cameras.setdefault(camera, len(self._cameras)) for camera in cameras], np.int64)
        self._index, self._stamp_ns, self._submap, _, self._T_submap_cam = (arrays[name].copy() for name in _NAMES)
        self._camera = numbers[arrays["camera"]]
        self._count = len(self._index)
        self._starts = arrays["starts"].tolist()

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self._index, self._stamp_ns, self._submap, self._camera, self._T_submap_cam

    def _make_room(self) -> None:
        if self._count < len(self._index):
            return
        more = max(_FIRST_ROWS, len(self._index) // 4)
        self._index, self._stamp_ns, self._submap, self._camera, self._T_submap_cam = (
            np.concatenate([column, np.zeros((more, *column.shape[1:]), column.dtype)]) for column in self._columns()
        )

    def _by_stamp(self, start: int, end: int) -> NDArray[np.int64]:
        return start + np.argsort(self._stamp_ns[start:end], kind="stable")

    def _placed(self, start: int, end: int, anchors: Mapping[int, Sim3]) -> Trajectory:
        order = self._by_stamp(start, end)
        submaps, which = np.unique(self._submap[order], return_inverse=True)
        used = [anchors[submap] for submap in submaps.tolist()]
        poses = np.zeros((len(order), 4, 4))
        poses[:, 3, 3] = 1.0
        if used:
            R = np.stack([anchor.R for anchor in used])[which]
            scale = np.array([anchor.scale for anchor in used])[which, None]
            t = np.stack([anchor.t for anchor in used])[which]
            local = self._T_submap_cam[order]
            poses[:, :3, :3] = R @ local[:, :, :3]
            poses[:, :3, 3] = scale * (R @ local[:, :, 3:])[:, :, 0] + t
        return Trajectory(self._stamp_ns[order], poses)


def _cameras(rows: NDArray[np.float64]) -> list[Intrinsics | None]:
    return [
        None if np.isnan(fx) else Intrinsics(fx, fy, cx, cy, int(width), int(height))
        for fx, fy, cx, cy, width, height in rows.tolist()
    ]
