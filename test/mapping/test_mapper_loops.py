"""Loops in the mapper: a block driven round closes, odom does not notice, and equal façades close nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.errors import MappingError
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.loops.keyframe_database import KeptKeyframe, KeyframeDatabase
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.simulate import SimulatedFrame, render_frames
from scal3r_ros.simulation.town.town import build_town

SETTINGS: dict[str, Any] = {
    "geometric.sweep.width": 96, "geometric.sweep.planes": 16, "loops.min_gap_s": 8.0,
}  # fmt: skip


def round_a_block(side_m: float, beyond_m: float, step_m: float = 1.0, radius_m: float = 10.0) -> Trajectory:
    """Poses T_world_cam, ten a second and `step_m` apart, round a square with round corners and `beyond_m` further."""
    straight, arc = side_m - 2 * radius_m, 0.5 * math.pi * radius_m
    length = 4 * (straight + arc)
    s = np.arange(0.0, length + beyond_m, 0.05)
    along = np.mod(s, straight + arc)
    curvature = np.where(along < straight, 0.0, 1.0 / radius_m)
    heading = np.cumsum(curvature) * 0.05
    heading *= np.round(heading[-1] / (math.pi / 2)) * (math.pi / 2) / heading[-1]
    x, y = np.cumsum(np.cos(heading)) * 0.05, np.cumsum(np.sin(heading)) * 0.05
    some = slice(None, None, round(step_m / 0.05))
    x, y, heading = x[some], y[some], heading[some]
    T = np.tile(np.eye(4), (len(x), 1, 1))
    zero = np.zeros_like(heading)
    T[:, :3, 0] = np.stack([np.sin(heading), -np.cos(heading), zero], axis=-1)
    T[:, :3, 1] = [0.0, 0.0, -1.0]
    T[:, :3, 2] = np.stack([np.cos(heading), np.sin(heading), zero], axis=-1)
    T[:, :3, 3] = np.stack([x, y, zero + CAMERA_HEIGHT_M], axis=-1)
    return Trajectory(even_stamps(len(x), 10.0), T)


@pytest.fixture(scope="module")
def block() -> Trajectory:
    return round_a_block(44.0, 26.0, 1.0, 9.0)


@pytest.fixture(scope="module")
def frames(block: Trajectory, street_camera: Intrinsics) -> list[Frame]:
    views = render_frames(block, street_camera, seed=3, town=build_town(block, 3), workers=2)
    return [Frame(number, view.stamp_ns, view.image, street_camera) for number, view in enumerate(views)]


@dataclass
class Drive:
    """A drive by the parts of the mapper, with what was known just before and after each loop was closed."""

    mapper: OnlineMapper
    odom: list[np.ndarray]
    before: list[Trajectory]
    after: list[Trajectory]
    corrections: list[tuple[np.ndarray, np.ndarray]]
    updates: list[MapUpdate]
    chunks: list[MapUpdate]


@pytest.fixture(scope="module")
def driven(frames: list[Frame]) -> Drive:
    drive = Drive(build_mapper(core_config(SETTINGS)[0]), [], [], [], [], [], [])
    mapper = drive.mapper

    def map_and_close(chunk: Any) -> None:
        if chunk is None:
            return
        drive.chunks.append(mapper.map_chunk(chunk))
        drive.odom.extend(pose.T_odom_cam for pose in drive.chunks[-1].poses)
        while mapper.loops_waiting:
            before, correction = mapper.trajectory(), mapper.T_map_odom()
            update = mapper.close_loops()
            if update is not None:
                drive.updates.append(update)
                drive.before.append(before)
                drive.after.append(mapper.trajectory())
                drive.corrections.append((correction, update.T_map_odom))

    for frame in frames:
        observation = mapper.observe(frame)
        drive.odom.extend(pose.T_odom_cam for pose in observation.poses)
        map_and_close(observation.chunk)
    map_and_close(mapper.close_window())
    return drive


def ate(truth: Trajectory, estimate: Trajectory) -> float:
    return compare_trajectories(truth, estimate).metrics.ate_sim3_rmse_m


def test_a_block_driven_round_closes_and_the_error_goes_down(driven: Drive, block: Trajectory) -> None:
    assert driven.updates
    assert driven.mapper.counters()["loops"] >= 2
    assert driven.mapper.counters()["loops_dropped"] == 0
    assert all(update.corrected for update in driven.updates)
    assert ate(block, driven.after[0]) < 0.7 * ate(block, driven.before[0])


def test_loops_connect_what_is_near_in_truth(driven: Drive, block: Trajectory) -> None:
    ends = driven.mapper.loop_ends()
    assert ends.shape == (driven.mapper.counters()["loops"], 2, 3)
    S = compare_trajectories(block, driven.mapper.trajectory()).S_truth_map
    assert (
        np.linalg.norm(S.apply(ends[:, 0]) - S.apply(ends[:, 1]), axis=1).max() < 15.0
    )  # as far as benchmarks/loop_drives.py calls a loop true


def test_odom_does_not_notice_a_loop(driven: Drive, block: Trajectory) -> None:
    poses = np.stack(driven.odom)
    assert len(poses) == len(block)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    true = np.linalg.norm(np.diff(block.T_ref_cam[:, :3, 3], axis=0), axis=1)
    unit = np.median(steps / true)
    assert np.abs(steps - unit * true).max() < 0.3 * unit * true.max()


def test_the_correction_puts_the_newest_camera_where_the_trajectory_has_it(driven: Drive) -> None:
    before, after = driven.corrections[0]
    assert not np.allclose(before, after, atol=1e-3)
    mapper, newest = driven.mapper, driven.chunks[-1]
    assert newest.submap is not None
    assert newest.chunk is not None
    assert newest.geometry is not None
    T_map_cam_then = newest.submap.S_map_submap.apply_pose(newest.geometry.T_chunk_cam[-1])
    T_odom_cam = np.linalg.inv(newest.T_map_odom) @ T_map_cam_then
    row = int(np.searchsorted(mapper.trajectory().stamps_ns, newest.chunk.frames[-1].stamp_ns))
    T_map_cam = mapper.trajectory().T_ref_cam[row]
    np.testing.assert_allclose(mapper.T_map_odom() @ T_odom_cam, T_map_cam, atol=1e-6)


def test_the_map_moves_with_its_submaps(driven: Drive, block: Trajectory) -> None:
    S = compare_trajectories(block, driven.mapper.trajectory()).S_truth_map
    height = S.apply(driven.mapper.cloud().points.astype(np.float64))[:, 2]
    assert np.mean(height < -0.7) < 0.05
    assert np.mean(np.abs(height) < 0.5) > 0.1


@pytest.mark.slow
def test_pushed_frames_give_the_same_bytes_as_the_parts(driven: Drive, frames: list[Frame]) -> None:
    mapper = build_mapper(core_config(SETTINGS)[0])
    updates = [update for frame in frames for update in mapper.push(frame)] + mapper.flush()
    assert sum(update.corrected for update in updates) == len(driven.updates)
    assert mapper.trajectory().T_ref_cam.tobytes() == driven.mapper.trajectory().T_ref_cam.tobytes()
    assert mapper.cloud().points.tobytes() == driven.mapper.cloud().points.tobytes()


def again(oracle: Any, street: list[Frame], street_frames: list[SimulatedFrame], further_m: float) -> list[Frame]:
    """The street twice, with the truth that the second one lies `further_m` along the way."""
    frames, ahead = list(street), np.eye(4)
    ahead[:3, 3] = [further_m, 0.0, 0.0]
    for number, view in enumerate(street_frames):
        stamp = street[-1].stamp_ns + 10**9 * (2 * number + 40) // 10
        oracle.truth[stamp] = replace(view, stamp_ns=stamp, T_ref_cam=ahead @ view.T_ref_cam)
        frames.append(replace(street[number], index=len(street) + number, stamp_ns=stamp))
    return frames


@pytest.mark.parametrize(("further_m", "loops"), [(0.3, True), (45.0, False)])
def test_a_street_that_looks_like_the_last_one_is_taken_for_it_only_if_it_lies_there(
    oracle: Any, street: list[Frame], street_frames: list[SimulatedFrame], further_m: float, loops: bool
) -> None:
    config = MapperConfig(loops=LoopConfig(min_gap_s=4.0, min_gap_submaps=2))
    mapper = OnlineMapper(config, oracle)
    for frame in again(oracle, street, street_frames, further_m):
        mapper.push(frame)
    mapper.flush()
    counters = mapper.counters()
    assert counters["loops_verified"] > 0  # they do look the same
    assert (counters["loops"] > 0) is loops
    assert (counters["loops_gated"] > 0) is not loops


def test_a_full_disk_costs_places_but_no_chunk(
    oracle_mapper: OnlineMapper, street: list[Frame], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(database: KeyframeDatabase, keyframe: KeptKeyframe) -> int:
        raise MappingError("no room")

    monkeypatch.setattr(KeyframeDatabase, "add", full)
    for frame in street:
        oracle_mapper.push(frame)
    oracle_mapper.flush()
    counters = oracle_mapper.counters()
    assert counters["loop_submaps_lost"] == counters["submaps"] > 1
    assert len(oracle_mapper.trajectory()) == len(street)
    assert [record.getMessage() for record in caplog.records] == ["no loops are detected: no room"]


def test_loops_can_be_left_out(oracle: Any, street: list[Frame]) -> None:
    mapper = OnlineMapper(MapperConfig(loops=LoopConfig(enabled=False)), oracle)
    for frame in street:
        mapper.push(frame)
    assert mapper.counters()["loop_keyframes"] == 0
    assert mapper.close_loops() is None


def test_a_reset_forgets_places(oracle_mapper: OnlineMapper, street: list[Frame]) -> None:
    for frame in street:
        oracle_mapper.push(frame)
    assert oracle_mapper.counters()["loop_keyframes"] > 0
    oracle_mapper.reset()
    assert oracle_mapper.counters()["loop_keyframes"] == 0
    assert oracle_mapper.loops_waiting == 0
    assert oracle_mapper.loop_ends().shape == (0, 2, 3)
