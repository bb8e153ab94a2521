"""Asks every source of scale about every new submap, and keeps their observations."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.observations import Observation, ScaleObservation, Source
from scal3r_ros.mapping.scale.agreement import RECENT, Conflict, conflicts
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.source import ScaleSource, SubmapView
from scal3r_ros.mapping.scale.sources.camera_height import CameraHeightScale
from scal3r_ros.mapping.scale.sources.gnss import GnssScale
from scal3r_ros.mapping.scale.sources.imu import ImuScale
from scal3r_ros.mapping.scale.sources.memory import MemoryScale
from scal3r_ros.mapping.scale.sources.sample_buffer import MOST_SAMPLES
from scal3r_ros.mapping.scale.sources.wheel_odometry import WheelScale
from scal3r_ros.mapping.values import SensorSample

Array = NDArray[np.float64]

MOST_KEPT = 20_000
"""Scale observations that are kept for the report; the oldest beyond that are dropped."""


@dataclass(frozen=True, eq=False)
class EarthReference:
    """`T_earth_map` (4, 4): `map` in metres east, north and up of an origin on earth (WGS 84, degrees and metres)."""

    T_earth_map: Array
    latitude_deg: float
    longitude_deg: float
    altitude_m: float


class ScaleEstimator:
    """All sources of scale. Every method may be called from any thread; only `observe` and those that forget wait."""

    def __init__(self, config: ScaleConfig) -> None:
        self._working = threading.Lock()  # for the sources
        self._lock = threading.Lock()  # for what they have observed
        self._incoming: deque[SensorSample] = deque(maxlen=MOST_SAMPLES)
        self._gnss = GnssScale(config)
        self._sources: list[ScaleSource] = [
            CameraHeightScale(config),
            WheelScale(config),
            ImuScale(config),
            self._gnss,
            MemoryScale(),
        ]
        # Errors that are the same for a whole drive, and do not average out; the memory knows no metres.
        self._systematic = {
            Source.CAMERA_HEIGHT: config.camera_height_sigma,
            Source.WHEEL_ODOMETRY: config.wheel_sigma,
            Source.IMU: 0.01,
            Source.GNSS: 0.0,
        }
        self._kept: deque[ScaleObservation] = deque(maxlen=MOST_KEPT)
        self._recent: dict[Source, deque[ScaleObservation]] = {}
        self._counts: Counter[Source] = Counter()

    def add(self, sample: SensorSample) -> None:
        """Takes in a sample of any sensor; never waits."""
        self._incoming.append(sample)

    def observe(self, view: SubmapView) -> list[Observation]:
        """What all sources know with the newest submap."""
        found: list[Observation] = []
        with self._working:
            while self._incoming:
                sample = self._incoming.popleft()
                for source in self._sources:
                    source.add(sample)
            for source in self._sources:
                found += source.observe(view)
            baseline = self._gnss.baseline(view)
        with self._lock:
            scales = [o for o in found if isinstance(o, ScaleObservation)]
            if baseline is not None and not any(o.source is Source.GNSS for o in scales):
                scales.append(baseline)  # the fixes themselves are in the graph: a baseline would count them twice
            for observation in scales:
                self._kept.append(observation)
                self._recent.setdefault(observation.source, deque(maxlen=RECENT)).append(observation)
                self._counts[observation.source] += 1
        return found

    def observations(self) -> tuple[ScaleObservation, ...]:
        """The scales that were observed, oldest first; those by GNSS baselines, too, which the graph does not take."""
        with self._lock:
            return tuple(self._kept)

    def sources(self) -> tuple[Source, ...]:
        """The sources that have observed scale."""
        with self._lock:
            return tuple(self._counts)

    def conflicts(self, scales: Mapping[int, Sim3]) -> tuple[Conflict, ...]:
        """The sources that keep contradicting the others, by the newest observations of each."""
        with self._lock:
            recent = [observation for newest in self._recent.values() for observation in newest]
        return conflicts(recent, scales)

    def systematic_sigma(self) -> float:
        """Standard deviation of the log scale that no number of observations takes away."""
        known = [self._systematic[source] for source in self.sources() if source in self._systematic]
        if not known or min(known) == 0:
            return 0.0
        return float(np.sum(np.square(known) ** -1.0) ** -0.5)

    def earth(self) -> EarthReference | None:
        """Where `map` lies on earth, once it is known; from then on it does not change."""
        reference, origin = self._gnss.reference, self._gnss.origin
        if reference is None or origin is None:
            return None
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = reference.R_enu_map, reference.t_enu
        return EarthReference(T, origin.latitude_deg, origin.longitude_deg, origin.altitude_m)

    def leave_frame(self) -> None:
        """`map` is another frame from now on: where it lies on earth has to be found anew."""
        with self._working:
            self._gnss.reference = None

    def counters(self) -> dict[str, int]:
        """How often each source has observed scale; sources that never did are left out."""
        with self._lock:
            counts = {f"scale_{source.value}": count for source, count in self._counts.items()}
        return dict(sorted(counts.items()))

    def clear(self) -> None:
        """Forgets all samples, submaps and observations."""
        with self._working:
            self._incoming.clear()
            for source in self._sources:
                source.clear()
        with self._lock:
            self._kept.clear()
            self._recent.clear()
            self._counts.clear()
