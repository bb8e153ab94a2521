"""Published figures, and which sequences stand beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.cli.benchmark.published import AVERAGE
from scal3r_ros.cli.benchmark.runner import RunOutcome
from scal3r_ros.cli.benchmark.scoring import Row
from scal3r_ros.cli.benchmark.sets import PROTOCOLS, Benchmark
from scal3r_ros.cli.benchmark.tables import published_table
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.datasets import ImageSequence


@pytest.mark.parametrize("name", list(Benchmark))
def test_an_average_is_the_mean_of_its_row(name: Benchmark) -> None:
    """Papers print both: a figure that was copied wrongly would not fit."""
    protocol = PROTOCOLS[name]
    assert protocol.published
    for row in protocol.published:
        assert row.source
        assert set(row.figures) <= {*protocol.sequences, AVERAGE}, row.method
        if AVERAGE in row.figures and set(protocol.sequences) <= set(row.figures) and protocol.sequences:
            mean = np.mean([row.figures[sequence] for sequence in protocol.sequences])
            assert row.figures[AVERAGE] == pytest.approx(mean, rel=0.001, abs=0.001), row.method


@pytest.mark.parametrize(
    ("name", "kind", "sequence", "column"),
    [
        ("kitti", "KITTI odometry", "07", "07"),
        ("kitti", "KITTI odometry", "11", None),  # without public poses, so in no table
        ("kitti", "KITTI odometry", "kitti00_160", None),
        ("kitti", "KITTI raw", "2011_09_26_drive_0005_sync", None),
        ("tum", "TUM RGB-D", "rgbd_dataset_freiburg1_desk2", "desk2"),
        ("tum", "TUM RGB-D", "rgbd_dataset_freiburg3_long_office_household", None),
        ("tum", "posed images", "tum_fr1_xyz", None),  # which may be a part
        ("euroc", "EuRoC", "MH_01_easy", "MH_01"),
        ("euroc", "EuRoC", "V2_03_difficult", "V2_03"),
        ("seven_scenes", "7-Scenes", "redkitchen/seq-01", "redkitchen"),
        ("seven_scenes", "7-Scenes", "redkitchen/seq-04", None),
        ("vkitti", "Virtual KITTI 2", "Scene01/clone", "Scene01/clone"),
    ],
)
def test_a_sequence_finds_its_column(name: str, kind: str, sequence: str, column: str | None) -> None:
    found = ImageSequence(kind, sequence, (), np.zeros(0, np.int64))
    assert PROTOCOLS[Benchmark(name)].column_of(found) == column


def row(name: str, column: str | None) -> Row:
    T = np.stack([se3.se3(np.eye(3), [0.1 * n, 0.01 * n * n, 0.0]) for n in range(20)])
    truth = Trajectory(np.arange(20) * 10**8, T)
    moved = T.copy()
    moved[::2, 1, 3] += 0.2
    comparison = compare_trajectories(truth, Trajectory(truth.stamps_ns, moved))
    return Row(name, 20, RunOutcome(0, 1.0, 1.0, None), 20, None, comparison, column=column)


def test_our_average_stands_beside_the_published_ones_only_over_the_same_sequences() -> None:
    protocol = PROTOCOLS[Benchmark.SEVEN_SCENES]
    rows = [row(f"{scene}/seq-01", scene) for scene in protocol.sequences]
    ours = published_table(protocol, rows, "ours").rows[-1]
    assert ours[0] == "ours"
    assert "–" not in ours
    assert float(ours[-1]) == pytest.approx(np.mean([float(cell) for cell in ours[1:-1]]), rel=1e-3)
    part = published_table(protocol, [*rows[1:], row("chess/seq-01, shortened", None)], "ours")
    assert part.header[-2:] == ("chess/seq-01, shortened", AVERAGE)
    assert (part.rows[-1][1], part.rows[-1][-1]) == ("–", "–")
    assert any("6 of them were run" in note for note in part.notes)


def test_without_named_sequences_no_averages_are_compared(tmp_path: Path) -> None:
    table = published_table(PROTOCOLS[Benchmark.SPIRES], [row("keble-college-02", "keble-college-02")], "ours")
    assert table.rows[-1][-1] == "–"
    assert table.rows[-2][-1] == "4.45"
    assert any("do not name" in note for note in table.notes)
