"""Parameters of loop closure."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import parameter


@dataclass(frozen=True)
class LoopConfig:
    """What is kept of keyframes, and what a loop must satisfy before it corrects the map."""

    enabled: bool = parameter(True, "detect loops, and correct the map by them")
    keyframes_per_submap: int = parameter(
        4, "keyframes of a submap that are kept for place recognition", unit="frames", minimum=1, maximum=64
    )
    features: int = parameter(
        400, "local features extracted from a kept keyframe", unit="points", minimum=50, maximum=4000
    )
    memory_mb: int = parameter(
        64, "RAM for kept keyframes; beyond it, they move to a temporary file", unit="MB", minimum=0
    )
    min_gap_s: float = parameter(15.0, "time between both ends of a loop at least", unit="s", minimum=0.0)
    min_gap_submaps: int = parameter(5, "submaps between both ends of a loop at least", minimum=2)
    candidates: int = parameter(3, "candidates that are verified for a new submap at most", minimum=1, maximum=50)
    min_points: int = parameter(25, "inliers that a loop needs", unit="points", minimum=8)
    depth_sigma: float = parameter(
        0.05,
        "standard deviation of the depths that loops are verified by, relative to the depth",
        minimum=0.005,
        maximum=0.5,
    )
    min_share: float = parameter(0.25, "inlier ratio that a loop needs", minimum=0.0, maximum=1.0)
    max_scale_ratio: float = parameter(
        2.0, "ratio between the scales of both ends beyond which a loop is gated out", minimum=1.0
    )
    max_drift: float = parameter(
        0.2,
        "drift that a loop may correct, as a share of the distance travelled around it; beyond, it is gated out",
        minimum=0.0,
    )
    min_support: int = parameter(
        1, "other loops nearby that have to agree with a loop before it is accepted", minimum=0, maximum=20
    )
    max_conflict: float = parameter(
        6.0,
        "Mahalanobis distance of a loop from the optimised graph beyond which it is rejected",
        minimum=1.0,
    )
