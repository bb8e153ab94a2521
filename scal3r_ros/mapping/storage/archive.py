"""Arrays on disk by name, one compressed file each, in a folder that ends with the process."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError

_PREFIX = "scal3r_"
_LOCK, _LOCK_TO_BE = ".lock", ".lock_to_be"


def write_arrays(file: IO[bytes], arrays: Mapping[str, NDArray[Any]], compressed: bool = True) -> None:
    """Writes arrays as one NPZ; do not compress what hardly shrinks."""
    named: dict[str, Any] = dict(arrays)  # without allow_pickle, which NumPy 1.26 would store as an array
    (np.savez_compressed if compressed else np.savez)(file, **named)


class Archive:
    """Files that are written once and linked into saved maps. Any thread may call any method.

    Args:
        folder: where its own folder is made, with the first file; None takes the system's folder for temporary files.
            Own folders that a process left behind when it was killed are removed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._parent = folder
        self._lock = threading.Lock()
        self._own: Path | None = None
        self._alive: int | None = None  # a lock on the own folder, which ends with the process
        self._removal: weakref.finalize[..., Archive] | None = None
        self._paths: dict[str, Path] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays under a name, which must be fit for a file, in place of what it stood for.

        Raises:
            MappingError: the disk refuses them; what the name stood for before stays.
        """
        buffer = io.BytesIO()
        write_arrays(buffer, arrays)
        with self._lock:
            try:
                path = self._folder() / f"{name}.npz"
                partial = path.with_suffix(".part")
                try:
                    partial.write_bytes(buffer.getbuffer())
                    partial.replace(path)  # a new file: links to the one before keep what they link to
                finally:
                    partial.unlink(missing_ok=True)
            except OSError as error:
                raise MappingError(
                    f"{self._own or self._parent or tempfile.gettempdir()} has no room for submaps that leave RAM: "
                    f"{error.strerror}; free some space or set offload_directory"
                ) from error
            self._paths[name] = path

    def paths(self) -> dict[str, Path]:
        """The files by name."""
        with self._lock:
            return dict(self._paths)

    def adopt(self, paths: Mapping[str, Path]) -> None:
        """Take in files that another archive wrote, by links where the disk allows it.

        Raises:
            MappingError: a file cannot be linked or copied.
        """
        with self._lock:
            for name, source in paths.items():
                try:
                    target = self._folder() / f"{name}.npz"
                    target.unlink(missing_ok=True)
                    try:
                        target.hardlink_to(source)
                    except OSError:  # another disk, or one that knows no links
                        shutil.copyfile(source, target)
                except OSError as error:
                    raise MappingError(f"{source} cannot be copied into {self._own}: {error.strerror}") from error
                self._paths[name] = target

    def clear(self) -> None:
        """Remove all files, and the folder."""
        with self._lock:
            self._paths.clear()
            if self._removal is not None:
                self._removal()
            if self._alive is not None:
                os.close(self._alive)
            self._own = self._alive = self._removal = None

    def _folder(self) -> Path:
        if self._own is None:
            if self._parent is not None:
                self._parent.mkdir(parents=True, exist_ok=True)
            parent = Path(tempfile.gettempdir()) if self._parent is None else self._parent
            _remove_orphans(parent)
            own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._alive = os.open(own / _LOCK_TO_BE, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            (own / _LOCK_TO_BE).rename(own / _LOCK)  # others look for it only once it is locked
            self._own = own
            self._removal = weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)  # at exit at the latest
        return self._own


def _remove_orphans(parent: Path) -> None:
    """Removes the folders whose processes are gone; their locks went with them."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except OSError:
            continue  # somebody else's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            continue  # in use
        finally:
            os.close(descriptor)
