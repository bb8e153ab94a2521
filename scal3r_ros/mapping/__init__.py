"""Online mapping: `OnlineMapper` turns a stream of frames into poses, submaps and a coloured point map."""

from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.mapper import OnlineMapper
from scal3r_ros.mapping.values import (
    DroppedFrame,
    FramePose,
    MapUpdate,
    Observation,
    PointCloud,
    PoseSource,
    SubmapSummary,
)

__all__ = [
    "DroppedFrame",
    "FramePose",
    "MapUpdate",
    "MapperConfig",
    "Observation",
    "OnlineMapper",
    "PointCloud",
    "PoseSource",
    "SubmapSummary",
]
