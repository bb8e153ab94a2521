"""The first pass of `scal3r replay --memory offline`: the network learns from all images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.status import Status

from scal3r_ros.assembly import CoreConfig, build_offline_mapper
from scal3r_ros.errors import ConfigurationError
from scal3r_ros.io.sources import SourceOptions, open_source
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.reconstruction.protocol import Frame


class Memory(StrEnum):
    """How the network's memory learns: from chunk to chunk, or from the whole recording first."""

    RUNNING = "running"
    SEQUENTIAL = "sequential"
    FROZEN = "frozen"
    OFFLINE = "offline"


def with_memory(given: object, in_file: object, memory: Memory) -> object:
    """The reconstructor that `--memory` is for: the one `given`, else that of file or default if it has a memory.

    Raises:
        ConfigurationError: the one given has none.
    """
    if given == "geometric":
        raise ConfigurationError(
            f"--memory {memory.value} is for a network, but the reconstructor is geometric; leave one of the two out"
        )
    usual = given or in_file or CoreConfig.reconstructor
    return "scal3r" if usual == "geometric" else usual


def offline_mapper(
    source: Path,
    options: SourceOptions,
    config: CoreConfig,
    folder: Path,
    console: Console,
    load_map: Path | None = None,
) -> OnlineMapper:
    """A mapper for the images of `source` that has learned from all of them; `folder` holds its states.

    It continues the map saved in `load_map`.
    """
    stored = None if load_map is None else StoredMap(load_map)
    with closing(open_source(source, options)) as reader, console.status("reading the images") as status:
        return build_offline_mapper(config, _with_progress(options.select(reader.frames()), status), folder, stored)


def _with_progress(frames: Iterator[Frame], status: Status) -> Iterator[Frame]:
    for number, frame in enumerate(frames, start=1):
        status.update(f"first pass: image {number}")
        yield frame
    status.update("the network's layers, one by one over all chunks")
