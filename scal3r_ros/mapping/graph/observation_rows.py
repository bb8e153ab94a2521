"""Observations of submaps as rows of plain numbers, for files."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.mapping.graph.observations import (
    Observation,
    PositionObservation,
    ScaleObservation,
    Source,
    UpObservation,
)

_SOURCES = list(Source)
_SCALE, _UP, _POSITION = range(3)
_COLUMNS = 12


def rows_of_observations(observations: Iterable[Observation]) -> NDArray[np.float64]:
    """Rows (n, 12): kind, submap, source, and up to nine numbers of the kind."""
    rows = []
    for observation in observations:
        match observation:
            case ScaleObservation():
                # One more than the number of the reference, as files without it have 0 there.
                reference = 0 if observation.reference is None else observation.reference + 1
                kind, numbers = _SCALE, [observation.log_scale, observation.sigma, reference]
            case UpObservation():
                kind, numbers = _UP, [*observation.up_submap, observation.sigma_rad]
            case PositionObservation():
                kind = _POSITION
                numbers = [*observation.point_submap, *observation.position_map, *observation.sigma]
        row = [kind, observation.submap, _SOURCES.index(observation.source), *numbers]
        rows.append(row + [0.0] * (_COLUMNS - len(row)))
    return np.array(rows, np.float64).reshape(-1, _COLUMNS)


def observations_of(rows: NDArray[np.float64]) -> list[Observation]:
    """The inverse of `rows_of_observations`."""
    found: list[Observation] = []
    for row in rows:
        kind, submap, source = int(row[0]), int(row[1]), _SOURCES[int(row[2])]
        numbers = row[3:]
        if kind == _SCALE:
            reference = int(numbers[2]) - 1 if numbers[2] else None
            found.append(ScaleObservation(submap, float(numbers[0]), float(numbers[1]), source, reference))
        elif kind == _UP:
            found.append(UpObservation(submap, numbers[:3].copy(), float(numbers[3]), source))
        else:
            parts = (numbers[:3].copy(), numbers[3:6].copy(), numbers[6:9].copy())
            found.append(PositionObservation(submap, *parts, source))
    return found
