"""The folder of a run: read back what was written, and one sentence where the disk takes no more."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open3d as o3d
import pytest
import yaml

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.results.writer import ResultWriter, RunTotals
from scal3r_ros.io.trajectories import read_trajectory
from scal3r_ros.mapping.values import MapUpdate, PointCloud, SubmapSummary
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Frame

SMALL = Intrinsics(20.0, 20.0, 7.5, 3.5, 16, 8)
CLOUD = PointCloud(
    np.random.default_rng(0).normal(0, 5, (1000, 3)).astype(np.float32), np.full((1000, 3), 77, np.uint8)
)
TRAJECTORY = Trajectory(
    np.array([1_700_000_000_123_456_789, 1_700_000_001_000_000_000]),
    np.stack([se3.se3(se3.rotation_exp([0.1, 0.2, 0.3]), [1.0, 2.0, 3.0]), se3.se3(np.eye(3), [-1.5, 0.0, 1e-7])]),
)

NOTHING = RunTotals(0, {}, 0, {}, 0.0, 0.0, {})


def update(number: int = 0, scale: float = 2.0) -> MapUpdate:
    image = np.zeros((8, 16, 3), np.uint8)
    frames = tuple(Frame(i, 10**18 + i, image, SMALL) for i in range(number * 2, number * 2 + 4))
    chunk = Chunk(number, frames, 2 if number else 0)
    T = np.tile(np.eye(4), (4, 1, 1))
    T[:, 0, 3] = np.arange(4)
    geometry = ChunkGeometry(
        T, (SMALL,) * 4, np.full((4, 8, 16), 1.5, np.float32), np.full((4, 8, 16), 0.5, np.float32),
        timings={"tracks_s": 0.25},
    )  # fmt: skip
    anchor = Sim3(scale, np.eye(3), np.array([0.0, 0.0, 1.0]))
    submap = SubmapSummary(number, frames[0].stamp_ns, frames[-1].stamp_ns, 4, ChunkHealth.OK, "", 1.0, anchor, CLOUD)
    return MapUpdate(
        (), np.eye(4), submap, False, chunk, geometry, timings={"tracks_s": 0.25, "align_s": 0.5, "map_s": 1.0}
    )


def test_the_trajectory_keeps_every_nanosecond(tmp_path: Path) -> None:
    ResultWriter(tmp_path / "a" / "b").finish(TRAJECTORY, CLOUD, NOTHING)
    read = read_trajectory(tmp_path / "a" / "b" / "trajectory.tum")
    np.testing.assert_array_equal(read.stamps_ns, TRAJECTORY.stamps_ns)
    np.testing.assert_allclose(read.T_ref_cam, TRAJECTORY.T_ref_cam, atol=1e-8)


def test_the_map_is_a_ply_that_others_read(tmp_path: Path) -> None:
    ResultWriter(tmp_path).finish(TRAJECTORY, CLOUD, NOTHING)
    cloud = o3d.io.read_point_cloud(str(tmp_path / "map.ply"))
    np.testing.assert_allclose(np.asarray(cloud.points), CLOUD.points, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(cloud.colors) * 255, CLOUD.colours, atol=0.5)


def test_timings_have_a_row_a_chunk_while_the_run_goes_on(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    for number in range(3):
        writer.add(update(number))
        lines = (tmp_path / "timings.csv").read_text().splitlines()
        assert len(lines) == 2 + number
    columns = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    assert list(columns)[:6] == ["chunk", "first_stamp_ns", "last_stamp_ns", "frames", "keyframes", "health"]
    assert (columns["chunk"], columns["keyframes"], columns["health"]) == ("2", "2", "ok")
    assert (columns["tracks_s"], columns["align_s"], columns["map_s"]) == ("0.2500", "0.5000", "1.0000")
    assert float(columns["rss_mb"]) > 1


def test_what_a_memory_learns_has_a_row_a_chunk_from_the_first_that_teaches(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    writer.add(update(0))
    writer.add(replace(update(1), metrics={"memory_chunks": 0}))
    assert not (tmp_path / "memory.csv").exists()
    learnt = {"memory_chunks": 1, "memory_norm_3": 0.1234567, "memory_norm_5": 2.0, "memory_change_3": 0.5, "peers": 2}
    writer.add(replace(update(2), metrics=learnt))
    writer.add(replace(update(3), metrics={"memory_chunks": 2_000_000}))
    assert (tmp_path / "memory.csv").read_text().splitlines() == [
        "chunk,memory_chunks,memory_norm_3,memory_change_3,memory_norm_5,memory_change_5",
        "2,1,0.123457,0.5,2,",
        "3,2000000,,,,",
    ]
    ResultWriter(tmp_path)
    assert not (tmp_path / "memory.csv").exists()


def test_updates_without_a_chunk_write_nothing(tmp_path: Path) -> None:
    ResultWriter(tmp_path).add(MapUpdate((), np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_depth_is_stored_once_a_keyframe_in_the_unit_of_the_map(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, save_depth=True)
    writer.add(update(0))
    writer.add(update(1))
    files = sorted((tmp_path / "depth").iterdir())
    assert [path.name for path in files] == [f"{10**18 + i:019d}.npz" for i in range(6)]
    with np.load(files[1]) as stored:
        np.testing.assert_allclose(stored["depth"], 3.0)
        assert stored["depth"].dtype == stored["confidence"].dtype == np.float16
        np.testing.assert_array_equal(stored["K"], SMALL.K)
        np.testing.assert_allclose(stored["T_map_cam"][:3, 3], [2.0, 0.0, 1.0])


def test_the_run_names_versions_counts_and_speed(tmp_path: Path) -> None:
    totals = RunTotals(5, {"queue full": 2}, 3, {"submaps": 1, "frames_in": 3}, 1.5, 3.0, {"a": 1}, {"bag": "street"})
    writer = ResultWriter(tmp_path)
    for number in range(2):
        writer.add(update(number))
    writer.finish(TRAJECTORY, CLOUD, totals)
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert run["versions"]["numpy"] == np.__version__
    assert run["counts"] == {
        "frames_in": 5,
        "frames_posed": 2,
        "frames_dropped": {"queue full": 2},
        "chunks_by_health": {"ok": 2},
        "submaps": 1,
    }
    assert (run["bag"], run["seconds"], run["images_per_second"], run["real_time_factor"]) == ("street", 1.5, 2.0, 2.0)
    assert run["parameters"] == {"a": 1}


def test_an_empty_run_leaves_an_empty_trajectory(tmp_path: Path) -> None:
    empty = PointCloud(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
    ResultWriter(tmp_path).finish(Trajectory(np.empty(0, np.int64), np.empty((0, 4, 4))), empty, NOTHING)
    assert (tmp_path / "trajectory.tum").read_text() == ""


def test_a_new_run_removes_the_old_ones_files_and_nothing_else(tmp_path: Path) -> None:
    first = ResultWriter(tmp_path, save_depth=True)
    first.add(update())
    first.finish(TRAJECTORY, CLOUD, NOTHING)
    own = {path.name for path in tmp_path.iterdir()}
    assert own == {"trajectory.tum", "map.ply", "timings.csv", "run.yaml", "depth"}
    foreign = [tmp_path / name for name in ("truth.tum", "scan.ply", "notes.csv", "depth/mine.npz")]
    for path in foreign:
        path.write_text("keep me")
    ResultWriter(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"truth.tum", "scan.ply", "notes.csv", "depth"}
    assert [path.name for path in (tmp_path / "depth").iterdir()] == ["mine.npz"]


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MappingError, match=r"file.* cannot be written"):
        ResultWriter(tmp_path / "file" / "result")
    with pytest.raises(MappingError, match="cannot be written"):
        ResultWriter(tmp_path / "file")


def test_writes_to_a_full_device_are_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    writer = ResultWriter(tmp_path)
    writer.add(update())
    (tmp_path / "timings.csv").unlink()
    (tmp_path / "timings.csv").symlink_to("/dev/full")
    with pytest.raises(MappingError, match=r"timings\.csv cannot be written: No space left on device"):
        writer.add(update(1))


def test_a_disk_that_fills_up_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ResultWriter(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MappingError, match="No space left on device") as caught:
        writer.finish(TRAJECTORY, CLOUD, NOTHING)
    assert "\n" not in str(caught.value)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount on this system")
    if done.returncode:
        pytest.skip("needs the right to mount")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_map_larger_than_the_disk_is_one_sentence_and_the_trajectory_stays(tiny_disk: Path) -> None:
    large = PointCloud(np.ones((20_000, 3), np.float32), np.ones((20_000, 3), np.uint8))
    with pytest.raises(MappingError, match=r"map\.ply cannot be written") as caught:
        ResultWriter(tiny_disk).finish(TRAJECTORY, large, NOTHING)
    assert "\n" not in str(caught.value)
    assert len(read_trajectory(tiny_disk / "trajectory.tum")) == 2
    assert not (tiny_disk / "map.ply").exists()
