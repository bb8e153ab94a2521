"""Publishes and records what becomes of chunks and loops, one update at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from scal3r_ros.errors import MappingError
from scal3r_ros.io.results.writer import ResultWriter
from scal3r_ros.mapping.values import FramePose, MapUpdate
from scal3r_ros.nodes.mapper.output.map_publishers import MapPublishers
from scal3r_ros.nodes.mapper.output.navigation import NavigationPublishers
from scal3r_ros.nodes.mapper.statistics import Statistics, describe

FIRST_UPDATE_WAIT_S = 2.0
"""How long the first tracked poses wait at most for the older poses of the first map update to be published."""


class UpdateSink:
    """Takes updates from any thread; those of a map that was replaced meanwhile are left out.

    `unwritten` is true where updates were taken since it was last set to false.
    """

    def __init__(
        self,
        publishers: MapPublishers,
        navigation: NavigationPublishers,
        writer: ResultWriter | None,
        statistics: Statistics,
    ) -> None:
        self._publishers = publishers
        self._navigation = navigation
        self._writer = writer
        self._statistics = statistics
        self._lock = threading.Lock()
        self._generation = 0
        self._map_begun = threading.Event()
        self.unwritten = False

    @property
    def generation(self) -> int:
        """Number of the map at hand; to be asked for before an update is computed."""
        return self._generation

    def give_image(self, stamp_ns: int) -> None:
        """An image was taken in."""
        self._publishers.give_image(stamp_ns)

    def give_poses(self, poses: Sequence[FramePose]) -> None:
        """Publishes poses just tracked, after the older poses of the first map update."""
        self._map_begun.wait(FIRST_UPDATE_WAIT_S)
        self._publishers.give_poses(poses)

    def take(self, update: MapUpdate, generation: int) -> bool:
        """Publishes and records an update of the map `generation`; False where another has taken its place."""
        with self._lock:
            if generation != self._generation:
                return False
            self._publishers.give_update(update)
            self._navigation.give_update(update)
            if update.submap is not None:
                self._map_begun.set()
            self._record(update)
        return True

    def publish_due(self) -> None:
        """Publishes global cloud and grid where they have changed and their rate allows it; counts what goes wrong."""
        self._publish(self._publishers.give_what_is_due)
        self._publish(self._navigation.give_what_is_due)

    def publish_map(self) -> None:
        """Publishes global cloud and grid where they have changed, however recent the last ones are."""
        self._publish(self._publishers.give_map)
        self._publish(partial(self._navigation.give_what_is_due, at_once=True))

    def _publish(self, give: Callable[[], None]) -> None:
        try:
            with self._lock:
                give()
        except Exception as error:  # a map that is not shown must not end the mapping
            self._statistics.faults.report("publishing failed", f"the map could not be published: {describe(error)}")

    def begin_anew(self) -> None:
        """The map was replaced: updates computed before are left out, and nothing shows the old one any more."""
        with self._lock:
            self._generation += 1
            self._map_begun.clear()
            self._publishers.clear()
            self._navigation.clear()

    def _record(self, update: MapUpdate) -> None:
        self.unwritten = True
        if self._writer is None:
            return
        try:
            self._writer.add(update)
        except MappingError as error:
            self._statistics.faults.report("result not written", f"the result is incomplete: {error}")
