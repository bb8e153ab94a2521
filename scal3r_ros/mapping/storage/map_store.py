"""Maps on disk: a folder holds either the new map or the one before, complete, wherever the writing ends.

    MAP/manifest.json          names every file with its hash; replaced in one step when all of them are on the disk
    MAP/parts/points-<hash>.npz   a file never changes: another content gets another name

Files that no manifest names any more are removed afterwards, so a map that is saved again needs room for both.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.storage.archive import write_arrays
from scal3r_ros.mapping.storage.manifest import (
    MANIFEST,
    PARTS,
    Entry,
    Manifest,
    entry_of,
    manifest_bytes,
    read_manifest,
)

_LOCK = ".lock"
_SCRATCH = ".scratch"
_NEW_MANIFEST = ".manifest"
_HASH_DIGITS = 16


class MapWriter:
    """Writes a map into `folder`, to be used in a `with` block; without `commit` all is as it was before.

    Raises:
        MappingError: the disk refuses it, another process is writing there, or the folder holds a map that can
            not be read and would be lost.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = folder / PARTS
        self._entries: dict[str, Entry] = {}
        self._lock: int | None = None
        self._kept: Manifest | None = None

    def __enter__(self) -> MapWriter:
        with self._disk_errors():
            self.scratch.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._parts / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise MappingError(
                f"a map is being written into {self._folder} already; try again when it is done"
            ) from error
        try:
            self._kept = read_manifest(self._folder) if (self._folder / MANIFEST).exists() else None
            with self._disk_errors():
                self._sweep()
                self.scratch.mkdir()
        except MappingError:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what is left over goes when a map is saved here again
            self._sweep()
        if self._lock is not None:
            os.close(self._lock)

    @property
    def scratch(self) -> Path:
        """A folder on the map's disk for files that others write, to be given to `add_file`."""
        return self._parts / _SCRATCH

    def linked(self, path: Path) -> Path:
        """A link to a file that its owner may remove before it is added; the file itself on a disk without links."""
        link = self.scratch / path.name
        try:
            link.hardlink_to(path)
        except OSError:
            return path
        return link

    def add_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]], compressed: bool = True) -> None:
        """Stores plain arrays as the part `name`; do not compress what hardly shrinks."""
        path = self.scratch / f"{name}.npz"
        with self._disk_errors(), path.open("wb") as file:
            write_arrays(file, arrays, compressed)
        self.add_file(name, path)

    def add_file(self, name: str, path: Path) -> None:
        """Stores a finished file as part `name`: moved from `scratch`, else linked or copied."""
        with self._disk_errors():
            whole = entry_of(path, "")
            entry = Entry(_stored_as(name + path.suffix, whole.sha256), whole.size, whole.sha256)
            target = self._parts / entry.stored_as
            if not self._is_there(entry):
                if path.parent == self.scratch:
                    path.replace(target)
                else:
                    _link_or_copy(path, target)
                _sync(target)
        self._entries[name] = entry

    def commit(self, facts: Mapping[str, object]) -> None:
        """Makes what was added the map of the folder."""
        manifest = Manifest(self._entries, facts)
        beside = self._parts / _NEW_MANIFEST
        with self._disk_errors():
            with beside.open("wb") as file:
                file.write(manifest_bytes(manifest))
                file.flush()
                os.fsync(file.fileno())
            _sync(self._parts)
            _sync(self._folder)
            beside.replace(self._folder / MANIFEST)
            _sync(self._folder)
        self._kept = manifest

    def _is_there(self, entry: Entry) -> bool:
        """Whether the content is on the disk already; a damaged file of that name is removed."""
        path = self._parts / entry.stored_as
        if not path.exists():
            return False
        if entry_of(path, entry.stored_as) == entry:
            return True
        path.unlink()
        return False

    def _sweep(self) -> None:
        """Removes what the folder's manifest does not name."""
        kept = set() if self._kept is None else {entry.stored_as for entry in self._kept.entries.values()}
        shutil.rmtree(self.scratch, ignore_errors=True)
        for path in self._parts.iterdir():
            if path.name not in kept and path.name != _LOCK and not path.is_dir():
                path.unlink()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turns errors of the disk into one sentence."""
        try:
            yield
        except OSError as error:
            kept = "" if self._kept is None else "; the map saved there before is intact"
            raise MappingError(f"no map can be written into {self._folder}: {error.strerror}{kept}") from error


class StoredMap:
    """A map in a folder, with every file verified.

    Raises:
        MappingError: there is no map, it is of another version, or a file of it is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _shared_lock(folder):
            manifest = read_manifest(folder)
            for name, entry in manifest.entries.items():
                path = folder / PARTS / entry.stored_as
                try:
                    found = entry_of(path, entry.stored_as)
                except OSError as error:
                    raise MappingError(f"the map in {folder} lacks its {name}: {path}: {error.strerror}") from error
                if found != entry:
                    raise MappingError(f"the map in {folder} is damaged: {path} is not what was saved as its {name}")
        self._entries = manifest.entries
        self.facts = manifest.facts

    @property
    def folder(self) -> Path:
        """Where the map lies."""
        return self._folder

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self, prefix: str = "") -> list[str]:
        """The parts whose names begin with `prefix`, in order of their names."""
        return sorted(name for name in self._entries if name.startswith(prefix))

    def path(self, name: str) -> Path:
        """Where the part `name` lies."""
        if name not in self._entries:
            raise MappingError(f"the map in {self._folder} has no {name}")
        return self._folder / PARTS / self._entries[name].stored_as

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays that were stored as the part `name`."""
        try:
            with np.load(self.path(name), allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise MappingError(f"the {name} of the map in {self._folder} cannot be read: {error}") from error


def _stored_as(name: str, digest: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}-{digest[:_HASH_DIGITS]}.{suffix}"


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _shared_lock(folder: Path) -> Iterator[None]:
    """Waits until nobody writes a map into `folder`, where its disk has locks."""
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(folder / PARTS / _LOCK, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
