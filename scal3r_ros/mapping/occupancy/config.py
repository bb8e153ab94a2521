"""Parameters of the occupancy grid."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import parameter


@dataclass(frozen=True)
class OccupancyConfig:
    """The occupancy grid: its cells, what counts as an obstacle, and how much of it stays in RAM."""

    enabled: bool = parameter(
        True,
        "build the occupancy grid; there is one only where the map is in metres and the ground or gravity is known",
    )
    cell_size: float = parameter(0.1, "edge of a cell", unit="m", minimum=0.01, maximum=10.0)
    min_height: float = parameter(
        0.25, "height above the ground from which a point is an obstacle; what is lower can be driven over",
        unit="m", minimum=0.01, maximum=100.0,
    )  # fmt: skip
    max_height: float = parameter(
        1.8, "height above the ground up to which a point is an obstacle; what is higher can be passed under",
        unit="m", minimum=0.02, maximum=100.0,
    )  # fmt: skip
    max_range: float = parameter(
        12.0, "distance from the camera up to which depth is used", unit="m", minimum=0.1, maximum=200.0
    )
    max_cells: int = parameter(
        16_000_000, "cells of the whole grid at most; a larger map gets coarser cells", unit="cells", minimum=10_000,
        maximum=1_000_000_000,
    )  # fmt: skip
    memory_mb: float = parameter(
        64.0, "RAM for the grids of the submaps, compressed; beyond, those of the oldest are left out",
        unit="MB", minimum=0.1, maximum=1e6,
    )  # fmt: skip
