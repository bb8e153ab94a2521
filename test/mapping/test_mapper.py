"""The online mapper: in step and on two threads, reset, starved, and with nothing wrong at all."""

from __future__ import annotations

import gc
import itertools
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.errors import ReconstructionError
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import FramePose, MapperConfig, MapUpdate, OnlineMapper, PoseSource
from scal3r_ros.mapping.frontend.non_keyframe_poses import SeenFrame
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Frame
from scal3r_ros.simulation.simulate import SimulatedFrame

SMALL = {"geometric.sweep.width": 96, "geometric.sweep.planes": 16}
Drain = Callable[[OnlineMapper, list[Frame]], list[MapUpdate]]


def small_mapper(**settings: Any) -> OnlineMapper:
    return build_mapper(core_config({**SMALL, **settings})[0])


@pytest.fixture(scope="module")
def driven(street: list[Frame], drain: Drain) -> tuple[OnlineMapper, list[MapUpdate]]:
    """The street mapped with the reconstructor `geometric`."""
    mapper = small_mapper()
    return mapper, drain(mapper, street)


def given(updates: list[MapUpdate]) -> list[FramePose]:
    return [pose for update in updates for pose in update.poses]


def test_every_frame_is_posed_close_to_the_truth(
    driven: tuple[OnlineMapper, list[MapUpdate]], street: list[Frame], street_drive: Trajectory
) -> None:
    trajectory = driven[0].trajectory()
    assert trajectory.stamps_ns.tolist() == [frame.stamp_ns for frame in street]
    metrics = compare_trajectories(street_drive, trajectory).metrics
    assert metrics.ate_sim3_rmse_m < 0.4
    assert metrics.path_length_m > 35


def test_every_frame_is_given_out_once_in_order(
    driven: tuple[OnlineMapper, list[MapUpdate]], street: list[Frame]
) -> None:
    assert [pose.index for pose in given(driven[1])] == list(range(len(street)))


def test_odom_starts_level_at_the_first_camera_in_the_unit_asked_for(
    driven: tuple[OnlineMapper, list[MapUpdate]], street: list[Frame], drain: Drain
) -> None:
    poses = given(driven[1])
    np.testing.assert_allclose(poses[0].T_odom_cam[:3, 3], 0.0, atol=1e-6)
    np.testing.assert_allclose(poses[0].T_odom_cam[:3, :3], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-3)
    first = next(update for update in driven[1] if update.submap is not None)
    assert first.submap is not None
    assert first.geometry is not None
    sure = first.geometry.depth[first.geometry.confidence >= 0.5]
    assert np.median(sure) * first.submap.S_map_submap.scale == pytest.approx(10.0, rel=0.01)
    larger = small_mapper(initial_median_depth_m=20.0)
    drain(larger, street[:20])
    way = [np.linalg.norm(m.trajectory().T_ref_cam[19, :3, 3]) for m in (driven[0], larger)]
    assert way[1] == pytest.approx(2.0 * way[0], rel=0.1)


def test_odom_is_continuous_also_where_a_chunk_corrects_it(
    driven: tuple[OnlineMapper, list[MapUpdate]], street_drive: Trajectory
) -> None:
    poses = np.stack([pose.T_odom_cam for pose in given(driven[1])])
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    true = np.linalg.norm(np.diff(street_drive.T_ref_cam[: len(poses), :3, 3], axis=0), axis=1)
    unit = np.median(steps / true)
    assert np.abs(steps - unit * true).max() < 0.25 * unit * true.max()


def test_covariances_are_symmetric_positive_definite_and_grow_with_the_way(
    driven: tuple[OnlineMapper, list[MapUpdate]],
) -> None:
    covariances = np.stack([pose.covariance for pose in given(driven[1])])
    np.testing.assert_allclose(covariances, covariances.swapaxes(1, 2), rtol=1e-6, atol=1e-12)
    assert np.linalg.eigvalsh(covariances).min() > 0
    assert np.trace(covariances[-1, :3, :3]) > np.trace(covariances[5, :3, :3])


def test_the_map_lies_on_the_surfaces_of_the_street(
    driven: tuple[OnlineMapper, list[MapUpdate]], street_drive: Trajectory
) -> None:
    cloud = driven[0].cloud()
    S = compare_trajectories(street_drive, driven[0].trajectory()).S_truth_map
    height = S.apply(cloud.points.astype(np.float64))[:, 2]
    assert len(cloud.points) > 1000
    assert np.mean(height < -0.7) < 0.05  # nothing below the ground
    assert np.mean(np.abs(height) < 0.5) > 0.1
    assert len(driven[0].cloud(500).points) <= 500


