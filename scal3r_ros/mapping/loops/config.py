"""Parameters of loop closure."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import parameter


@dataclass(frozen=True)
class LoopConfig:
    """What is kept of keyframes, and what a place that is seen again has to show before the map is bent to it."""

    enabled: bool = parameter(True, "recognise places that are seen again, and correct the map by them")
    keyframes_per_submap: int = parameter(
        4, "keyframes of a submap that are kept for recognition", unit="frames", minimum=1, maximum=64
    )
    features: int = parameter(
        400, "local features looked for in a kept keyframe", unit="points", minimum=50, maximum=4000
    )
    memory_mb: int = parameter(
        64, "kept keyframes held in memory; beyond, they are moved to a temporary file", unit="MB", minimum=0
    )
    min_gap_s: float = parameter(
        15.0, "time after which a place counts as seen again rather than still", unit="s", minimum=0.0
    )
    min_gap_submaps: int = parameter(5, "submaps that have to lie between both ends of a loop", minimum=2)
    candidates: int = parameter(3, "places that are verified for a new submap at most", minimum=1, maximum=50)
    min_points: int = parameter(
        25, "image points that have to agree on where a place seen again lies", unit="points", minimum=8
    )
    depth_sigma: float = parameter(
        0.05,
        "standard deviation of the depths that loops are verified by, as a share of them",
        minimum=0.005,
        maximum=0.5,
    )
    min_share: float = parameter(0.25, "share of the matched image points that have to agree", minimum=0.0, maximum=1.0)
    max_scale_ratio: float = parameter(
        2.0, "ratio between the scales of both ends beyond which a loop is refused", minimum=1.0
    )
    max_drift: float = parameter(
        0.2, "distance, as a share of the way round the loop, beyond which a loop is refused", minimum=0.0
    )
    min_support: int = parameter(
        1, "other loops nearby that have to say the same before a loop is believed", minimum=0, maximum=20
    )
    max_conflict: float = parameter(
        6.0,
        "disagreement of a loop with the optimised graph, in its standard deviations, beyond which it is dropped",
        minimum=1.0,
    )
