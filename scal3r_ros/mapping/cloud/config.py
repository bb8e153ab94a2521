"""Parameters of the point map."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import parameter
from scal3r_ros.mapping.cloud.voxels import MOST_COUNTED


@dataclass(frozen=True)
class PointMapConfig:
    """Resolution and size of the point map, and what its points are checked against."""

    voxel_size: float = parameter(
        0.1, "edge of a voxel; the map keeps one point in each", unit="map units", minimum=1e-6
    )
    max_points: int = parameter(
        2_000_000,
        "points in RAM at most; beyond, the oldest submaps are thinned there and kept in full on disk",
        unit="points",
        minimum=1000,
    )
    min_observations: int = parameter(
        1,
        "points that must fall into a voxel, or depth maps that must confirm it, before it is part of the map",
        unit="points",
        minimum=1,
        maximum=MOST_COUNTED,
    )
    checked_submaps: int = parameter(
        6,
        "newest submaps whose points are compared with the depth maps of each new one: what those look through goes "
        "away, and what they confirm is averaged with them; 0 compares none",
        unit="submaps",
        minimum=0,
        maximum=100,
    )
    depth_tolerance: float = parameter(
        0.03,
        "difference of two depths, as a share of their sum, up to which both are of one surface",
        minimum=0.001,
        maximum=0.5,
    )
