"""Scale and place by satellite fixes: first by their baselines, then, once `map` is georeferenced, each for itself."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import pymap3d
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.graph.observations import Observation, PositionObservation, ScaleObservation, Source
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.source import SubmapView
from scal3r_ros.mapping.scale.sources.georeference import Georeference, georeference
from scal3r_ros.mapping.scale.sources.sample_buffer import SampleBuffer
from scal3r_ros.mapping.values import Fix, SensorSample

Array = NDArray[np.float64]

ENOUGH = 0.03
"""Standard deviation of yaw (rad) and log scale at which `map` is georeferenced: 1.7°."""
BASELINE_SIGMA = 0.1
"""Standard deviation of the log scale from which on baselines are reported."""
WINDOW = 30
"""Fixes that a baseline is measured over at most."""
SMALLEST_SIGMA_M = 0.02
MOST_FIXES = 4
"""Fixes of one submap that are used at most, evenly chosen, so that a fast receiver does not swell the graph."""


@dataclass(frozen=True, eq=False)
class _Sighting:
    """A fix and the point of a submap that it is of: (3,) each, ENU in metres with sigmas, and the submap's unit."""

    submap: int
    point_submap: Array
    enu: Array
    sigma: Array


@dataclass(frozen=True)
class GeodeticOrigin:
    """Where east, north and up begin: the first fix, in degrees and metres above the ellipsoid."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float


class GnssScale:
    """The source `gnss`. State: fixes that wait for their submap, those of the last baseline, the georeference."""

    def __init__(self, config: ScaleConfig) -> None:
        self._config = config
        self._samples = SampleBuffer[Fix]()
        self.clear()

    def clear(self) -> None:
        """Forgets all fixes and where the map lies."""
        self._samples.clear()
        self.origin: GeodeticOrigin | None = None
        self.reference: Georeference | None = None
        self._waiting: list[_Sighting] = []
        self._recent: deque[_Sighting] = deque(maxlen=WINDOW)
        self._last_used_ns: int | None = None

    def add(self, sample: SensorSample) -> None:
        """Takes in fixes; those that are no numbers are passed over."""
        if (
            isinstance(sample, Fix)
            and np.isfinite([sample.latitude_deg, sample.longitude_deg, sample.altitude_m]).all()
        ):
            self._samples.add(sample)

    def observe(self, view: SubmapView) -> list[Observation]:
        """The baselines until `map` is georeferenced; from then on where the fixes lie in it."""
        new = self._sightings(view)
        self._recent.extend(new)
        self._waiting += new
        if not new:
            return []
        if self.reference is None:
            return self._begin(view)
        positions = [self._position(sighting, self.reference) for sighting in self._waiting]
        self._waiting = []
        return list(positions)

    def baseline(self, view: SubmapView) -> ScaleObservation | None:
        """The scale by the newest fixes alone, where they span enough."""
        fit = self._fit(list(self._recent), view)
        if fit is None or fit.sigma > BASELINE_SIGMA:
            return None
        log_scale = float(np.log(fit.scale * view.anchors[view.index].scale))
        return ScaleObservation(view.index, log_scale, fit.sigma, Source.GNSS)

    def _begin(self, view: SubmapView) -> list[Observation]:
        fit = self._fit(self._waiting, view)
        if fit is None or fit.sigma > ENOUGH:
            return []
        self.reference = fit
        log_scale = float(np.log(fit.scale * view.anchors[view.index].scale))
        first = ScaleObservation(view.index, log_scale, fit.sigma, Source.GNSS)
        positions = [self._position(sighting, fit) for sighting in self._waiting]
        self._waiting = []
        return [first, *positions]

    @staticmethod
    def _fit(sightings: list[_Sighting], view: SubmapView) -> Georeference | None:
        if len(sightings) < 3:
            return None
        points = np.stack([view.anchors[s.submap].apply(s.point_submap) for s in sightings])
        return georeference(points, np.stack([s.enu for s in sightings]), np.stack([s.sigma for s in sightings]))

    @staticmethod
    def _position(sighting: _Sighting, reference: Georeference) -> PositionObservation:
        variance = reference.R_enu_map.T @ np.diag(np.square(sighting.sigma)) @ reference.R_enu_map
        sigma = np.sqrt(np.diag(variance))
        place = reference.to_map(sighting.enu)
        return PositionObservation(sighting.submap, sighting.point_submap, place, sigma, Source.GNSS)

    def _sightings(self, view: SubmapView) -> list[_Sighting]:
        """The fixes taken on the way that is new with this submap."""
        stamps = view.stamps_ns
        first_ns, last_ns = int(stamps[view.new_from - 1]), int(stamps[-1])
        fixes = [f for f in self._samples.between(first_ns, last_ns) if first_ns < f.stamp_ns <= last_ns]
        self._samples.forget_before(last_ns)
        if not view.measured:
            return []
        if len(fixes) > MOST_FIXES:
            fixes = [fixes[k] for k in np.linspace(0, len(fixes) - 1, MOST_FIXES).round().astype(int)]
        correlated = self._config.gnss_correlation_s
        found = []
        for fix in fixes:
            k = int(np.searchsorted(stamps, fix.stamp_ns))
            share = (fix.stamp_ns - stamps[k - 1]) / (stamps[k] - stamps[k - 1])
            T = se3.interpolate(view.geometry.T_chunk_cam[k - 1], view.geometry.T_chunk_cam[k], share)
            point = T[:3, 3] + T[:3, :3] @ fix.antenna_cam / view.anchors[view.index].scale
            since_s = correlated if self._last_used_ns is None else (fix.stamp_ns - self._last_used_ns) * 1e-9
            self._last_used_ns = fix.stamp_ns
            # Fixes that come faster than their errors change count less than independent ones would.
            widened = np.sqrt(max(1.0, correlated / max(since_s, 1e-3)))
            found.append(_Sighting(view.index, point, self._enu(fix), widened * self._sigma(fix)))
        return found

    def _enu(self, fix: Fix) -> Array:
        if self.origin is None:
            self.origin = GeodeticOrigin(fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
        o = self.origin
        place = (fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
        return np.array(pymap3d.geodetic2enu(*place, o.latitude_deg, o.longitude_deg, o.altitude_m), np.float64)

    def _sigma(self, fix: Fix) -> Array:
        unknown = np.full(3, self._config.gnss_sigma)
        if fix.covariance_enu is None:
            return unknown
        variance = np.diag(fix.covariance_enu)
        known = np.isfinite(variance) & (variance > 0)
        return np.where(known, np.maximum(np.sqrt(np.where(known, variance, 1.0)), SMALLEST_SIGMA_M), unknown)