def test_the_counters_tell_what_happened(driven: tuple[OnlineMapper, list[MapUpdate]], street: list[Frame]) -> None:
    mapper, updates = driven
    counters = mapper.counters()
    assert counters["frames_in"] == counters["frames_posed"] == len(street)
    assert counters["submaps"] == sum(update.submap is not None for update in updates)
    assert counters["map_points"] == len(mapper.cloud().points)
    assert counters["keyframes"] == sum(u.submap.keyframes for u in updates if u.submap is not None)
    np.testing.assert_allclose(mapper.T_map_odom(), np.eye(4), atol=1e-12)


def test_two_runs_are_equal_to_the_byte(
    driven: tuple[OnlineMapper, list[MapUpdate]], street: list[Frame], drain: Drain
) -> None:
    again = small_mapper()
    updates = drain(again, street)
    assert again.trajectory().T_ref_cam.tobytes() == driven[0].trajectory().T_ref_cam.tobytes()
    assert again.cloud().points.tobytes() == driven[0].cloud().points.tobytes()
    assert again.cloud().colours.tobytes() == driven[0].cloud().colours.tobytes()
    assert [p.T_odom_cam.tobytes() for p in given(updates)] == [p.T_odom_cam.tobytes() for p in given(driven[1])]


def test_after_a_reset_the_same_frames_give_the_same_map(street: list[Frame], drain: Drain) -> None:
    mapper = small_mapper()
    drain(mapper, street[10:35])
    mapper.reset()
    assert len(mapper.trajectory()) == 0
    assert len(mapper.cloud().points) == 0
    drain(mapper, street[:25])
    fresh = small_mapper()
    drain(fresh, street[:25])
    np.testing.assert_allclose(mapper.trajectory().T_ref_cam, fresh.trajectory().T_ref_cam, atol=1e-6)


def test_a_reset_drops_the_chunk_in_work_and_those_handed_out(
    oracle: Any, oracle_mapper: OnlineMapper, street: list[Frame], drain: Drain
) -> None:
    oracle.gate = threading.Event()
    chunks = [chunk for frame in street[:40] if (chunk := oracle_mapper.observe(frame).chunk) is not None]
    assert len(chunks) >= 2
    results: list[MapUpdate] = []
    worker = threading.Thread(target=lambda: results.append(oracle_mapper.map_chunk(chunks[0])))
    worker.start()
    assert oracle.started.wait(30)
    oracle_mapper.reset()
    oracle.gate.set()
    worker.join(30)
    results.append(oracle_mapper.map_chunk(chunks[1]))
    for update in results:
        assert update.submap is None
        assert update.poses == ()
        assert "reset" in update.note
    assert oracle_mapper.counters()["submaps"] == len(oracle_mapper.trajectory()) == 0
    drain(oracle_mapper, street)
    assert len(oracle_mapper.trajectory()) == len(street)


def test_memory_does_not_grow_with_the_frames(
    oracle: Any, oracle_mapper: OnlineMapper, street: list[Frame], street_frames: list[SimulatedFrame]
) -> None:
    order = [*range(50), *range(48, 0, -1)] * 4
    stamps = [10**12 + 10**8 * number for number in range(300)]
    oracle.truth = {stamp: street_frames[order[number]] for number, stamp in enumerate(stamps)}
    others = {id(item) for item in gc.get_objects() if type(item) in (Frame, SeenFrame)}
    alive = []
    for number, stamp in enumerate(stamps):
        oracle_mapper.push(replace(street[order[number]], index=number, stamp_ns=stamp))
        if number % 10 == 9:
            kinds = [type(item) for item in gc.get_objects() if id(item) not in others]
            alive.append((kinds.count(Frame), kinds.count(SeenFrame)))
    first, last = np.max(alive[5:15], axis=0), np.max(alive[20:], axis=0)
    assert np.all(last <= 1.5 * first)
    assert 0 < last[1] < 80
    assert last[0] < 10 * WindowConfig().size  # those of the window, of the submap before and of loops that wait
    assert len(oracle_mapper.trajectory()) == 300


def test_a_busy_worker_costs_keyframes_but_no_frame_and_no_overlap(
    oracle_mapper: OnlineMapper, street: list[Frame]
) -> None:
    chunks: list[Chunk] = []
    for frame in street:
        chunk = oracle_mapper.observe(frame, busy=20 <= frame.index < 45).chunk
        if chunk is not None:
            chunks.append(chunk)
            oracle_mapper.map_chunk(chunk)
    rest = oracle_mapper.close_window()
    if rest is not None:
        chunks.append(rest)
        oracle_mapper.map_chunk(rest)
    assert oracle_mapper.counters()["keyframes_thinned"] > 0
    for before, after in itertools.pairwise(chunks):
        ends = [frame.index for frame in before.frames[-after.shared :]]
        assert after.shared >= 2
        assert [frame.index for frame in after.frames[: after.shared]] == ends
    assert len(oracle_mapper.trajectory()) == len(street)


