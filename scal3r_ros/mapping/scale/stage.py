"""Metres in the mapper: asks the sources about new submaps, and gives out what is known of scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from scal3r_ros.mapping.graph.observations import Observation, Source
from scal3r_ros.mapping.scale.agreement import Conflict
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.estimator import EarthReference, ScaleEstimator
from scal3r_ros.mapping.scale.source import view_of
from scal3r_ros.mapping.scale.start import begun
from scal3r_ros.mapping.submaps.estimate import MapEstimate
from scal3r_ros.mapping.submaps.submap import Placed, PlacedSubmap
from scal3r_ros.mapping.values import ScaleHistory, SensorSample


@dataclass(frozen=True)
class ScaleEstimate:
    """The unit of `map` is the metre. `metres_per_unit` of `odom`, which takes over corrections submap by submap.

    `sigma` is the standard deviation of its logarithm, `sources` what it rests on, `conflicts` those of them that
    keep contradicting the others.
    """

    metres_per_unit: float
    sigma: float
    sources: tuple[Source, ...]
    conflicts: tuple[Conflict, ...]


class ScaleStage:
    """What the mapper asks about metres: the sources see each new submap, and the graph weighs what they observe.

    `add` and the questions may be asked from any thread; two calls of `observe` must not overlap.
    """

    def __init__(self, config: ScaleConfig, estimate: MapEstimate) -> None:
        self._sources = ScaleEstimator(config)
        self._estimate = estimate

    def add(self, sample: SensorSample) -> None:
        """Takes in a sample of another sensor; never waits."""
        self._sources.add(sample)

    def known(self, submap: PlacedSubmap | None) -> PlacedSubmap | None:
        """The newest submap with what is known now of its scale."""
        known = self.estimate()
        return submap if submap is None or known is None else submap.at_scale_sigma(known.sigma)

    def observe(self, placed: Placed) -> tuple[Placed, list[Observation]]:
        """What the sources know with a new submap; the first one is placed upright and in metres by that."""
        observed = self._sources.observe(view_of(placed, self._estimate.anchors()))
        return begun(placed, observed, self._sources.systematic_sigma()), observed

    def estimate(self) -> ScaleEstimate | None:
        """What is known now, at the newest submap; None until the unit of `map` is the metre."""
        known = self._estimate.metric_scale()
        if known is None:
            return None
        ratio, sigma = known
        sigma = float(np.hypot(sigma, self._sources.systematic_sigma()))
        conflicts = self._sources.conflicts(self._estimate.anchors())
        return ScaleEstimate(ratio, sigma, self._sources.sources(), conflicts)

    def history(self) -> ScaleHistory:
        """The scale of every submap of the drive at hand, by odometry alone and in `map`, and all observations."""
        state = self._estimate.scale_state()
        submaps = [index for index in state.anchors if index in state.first_stamps]
        log_map = {index: float(np.log(state.anchors[index].scale)) for index in submaps}
        log_odometry: dict[int, float] = {}
        for index in submaps:
            before, log_ratio = state.steps.get(index, (index, 0.0))
            log_odometry[index] = log_odometry[before] + log_ratio if before in log_odometry else log_map[index]
        centres = np.array([state.anchors[index].t for index in submaps]).reshape(-1, 3)
        steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
        return ScaleHistory(
            np.array(submaps, np.int64),
            np.array([state.first_stamps[index] for index in submaps], np.int64),
            np.concatenate([[0.0], np.cumsum(steps)])[: len(submaps)],
            np.array([log_odometry[index] for index in submaps]),
            np.array([log_map[index] for index in submaps]),
            tuple(
                replace(o, log_scale=o.in_map(state.anchors), reference=None)
                for o in self._sources.observations()
                if o.submap in log_map and (o.reference is None or o.reference in state.anchors)
            ),
            state.metric,
        )

    def earth(self) -> EarthReference | None:
        """Where `map` lies on earth, as soon as satellite fixes show it; it does not change from then on."""
        return self._sources.earth()

    def summary(self) -> dict[str, object]:
        """What is known of metres and of the place on earth, as plain values for a file; empty where nothing is."""
        scale, earth = self.estimate(), self.earth()
        found: dict[str, object] = {}
        if scale is not None:
            found["scale"] = {
                "sigma": round(scale.sigma, 5),
                "sources": [source.value for source in scale.sources],
                "conflicts": {conflict.source.value: round(conflict.log_ratio, 4) for conflict in scale.conflicts},
            }
        if earth is not None:
            found["earth"] = {
                "latitude_deg": float(earth.latitude_deg),
                "longitude_deg": float(earth.longitude_deg),
                "altitude_m": float(earth.altitude_m),
                "T_earth_map": earth.T_earth_map.tolist(),
            }
        return found

    def leave_frame(self) -> None:
        """`map` is another frame from now on."""
        self._sources.leave_frame()

    def clear(self) -> None:
        """Forgets all samples and observations."""
        self._sources.clear()

    def counters(self) -> Mapping[str, int]:
        """How often each source has observed scale; sources that never did are left out."""
        return self._sources.counters()
