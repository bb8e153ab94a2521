"""Whether the sources of scale agree with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.observations import ScaleObservation, Source

RECENT = 12
"""Observations of each source that are compared, the newest."""
FEWEST = 4
CONTRADICTION = 3.0
"""Difference of a source from the others, in standard deviations of it, from which it is reported."""


@dataclass(frozen=True)
class Conflict:
    """`source` has its unit exp(`log_ratio`) times as long as the others, which is `sigmas` standard deviations off."""

    source: Source
    log_ratio: float
    sigmas: float


def conflicts(observations: Sequence[ScaleObservation], anchors: Mapping[int, Sim3]) -> tuple[Conflict, ...]:
    """The sources that keep contradicting all others, by their newest observations against the map's scale.

    Of two that contradict each other both are named: their observations do not show which is right.
    """
    means: dict[Source, tuple[float, float]] = {}
    for source in Source:
        known = [o for o in observations if o.source is source and {o.submap, o.reference} - {None} <= anchors.keys()]
        recent = known[-RECENT:]
        if len(recent) < FEWEST:
            continue
        weights = np.array([o.sigma**-2.0 for o in recent])
        offsets = np.array([o.in_map(anchors) - np.log(anchors[o.submap].scale) for o in recent])
        means[source] = (float(weights @ offsets / weights.sum()), float(weights.sum() ** -0.5))
    found = []
    for source, (mean, sigma) in means.items():
        others = [(m - mean, float(np.hypot(s, sigma))) for other, (m, s) in means.items() if other is not source]
        if others and all(abs(gap) > CONTRADICTION * s for gap, s in others):
            gap = float(np.median([gap for gap, _ in others]))
            worst = min(abs(g) / s for g, s in others)
            found.append(Conflict(source, -gap, worst))
    return tuple(found)
