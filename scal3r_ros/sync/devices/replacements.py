"""Workers that take the place of lost ones: they start beside the others, which go on, and join between two steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from scal3r_ros.sync.devices.messages import Failed, Gone, Ready, Reply
from scal3r_ros.sync.devices.worker_process import WorkerHandle

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 600.0
_MOST_FAILURES = 3
"""A device on which so many workers in a row could not be started is left out: it is gone."""


@dataclass
class _Place:
    """A device without a worker."""

    device: str
    start_at_s: float
    worker: WorkerHandle | None = None
    ready: bool = False


class Replacements:
    """The devices that have lost their workers, and the workers that are being started there. For one thread.

    A device gets a new worker at once when it loses its first; after that the pauses grow, because a chunk, or the
    device, may be what ends the workers.

    Args:
        start: starts a worker on a device.
        note: gets sentences about what happens.
        now: a clock in seconds that does not jump.
    """

    def __init__(
        self,
        start: Callable[[str], WorkerHandle],
        note: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._note = note
        self._now = now
        self._places: list[_Place] = []
        self._losses: dict[str, int] = {}
        self._failures: dict[str, int] = {}

    def lost(self, device: str) -> None:
        """The worker on a device is gone."""
        losses = self._losses.get(device, 0)
        self._losses[device] = losses + 1
        pause_s = 0.0 if not losses else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (losses - 1))
        self._places.append(_Place(device, self._now() + pause_s))

    def cancel(self) -> None:
        """All workers are lost: who was being started is ended, and the devices wait for their turn again."""
        for place in self._places:
            if place.worker is not None:
                place.worker.kill()
            place.worker, place.ready = None, False

    def taken(self, device: str) -> None:
        """A device has got a worker in another way."""
        place = next((place for place in self._places if place.device == device), None)
        if place is not None:
            self._places.remove(place)

    def start_due(self) -> None:
        """Starts the workers whose time has come; never waits."""
        for place in self._places:
            if place.worker is None and place.start_at_s <= self._now():
                place.worker = self._start(place.device)

    @property
    def starting(self) -> list[WorkerHandle]:
        """Workers that have been started and have not joined."""
        return [place.worker for place in list(self._places) if place.worker is not None]

    @property
    def ready(self) -> list[WorkerHandle]:
        """Workers that have loaded the network, and may join."""
        return [place.worker for place in self._places if place.ready and place.worker is not None]

    def joined(self, worker: WorkerHandle) -> None:
        """A worker that was ready is one of the group now."""
        self._places = [place for place in self._places if place.worker is not worker]

    def received(self, worker: WorkerHandle, reply: Reply) -> None:
        """A reply of a worker that is not in the group."""
        place = next((place for place in self._places if place.worker is worker), None)
        if place is None:
            return
        if isinstance(reply, Ready):
            worker.device = reply.device
            place.ready = True
            self._failures.pop(place.device, None)
        elif isinstance(reply, Failed | Gone):
            worker.kill()
            self._failed(place, str(reply.error) if isinstance(reply, Failed) else f"{worker} ended while it started")

    def _failed(self, place: _Place, why: str) -> None:
        failures = self._failures[place.device] = self._failures.get(place.device, 0) + 1
        place.worker, place.ready = None, False
        if failures < _MOST_FAILURES:
            place.start_at_s = self._now() + _FIRST_PAUSE_S * 2 ** (failures - 1)
            return
        self._places.remove(place)
        self._note(f"{place.device} is left out: {failures} workers could not be started there ({why})")
