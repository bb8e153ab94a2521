"""Who watches a replay: the page of `--view`, the file of `--rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rich.console import Console

from scal3r_ros.assembly import CoreConfig
from scal3r_ros.cli.view import wait_for_interrupt
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.values import MapUpdate
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.viewer.feed import MapperFeed
from scal3r_ros.viewer.live import LiveView, ViewSettings
from scal3r_ros.viewer.rerun_file import RerunFile


class Watcher(Protocol):
    """Is shown a replay, image by image."""

    def begin(self, mapper: OnlineMapper, truth: Trajectory | None) -> None:
        """From now on `mapper` is shown, and the true path beside it where there is one."""

    def show(self, frame: Frame, updates: list[MapUpdate]) -> None:
        """What the mapper gave for a frame."""

    def finish(self, updates: list[MapUpdate]) -> None:
        """What the mapper gave at the end."""


def watchers_of(page: WatchedReplay | None, rerun: Path | None, config: CoreConfig) -> list[Watcher]:
    """The page, and a recording at `rerun`, as far as they are wanted; raises `ViewError` as `RerunFile` does."""
    recording = None if rerun is None else RerunFile(rerun, config.map.voxel_size)
    return [watcher for watcher in (page, recording) if watcher is not None]


class WatchedReplay:
    """The page of one replay. Its threads end with the process, where `wait` is not reached.

    Raises:
        ViewError: the machine has no such address.
    """

    def __init__(self, config: CoreConfig, host: str, port: int, console: Console) -> None:
        self._page = LiveView(ViewSettings(host=host, port=port, unit=config.map.voxel_size))
        self._console = console
        self._feed: MapperFeed | None = None
        console.print(self._page.announcement, highlight=False, markup=False, soft_wrap=True)

    def begin(self, mapper: OnlineMapper, truth: Trajectory | None) -> None:
        """From now on `mapper` is shown, and the true path beside it where there is one."""
        self._feed = MapperFeed(self._page, mapper, truth)

    def show(self, frame: Frame, updates: list[MapUpdate]) -> None:
        """What the mapper gave for a frame."""
        if self._feed is not None:
            self._feed.show(frame, updates)

    def finish(self, updates: list[MapUpdate]) -> None:
        """What the mapper gave at the end."""
        if self._feed is not None:
            self._feed.finish(updates)

    def wait(self) -> None:
        """Keeps the page until Ctrl-C, then takes it off."""
        wait_for_interrupt(lambda: self._console.print("the view stays until Ctrl-C", highlight=False))
        self._page.close()
