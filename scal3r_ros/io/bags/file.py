"""Opens a bag, of whatever format, whole or cut off, and gives its messages in order of time."""

from __future__ import annotations

import heapq
import itertools
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import yaml

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.bags.compression import decompress_file, decompress_message, without_compression
from scal3r_ros.io.bags.mcap_file import McapFile
from scal3r_ros.io.bags.messages import BagPart, RawMessage, TopicKey
from scal3r_ros.io.bags.ros1 import Ros1File
from scal3r_ros.io.bags.sqlite_file import SqliteFile
from scal3r_ros.io.bags.topics import TopicSummary

logger = logging.getLogger(__name__)

METADATA = "metadata.yaml"
FORMATS: Mapping[str, Callable[[Path], BagPart]] = {".mcap": McapFile, ".db3": SqliteFile, ".bag": Ros1File}
"""Reader by the suffix of a file. `metadata.yaml` may name another storage, or none: it is not asked."""


class BagFile:
    """A rosbag2 folder, a folder of ROS 1 bags, or a single file of either. Usable as a context.

    Every file is opened for itself, so that one without its end costs only what it lacks. `damage` names the first
    damage that was found, in one sentence; it is None otherwise. `close` may be called twice.

    Raises:
        SequenceError: the path is missing or no bag, or the bag holds no readable message.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SequenceError(
                f"bag {path} does not exist; give a rosbag2 folder, or a .mcap, .db3 or ROS 1 .bag file"
            )
        self.path = path
        self.damage: str | None = None
        self._resources = ExitStack()
        self._parts: list[tuple[Path, BagPart]] = []
        files = self._files()
        if not files:
            raise SequenceError(f"{path} is no bag: there is no .mcap, .db3 or .bag file in it")
        try:
            for file in files:
                self._open_or_pass_over(file, is_alone=len(files) == 1)
            if not self._parts:
                raise SequenceError(str(self.damage))
        except BaseException:
            self.close()
            raise
        self._parts.sort(key=lambda part: part[1].first_ns or 0)
        counts: Counter[TopicKey] = Counter()
        for _, part in self._parts:
            counts.update(part.counts)
        self.topics = tuple(TopicSummary(name, kind, count) for (name, kind), count in sorted(counts.items()))
        spans = [
            (part.first_ns, part.last_ns)
            for _, part in self._parts
            if part.first_ns is not None and part.last_ns is not None
        ]
        self._overlap = any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
        self.duration_ns = max(last for _, last in spans) - spans[0][0] if spans else 0
        if not sum(topic.count for topic in self.topics):
            damaged = ", and is damaged" if self.damage else ""
            self.close()
            raise SequenceError(f"bag {path} holds no messages{damaged}")

    def __enter__(self) -> BagFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files, and removes what was decompressed."""
        self._resources.close()

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Messages of the named topics, of all where None, ordered by the time they were recorded.

        Where a file turns out to be damaged later on, its messages end there and `damage` names it.
        """
        streams = [self._messages_of(file, part, topics) for file, part in self._parts]
        if self._overlap:
            yield from heapq.merge(*streams, key=lambda message: message.stamp_ns)
            return
        for stream in streams:
            yield from stream

    def _messages_of(self, file: Path, part: BagPart, topics: Collection[str] | None) -> Iterator[RawMessage]:
        for message in part.messages(topics):
            yield message._replace(data=decompress_message(message.data))
        self._report(file, part)

    def _open_or_pass_over(self, file: Path, is_alone: bool) -> None:
        """Of several files, one that cannot be opened at all costs what is in it, not the bag."""
        try:
            self._open(file)
        except SequenceError as error:
            if is_alone:
                raise
            logger.warning("%s; the other files of the bag are used", error)
            self.damage = self.damage or f"{error}; the other files of the bag are used"

    def _open(self, file: Path) -> None:
        plain = without_compression(file)
        try:
            opened = file
            if plain != file:
                folder = self._resources.enter_context(tempfile.TemporaryDirectory(prefix="bag_"))
                opened = decompress_file(file, Path(folder))
            part = FORMATS[plain.suffix.lower()](opened)
        except OSError as error:
            raise SequenceError(f"bag {self.path} cannot be read: {error.strerror}") from error
        self._resources.callback(part.close)
        self._parts.append((file, part))
        self._report(file, part)

    def _report(self, file: Path, part: BagPart) -> None:
        if self.damage is None and part.damage is not None:
            name = self.path if len(self._files()) == 1 else file
            self.damage = f"bag {name} is damaged or cut off ({part.damage}); what can be read of it is used"
            logger.warning("%s", self.damage)

    def _files(self) -> tuple[Path, ...]:
        """The files of the bag: those that `metadata.yaml` lists where they are there, else every one of a bag."""
        if not self.path.is_dir():
            return (self.path,) if is_bag_file(self.path) else ()
        found = [item for item in sorted(self.path.iterdir()) if is_bag_file(item)]
        listed = _listed_files(self.path / METADATA)
        named = [item for item in found if item.name in listed or without_compression(item).name in listed]
        return tuple(named or found)


def is_bag_file(path: Path) -> bool:
    """Whether the name is that of a file of a bag, compressed or not."""
    return without_compression(path).suffix.lower() in FORMATS and path.is_file()


def is_bag(path: Path) -> bool:
    """Whether a path is a bag: a file of one, or a folder with at least one."""
    return is_bag_file(path) or (path.is_dir() and any(is_bag_file(item) for item in path.iterdir()))


def _listed_files(metadata: Path) -> set[str]:
    """Names of the files that a `metadata.yaml` lists; none where it is missing, damaged or of another form."""
    try:
        information = yaml.safe_load(metadata.read_text())["rosbag2_bagfile_information"]
        return {Path(str(name)).name for name in information["relative_file_paths"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError):
        return set()
