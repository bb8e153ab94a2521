"""One row of a benchmark's table: a result beside the truth of its sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import open3d as o3d

from scal3r_ros.cli.benchmark.runner import LOG_FILE, RunOutcome
from scal3r_ros.cli.benchmark.sets import Found, Protocol
from scal3r_ros.errors import EvaluationError, Scal3rError
from scal3r_ros.evaluation.ground_truth import truth_of
from scal3r_ros.evaluation.metrics.depths import DepthMetrics, compare_depths
from scal3r_ros.evaluation.metrics.multi_view import TOLERANCES_M, LaserScan, MultiViewScore, chamfer_m, score
from scal3r_ros.evaluation.metrics.segments import SegmentErrors, segment_errors
from scal3r_ros.evaluation.metrics.trajectories import TrajectoryComparison, compare_trajectories
from scal3r_ros.geometry.trajectory import Trajectory, nearest_in_time
from scal3r_ros.io.clouds.laser_scans import ALIGNMENT, read_alignment
from scal3r_ros.io.results.reader import Result, read_result

LOST_BELOW = 0.5
"""Share of the images that must be posed for a sequence to count."""
TRUTH_WITHIN_S = 0.05
SCANS_FOLDERS = ("dslr_scan_eval", "scan_clean", "")
GROUND_TRUTH_MAPS = "ground_truth_map"


@dataclass(frozen=True, eq=False)
class Row:
    """What is known of a sequence. `lost` says in a sentence why there is no `comparison`; both None never happens.

    `column` is that of the published table that the whole sequence belongs to; None for a part, and for any other.
    """

    name: str
    images: int
    outcome: RunOutcome
    posed: int = 0
    lost: str | None = None
    comparison: TrajectoryComparison | None = None
    segments: SegmentErrors | None = None
    clouds: tuple[MultiViewScore, ...] = ()
    chamfer_m: float | None = None
    images_per_second: float | None = None
    depth: DepthMetrics | None = None
    column: str | None = None


def score_run(
    found: Found, folder: Path, outcome: RunOutcome, images: int, protocol: Protocol, is_whole: bool = True
) -> Row:
    """The row of a sequence of which `images` were to be mapped: all of them in order, where it `is_whole`."""
    row = _scored(found, folder, outcome, images, protocol)
    return replace(row, column=protocol.column_of(found.sequence) if is_whole else None)


def _scored(found: Found, folder: Path, outcome: RunOutcome, images: int, protocol: Protocol) -> Row:
    name, truth = found.sequence.name, found.sequence.ground_truth
    try:
        result = read_result(folder)
        if truth is None:
            raise EvaluationError(f"{found.folder} has no true poses")
        posed = len(result.trajectory)
        if posed < LOST_BELOW * images:
            return Row(name, images, outcome, posed, lost=f"{posed} of {images} images posed")
        comparison = compare_trajectories(truth_at(truth, result.trajectory), result.trajectory, max_difference_s=1e-6)
        scores, chamfer = _clouds(found.folder, result, comparison, protocol) if protocol.clouds else ((), None)
        segments = None
        if protocol.segments:
            segments = segment_errors(comparison.truth.T_ref_cam, comparison.aligned.T_ref_cam)
        speed = result.run.get("images_per_second")
        images_per_second = None if speed is None else float(speed)
        depth = _depth(found, result)
        return Row(name, images, outcome, posed, None, comparison, segments, scores, chamfer, images_per_second, depth)
    except Scal3rError as error:
        return Row(name, images, outcome, lost=_reason(folder) or str(error))


def _depth(found: Found, result: Result) -> DepthMetrics | None:
    """The depth of those keyframes whose true depth is known."""
    sequence = found.sequence
    if sequence.depth is None or sequence.ground_truth is None:
        return None
    stamps = sequence.depth.stamps_ns
    rows = np.flatnonzero(np.isin(stamps, np.array(list(result.depth_files), np.int64)))
    if not len(rows):
        return None
    paths = tuple(sequence.depth.paths[row] for row in rows)
    known = replace(sequence, depth=replace(sequence.depth, paths=paths, stamps_ns=stamps[rows]))
    comparison = compare_depths(truth_of(known, sequence.ground_truth), result)
    return None if comparison is None else comparison.metrics


def truth_at(truth: Trajectory, estimate: Trajectory) -> Trajectory:
    """For each estimated pose the true one nearest in time, where one lies within 0.05 s, with the estimate's stamp.

    True poses come at a rate of their own: nothing is interpolated.
    """
    stamps, T = estimate.stamps_ns, truth.T_ref_cam
    nearest = nearest_in_time(truth.stamps_ns, stamps)
    close = np.abs(truth.stamps_ns[nearest] - stamps) <= round(TRUTH_WITHIN_S * 1e9)
    return Trajectory(stamps[close], T[nearest[close]])


def _clouds(
    folder: Path, result: Result, comparison: TrajectoryComparison, protocol: Protocol
) -> tuple[tuple[MultiViewScore, ...], float | None]:
    scans = scans_of(folder)
    if not scans or result.cloud is None:
        return (), None
    points = comparison.S_truth_map.apply(result.cloud.points)
    tolerances = TOLERANCES_M if protocol.tolerance_m is None else (*TOLERANCES_M, protocol.tolerance_m)
    return score(scans, points, tolerances), chamfer_m(scans, points)


def scans_of(folder: Path) -> list[LaserScan]:
    """The laser scans of a sequence: ETH3D's beside it, or the map of an Oxford Spires site whose name it has."""
    for place in SCANS_FOLDERS:
        if (folder / place / ALIGNMENT).is_file():
            return [LaserScan(points, T) for points, T in read_alignment(folder / place / ALIGNMENT)]
    for above in folder.parents[:2]:
        for site in sorted((above / GROUND_TRUTH_MAPS).glob("*")):
            files = [path for path in sorted(site.glob("*")) if path.suffix in (".ply", ".pcd")]
            if files and site.name in folder.name:
                clouds = [np.asarray(o3d.io.read_point_cloud(str(path)).points) for path in files]
                return [LaserScan(np.concatenate(clouds), None)]
    return []


def _reason(folder: Path) -> str | None:
    """The last line that the run wrote, where it failed."""
    try:
        lines = [line.strip() for line in (folder / LOG_FILE).read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return None
    return lines[-1] if lines else None
