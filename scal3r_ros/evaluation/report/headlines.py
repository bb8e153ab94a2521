"""The numbers of an evaluation in words, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scal3r_ros.evaluation.evaluator import Evaluation
from scal3r_ros.evaluation.metrics.clouds import CloudMetrics
from scal3r_ros.evaluation.metrics.depths import DepthMetrics
from scal3r_ros.evaluation.metrics.trajectories import TrajectoryMetrics
from scal3r_ros.io.results.memory import MemoryMetrics
from scal3r_ros.io.results.reader import Timings

MOST_MEMORY_ROWS = 40


@dataclass(frozen=True)
class Figure:
    """One number with its unit, what it is, and a sentence on how it is measured; `headline` ones lead the report."""

    label: str
    value: str
    note: str
    headline: bool = False


def sections(evaluation: Evaluation) -> dict[str, list[Figure]]:
    """The figures of an evaluation by section, in reading order; sections without truth are left out."""
    found: dict[str, list[Figure]] = {}
    if evaluation.trajectory is not None:
        found["Trajectory"] = _of_trajectory(evaluation.trajectory.metrics)
    if evaluation.depth is not None:
        found["Depth"] = _of_depth(evaluation.depth.metrics)
    if evaluation.cloud is not None:
        found["Cloud"] = _of_cloud(evaluation.cloud)
    if evaluation.result.memory is not None:
        found["Memory"] = _of_memory(evaluation.result.memory)
    found["Run"] = _of_run(evaluation)
    return found


def memory_table(memory: MemoryMetrics, timings: Timings | None) -> list[list[str]]:
    """A header, and a row for each chunk: what the memory learnt with it and what it took; evenly thinned if many."""
    layers = list(memory.norm)
    seconds = {} if timings is None else dict(zip(timings.chunk.tolist(), timings.seconds.tolist(), strict=True))
    kept, moved = [f"kept, layer {layer}" for layer in layers], [f"change, layer {layer}" for layer in layers]
    table = [["chunk", "chunks learnt from", *kept, *moved, "time"]]
    for row in np.unique(np.linspace(0, len(memory.chunk) - 1, MOST_MEMORY_ROWS).round().astype(int)):
        chunk = int(memory.chunk[row])
        norms = [number(_known(memory.norm[layer][row])) for layer in layers]
        changes = [percent(_known(memory.change[layer][row])) for layer in layers]
        table.append([str(chunk), str(memory.learnt[row]), *norms, *changes, number(seconds.get(chunk), "s")])
    return table


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits of a number ≥ 0, or an en dash for None."""
    if value is None:
        return "–"
    magnitude = abs(value)
    if magnitude >= 100:
        text = f"{value:,.0f}"
    elif magnitude >= 0.001 or value == 0:
        text = f"{value:.3g}"
    else:
        text = "< 0.001"
    return f"{text} {unit}".rstrip()


