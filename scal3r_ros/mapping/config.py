"""Parameters of the online mapper."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import parameter, section
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.frontend.tracker import TrackerConfig
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.occupancy.config import OccupancyConfig
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.submaps.alignment import AlignmentConfig


@dataclass(frozen=True)
class MapperConfig:
    """Parameters of the online mapper."""

    window: WindowConfig = section(WindowConfig)
    tracker: TrackerConfig = section(TrackerConfig)
    alignment: AlignmentConfig = section(AlignmentConfig)
    map: PointMapConfig = section(PointMapConfig)
    loops: LoopConfig = section(LoopConfig)
    scale: ScaleConfig = section(ScaleConfig)
    occupancy: OccupancyConfig = section(OccupancyConfig)
    initial_median_depth_m: float = parameter(
        10.0,
        "median depth of the scene in the first chunk; it sets the unit of the map, which one camera cannot measure",
        unit="m",
        minimum=0.01,
        maximum=10000.0,
    )
    min_confidence: float = parameter(
        0.5, "confidence from which a depth becomes a point of the map", minimum=0.0, maximum=1.0
    )
    correction_fade_s: float = parameter(
        0.7, "time constant with which the correction by a chunk enters odom", unit="s", minimum=0.05, maximum=60.0
    )
    reset_on_time_jump_s: float = parameter(
        3.0,
        "how far image stamps may go back before the map is reset, as for a bag that loops; less drops the image",
        unit="s",
        minimum=0.0,
        maximum=1e9,
    )
    offload_directory: str = parameter(
        "", "folder for submaps that leave RAM on long drives; empty takes the system's folder for temporary files"
    )
