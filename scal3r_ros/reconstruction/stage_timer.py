"""Seconds per stage of a chunk, summed over its parts and attempts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class StageTimer:
    """Waits for the stream at the end of every stage, so that each stage is charged for its own work."""

    def __init__(self, device: torch.device, stages: tuple[str, ...]) -> None:
        self._device = device
        self._seconds = dict.fromkeys(stages, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Adds the time inside to `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()
            self._seconds[stage] += time.perf_counter() - started

    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage so far."""
        return dict(self._seconds)
