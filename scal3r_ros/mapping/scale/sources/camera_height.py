"""Scale by the height of the camera above the ground that it travels on."""

from __future__ import annotations

import numpy as np

from scal3r_ros.mapping.graph.observations import Observation, ScaleObservation, Source
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.source import SubmapView
from scal3r_ros.mapping.scale.sources.ground_plane import ground_plane
from scal3r_ros.mapping.values import SensorSample

MIN_CONFIDENCE = 0.5
GROUND_SIGMA = 0.02
"""Standard deviation of the height measured in one chunk, as a share: crown of the road, what the vehicle leans."""
LARGEST_SIGMA = 0.08
NEIGHBOURS = 2.0
"""Submaps that share one error, by the overlap of chunks and by the ground: the variance is widened by as much."""


class CameraHeightScale:
    """The source `camera_height`: silent where the height is not configured."""

    def __init__(self, config: ScaleConfig) -> None:
        self._height_m = config.camera_height

    def add(self, sample: SensorSample) -> None:
        """Takes in nothing: the chunk shows all there is."""

    def observe(self, view: SubmapView) -> list[Observation]:
        """The camera's height in the chunk against the height in metres."""
        if self._height_m <= 0 or not view.measured:
            return []
        plane = ground_plane(view.chunk, view.geometry, MIN_CONFIDENCE)
        if plane is None or plane.sigma > LARGEST_SIGMA:
            return []
        sigma = float(np.sqrt(NEIGHBOURS * (GROUND_SIGMA**2 + plane.sigma**2)))
        log_scale = float(np.log(self._height_m / plane.height))
        return [ScaleObservation(view.index, log_scale, sigma, Source.CAMERA_HEIGHT)]

    def clear(self) -> None:
        """Has nothing to forget."""