def percent(fraction: float | None) -> str:
    """A fraction in percent with one decimal, or an en dash for None."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def counts(run: Mapping[str, Any]) -> dict[str, int]:
    """Frames in, posed, and dropped by reason, of the content of `run.yaml`, as far as it has them."""
    nested = run.get("counts")
    source: Mapping[str, Any] = nested if isinstance(nested, Mapping) else run
    table: dict[str, int] = {}
    for key, label in (("frames_in", "frames in"), ("frames_posed", "frames posed")):
        if isinstance(source.get(key), int):
            table[label] = source[key]
    dropped = source.get("frames_dropped")
    if isinstance(dropped, Mapping):
        table |= {f"dropped: {str(reason).replace('_', ' ')}": int(count) for reason, count in dropped.items()}
    elif isinstance(dropped, int):
        table["dropped"] = dropped
    return table


def _of_trajectory(metrics: TrajectoryMetrics) -> list[Figure]:
    over = "" if metrics.rpe_distance_m is None else f" over {metrics.rpe_distance_m:g} m of path"
    return [
        Figure(
            "ATE, Sim(3)",
            number(metrics.ate_sim3_rmse_m, "m"),
            "root mean square distance from the truth after alignment with scale",
            headline=True,
        ),
        Figure("ATE, Sim(3), median", number(metrics.ate_sim3_median_m, "m"), "median of the same distances"),
        Figure("ATE, Sim(3), largest", number(metrics.ate_sim3_max_m, "m"), "largest of the same distances"),
        Figure(
            "ATE, SE(3)", number(metrics.ate_se3_rmse_m, "m"), "the same without scale, one map unit taken as a metre"
        ),
        Figure("Scale", number(metrics.scale, "m"), "length of one map unit"),
        Figure(
            "RPE, translation",
            number(metrics.rpe_translation_percent, "%"),
            f"mean relative error{over}, in percent of it",
            headline=True,
        ),
        Figure(
            "RPE, rotation", number(metrics.rpe_rotation_deg_per_m, "deg/m"), f"mean relative error{over}, per metre"
        ),
        Figure(
            "RPE, per degree",
            number(metrics.rpe_rotation_percent, "%"),
            "mean rotation error over turns of 10°, of the angle",
        ),
        Figure(
            "Scale drift",
            number(metrics.scale_drift, "×"),
            "local scale at the end over that at the start",
            headline=True,
        ),
        Figure("Scale spread", number(metrics.scale_spread), "standard deviation of the logarithm of the local scale"),
        Figure("Path", number(metrics.path_length_m, "m"), "true length of the path"),
        Figure(
            "Coverage",
            percent(metrics.coverage),
            f"{metrics.poses} of {metrics.true_poses} true poses have an estimate",
            headline=True,
        ),
    ]


def _of_depth(metrics: DepthMetrics) -> list[Figure]:
    return [
        Figure(
            "Depth error",
            percent(metrics.median_relative_error),
            "median relative error of confident pixels after one scale per frame",
            headline=True,
        ),
        Figure(
            "Depth error, one scale",
            percent(metrics.median_relative_error_one_scale),
            "the same with a single scale for all frames",
        ),
        Figure(
            "Depth within 1.25×",
            percent(metrics.delta),
            "confident pixels within a factor 1.25 of the truth, scale per frame",
        ),
        Figure("Depth within 1.25×, one scale", percent(metrics.delta_one_scale), "the same with a single scale"),
        Figure(
            "Confident pixels",
            percent(metrics.confident_fraction),
            f"share of pixels with true depth, confidence ≥ {metrics.min_confidence:g}, {metrics.frames} frames",
            headline=True,
        ),
    ]


def _of_cloud(metrics: CloudMetrics) -> list[Figure]:
    near = f"closer than {metrics.threshold_m:g} m"
    return [
        Figure(
            "Cloud F1",
            percent(metrics.f1),
            f"harmonic mean of precision and recall at {metrics.threshold_m:g} m",
            headline=True,
        ),
        Figure("Precision", percent(metrics.precision), f"points of the map {near} to a true surface"),
        Figure("Recall", percent(metrics.recall), f"points of true surfaces {near} to the map"),
        Figure(
            "Accuracy",
            number(metrics.accuracy_mean_m, "m"),
            f"mean distance from the map to true surfaces; median {number(metrics.accuracy_median_m, 'm')}",
        ),
        Figure(
            "Completeness",
            number(metrics.completeness_mean_m, "m"),
            f"mean distance from true surfaces to the map; median {number(metrics.completeness_median_m, 'm')}",
        ),
        Figure("Chamfer", number(metrics.chamfer_m, "m"), "mean of accuracy and completeness"),
        Figure(
            "Compared points",
            f"{metrics.map_points:,} / {metrics.true_points:,}",
            f"of the map and of true surfaces, within {number(metrics.range_m, 'm')} of a true camera",
        ),
    ]


def _of_run(evaluation: Evaluation) -> list[Figure]:
    run, timings = evaluation.result.run, evaluation.result.timings
    alone = evaluation.trajectory is None
    figures = [Figure("Poses", f"{len(evaluation.result.trajectory):,}", "poses in the trajectory", headline=alone)]
    if isinstance(run.get("real_time_factor"), int | float):
        figures.append(
            Figure("Real-time factor", number(run["real_time_factor"], "×"), "as the run recorded it", headline=True)
        )
    if timings is not None:
        figures.append(
            Figure("Time per chunk", number(float(timings.seconds.mean()), "s"), "mean over chunks, all stages")
        )
        figures.append(
            Figure("Peak memory", number(float(timings.rss_mb.max()), "MB"), "largest resident set after a chunk")
        )
    if evaluation.result.cloud is not None:
        figures.append(
            Figure("Map points", f"{len(evaluation.result.cloud.points):,}", "points in map.ply", headline=alone)
        )
    return figures


def _of_memory(memory: MemoryMetrics) -> list[Figure]:
    chunks = f"{memory.learnt[-1]:,}"
    figures = [Figure("Memory", f"{chunks} chunks", "chunks that the network's memory has learnt from", headline=True)]
    for layer, norm in memory.norm.items():
        kept = f"norm of what the memory keeps at the end; {number(_known(norm[0]))} after the first chunk"
        figures.append(Figure(f"Kept in layer {layer}", number(_known(norm[-1])), kept))
    for layer, change in memory.change.items():
        moved = f"change of the fast weights over the last chunk; {percent(_known(change[0]))} over the first"
        figures.append(Figure(f"Change in layer {layer}", percent(_known(change[-1])), moved))
    return figures


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
