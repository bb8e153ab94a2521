"""Evaluates a result: everything that can be compared with the truth at hand."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scal3r_ros.evaluation.ground_truth import Truth, read_truth
from scal3r_ros.evaluation.metrics.clouds import CloudMetrics, compare_clouds
from scal3r_ros.evaluation.metrics.depths import DepthComparison, compare_depths
from scal3r_ros.evaluation.metrics.trajectories import TrajectoryComparison, compare_trajectories
from scal3r_ros.io.results.reader import Result, read_result


@dataclass(frozen=True)
class EvaluationSettings:
    """How estimate and truth are compared.

    `image_topic` is only needed for a bag with several cameras. Where the cloud's threshold and range are None, they
    follow from the scene's depth.
    """

    max_time_difference_s: float = 0.02
    image_topic: str | None = None
    min_confidence: float = 0.5
    cloud_threshold_m: float | None = None
    cloud_range_m: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """A result and what its truth allows to say about it; None where there is no such truth.

    `notes` are sentences for the user on what could have been compared, but was not.
    """

    result: Result
    trajectory: TrajectoryComparison | None = None
    depth: DepthComparison | None = None
    cloud: CloudMetrics | None = None
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """All numbers as plain nested dictionaries, as `metrics.json` holds them."""
        return {
            "trajectory": None if self.trajectory is None else dataclasses.asdict(self.trajectory.metrics),
            "depth": None if self.depth is None else dataclasses.asdict(self.depth.metrics),
            "cloud": None if self.cloud is None else dataclasses.asdict(self.cloud),
            "memory": None if self.result.memory is None else self.result.memory.metrics(),
            "scale": None if self.result.scale is None else self.result.scale.metrics(),
        }


def evaluate_result(
    folder: Path,
    truth: Path | None = None,
    times: Path | None = None,
    settings: EvaluationSettings | None = None,
) -> Evaluation:
    """Compares the result in `folder` with `truth`, a bag or a trajectory file whose stamps may stand in `times`.

    Raises:
        EvaluationError: the folder is no result, or result and truth cannot be compared.
        GeometryError: the truth's calibration cannot be used.
        SequenceError: one of the files is damaged.
    """
    settings = settings or EvaluationSettings()
    result = read_result(folder)
    if truth is None:
        return Evaluation(result)
    true = read_truth(truth, result.trajectory, times, settings.image_topic)
    comparison = compare_trajectories(true.trajectory, result.trajectory, settings.max_time_difference_s)
    depth = compare_depths(true, result, settings.min_confidence, settings.max_time_difference_s)
    cloud = compare_clouds(
        true, result.cloud, comparison.S_truth_map, settings.cloud_threshold_m, settings.cloud_range_m
    )
    return Evaluation(result, comparison, depth, cloud, _notes(result, true, cloud))


def _notes(result: Result, truth: Truth, cloud: CloudMetrics | None) -> tuple[str, ...]:
    if not truth.depth_count:
        return ()
    notes = []
    if not result.depth_files:
        notes.append("The truth has depth, but the result has none: run `scal3r replay --save-depth` to compare it.")
    if cloud is None:
        reason = "there is no map.ply" if result.cloud is None else "none of its points lies where true depth is"
        notes.append(f"The map is not compared with true depth: {reason}.")
    return tuple(notes)
