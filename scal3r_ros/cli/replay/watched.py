"""The page of `scal3r replay --view`."""

from __future__ import annotations

from rich.console import Console

from scal3r_ros.assembly import CoreConfig
from scal3r_ros.cli.view import wait_for_interrupt
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.values import MapUpdate
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.viewer.feed import MapperFeed
from scal3r_ros.viewer.live import LiveView, ViewSettings


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
        self._console.print("the view stays until Ctrl-C", highlight=False)
        wait_for_interrupt()
        self._page.close()
