"""Scale by the memory of the reconstructor, which carries the unit of a drive's first chunk to all later ones."""

from __future__ import annotations

import numpy as np

from scal3r_ros.mapping.graph.observations import Observation, ScaleObservation, Source
from scal3r_ros.mapping.scale.source import SubmapView
from scal3r_ros.mapping.values import SensorSample

NEIGHBOURS = 2.0
"""Submaps that share one error, as most of their frames show the same place: the variance is widened by as much."""


class MemoryScale:
    """The source `memory`: silent where the reconstructor does not say how well it carries the unit.

    It knows no metres: what it observes is in the unit of the first submap that it has seen.
    """

    def __init__(self) -> None:
        self._reference: int | None = None

    def add(self, sample: SensorSample) -> None:
        """Takes in nothing: the chunk shows all there is."""

    def observe(self, view: SubmapView) -> list[Observation]:
        """The unit of the newest submap is that of the first, as well as the memory carries it."""
        sigma = view.geometry.unit_sigma
        if sigma is None or not view.measured:
            return []
        if self._reference is None or self._reference not in view.anchors:
            self._reference = view.index
            return []
        return [ScaleObservation(view.index, 0.0, float(np.sqrt(NEIGHBOURS)) * sigma, Source.MEMORY, self._reference)]

    def clear(self) -> None:
        """Forgets the first submap."""
        self._reference = None