def test_two_threads_lose_no_frame(oracle_mapper: OnlineMapper, street: list[Frame], street_drive: Trajectory) -> None:
    chunks: queue.Queue[Chunk | None] = queue.Queue()
    updates: list[MapUpdate] = []

    def work() -> None:
        while (chunk := chunks.get()) is not None:
            updates.append(oracle_mapper.map_chunk(chunk))

    worker = threading.Thread(target=work)
    worker.start()
    poses: list[FramePose] = []
    for frame in street:
        observation = oracle_mapper.observe(frame, busy=chunks.qsize() > 1)
        poses += observation.poses
        if observation.chunk is not None:
            chunks.put(observation.chunk)
    rest = oracle_mapper.close_window()
    if rest is not None:
        chunks.put(rest)
    chunks.put(None)
    worker.join(60)
    assert not worker.is_alive()
    poses += given(updates)
    assert sorted(pose.index for pose in poses) == list(range(len(street)))
    trajectory = oracle_mapper.trajectory()
    assert trajectory.stamps_ns.tolist() == [frame.stamp_ns for frame in street]
    assert compare_trajectories(street_drive, trajectory).metrics.ate_sim3_rmse_m < 0.3


def test_an_uncalibrated_camera_is_one_clear_error_and_a_calibrated_one_maps_on(
    street: list[Frame], drain: Drain
) -> None:
    mapper = small_mapper()
    with pytest.raises(ReconstructionError, match="needs a calibrated camera") as caught:
        drain(mapper, [replace(frame, intrinsics=None) for frame in street])
    assert "\n" not in str(caught.value)
    mapper.reset()
    drain(mapper, street[:25])
    assert len(mapper.trajectory()) == 25


def test_frames_without_calibration_on_the_way_are_survived(street: list[Frame], drain: Drain) -> None:
    mapper = small_mapper()
    drain(mapper, street[:20])
    for frame in street[20:26]:
        assert mapper.observe(replace(frame, intrinsics=None)).poses == ()
    failures = []
    for frame in street[26:]:
        try:
            mapper.push(frame)
        except ReconstructionError as error:
            failures.append(str(error))
    mapper.flush()
    assert len(failures) <= 2
    assert all("calibrat" in failure for failure in failures)
    assert len(mapper.trajectory()) >= len(street) - 6


def test_a_chunk_that_shares_nothing_is_joined_at_the_last_pose(oracle: Any, street: list[Frame]) -> None:
    mapper = OnlineMapper(MapperConfig(window=WindowConfig(size=8, overlap=3)), oracle)
    chunks = [chunk for frame in street if (chunk := mapper.observe(frame).chunk) is not None]
    mapper.map_chunk(chunks[0])
    update = mapper.map_chunk(chunks[2])  # the one between was lost
    assert update.submap is not None
    assert "shares no frame" in update.submap.note
    assert update.submap.health is ChunkHealth.OK


def test_poses_before_the_first_map_come_from_its_chunk_and_later_ones_are_tracked(
    driven: tuple[OnlineMapper, list[MapUpdate]],
) -> None:
    sources = [pose.source for pose in given(driven[1])]
    assert sources[0] is PoseSource.CHUNK
    assert sources[-1] is PoseSource.TRACKED
    assert PoseSource.EXTRAPOLATED not in sources


def test_nothing_pushed_gives_nothing(drain: Drain) -> None:
    mapper = small_mapper()
    assert drain(mapper, []) == []
    assert len(mapper.trajectory()) == 0
    assert len(mapper.cloud().points) == 0
    np.testing.assert_array_equal(mapper.T_map_odom(), np.eye(4))
    mapper.reset()


def test_a_camera_without_calibration_is_posed_with_the_reconstructors_guess(
    oracle: Any, street: list[Frame], street_camera: Intrinsics, drain: Drain
) -> None:
    oracle.camera = street_camera
    calibrated, bare = (OnlineMapper(MapperConfig(), oracle) for _ in range(2))
    expected = given(drain(calibrated, street))
    poses = given(drain(bare, [replace(frame, intrinsics=None) for frame in street]))
    assert [pose.index for pose in poses] == list(range(len(street)))
    assert sum(pose.source is PoseSource.TRACKED for pose in poses) > len(street) // 2
    for ours, theirs in zip(poses, expected, strict=True):
        np.testing.assert_allclose(ours.T_odom_cam, theirs.T_odom_cam, atol=1e-3)
