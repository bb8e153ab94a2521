"""Submaps beyond the working set: the full clouds of what the point map thins, on disk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.cloud.packed_cloud import packed
from scal3r_ros.mapping.storage.archive import Archive
from scal3r_ros.mapping.values import PointCloud

_log = logging.getLogger(__name__)

PREFIX = "submap_"


class Offload:
    """Clouds of submaps on their way to the disk, and there. Any thread may call any method.

    `leave` is quick; `write` takes the disk's time, and `clear` waits for the cloud that is being written.

    Args:
        folder: where they go; None takes the system's folder for temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._archive = Archive(folder)
        self._writing = threading.Lock()
        self._leaving: deque[tuple[int, PointCloud]] = deque()
        self._lost = 0
        self._refused = False  # by the disk, at the last attempt

    def leave(self, submap: int, cloud: PointCloud) -> None:
        """Takes the cloud of a submap, in its own coordinates, to be written by the next `write`."""
        self._leaving.append((submap, cloud))

    def write(self) -> None:
        """Writes what left. A disk that refuses it is logged once: it costs old submaps detail, never the drive."""
        while True:
            with self._writing:
                if not self._leaving:
                    return
                self._write(*self._leaving.popleft())

    def paths(self, submaps: Collection[int]) -> dict[str, Path]:
        """The files of those of `submaps` that are on disk."""
        names = {name_of(submap) for submap in submaps}
        return {name: path for name, path in self._archive.paths().items() if name in names}

    def adopt(self, paths: Mapping[str, Path]) -> None:
        """Takes in the files of a saved map; raises `MappingError` as `Archive`."""
        self._archive.adopt(paths)

    def counters(self) -> dict[str, int]:
        """Submaps whose full clouds are on disk, and those that lost detail because the disk refused them."""
        return {"submaps_on_disk": len(self._archive), "submaps_lost": self._lost}

    def clear(self) -> None:
        """Removes all files."""
        with self._writing:
            self._leaving.clear()
            self._lost, self._refused = 0, False
            self._archive.clear()

    def _write(self, submap: int, cloud: PointCloud) -> None:
        try:
            self._archive.put(name_of(submap), packed(cloud))
            self._refused = False
        except MappingError as error:
            self._lost += 1
            if not self._refused:
                _log.error("old submaps lose detail: %s", error)
            self._refused = True


def name_of(submap: int) -> str:
    """The name of a submap's cloud, in the archive and in a saved map."""
    return f"{PREFIX}{submap:06d}"


def submap_of(name: str) -> int:
    """The submap of such a name."""
    return int(name.removeprefix(PREFIX))
