"""Drives that cannot be measured all the way: the map goes on, and its scale with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import MapUpdate, OnlineMapper
from scal3r_ros.reconstruction.protocol import ChunkHealth, Frame

Film = Callable[[Sequence[np.ndarray]], list[Frame]]
Drain = Callable[[OnlineMapper, Sequence[Frame]], list[MapUpdate]]


def small_mapper() -> OnlineMapper:
    return build_mapper(core_config({"geometric.sweep.width": 96, "geometric.sweep.planes": 16})[0])


def turned(T: np.ndarray, angle: float) -> np.ndarray:
    """The same place, looking `angle` further to the left."""
    looking = T.copy()
    looking[:3, :3] = se3.rotation_exp([0.0, 0.0, angle]) @ T[:3, :3]
    return looking


def units(updates: list[MapUpdate], poses: Sequence[np.ndarray]) -> list[float]:
    """Map units per metre of every submap whose camera moved."""
    found = []
    for update in updates:
        if update.submap is None or update.chunk is None or update.geometry is None:
            continue
        indices = [frame.index for frame in update.chunk.frames]
        true = np.stack([poses[index] for index in indices])[:, :3, 3]
        way = np.linalg.norm(np.diff(true, axis=0), axis=1).sum()
        if way < 2.0:
            continue
        own = update.geometry.T_chunk_cam[:, :3, 3] * update.submap.S_map_submap.scale
        found.append(float(np.linalg.norm(np.diff(own, axis=0), axis=1).sum() / way))
    return found


def healths(updates: list[MapUpdate]) -> set[ChunkHealth]:
    return {update.geometry.health for update in updates if update.geometry is not None}


def ate(mapper: OnlineMapper, frames: Sequence[Frame], poses: Sequence[np.ndarray]) -> float:
    truth = Trajectory(np.array([frame.stamp_ns for frame in frames]), np.stack(poses))
    return compare_trajectories(truth, mapper.trajectory()).metrics.ate_sim3_rmse_m


@pytest.mark.slow
def test_a_stop_of_ten_seconds_leaves_no_trace(film: Film, drain: Drain, street_drive: Trajectory) -> None:
    P = street_drive.T_ref_cam
    poses = [*P[:30], *[P[29]] * 100, *P[30:60]]
    frames, mapper = film(poses), small_mapper()
    updates = drain(mapper, frames)
    assert len(mapper.trajectory()) == len(frames)
    assert ate(mapper, frames, poses) < 0.5
    scale = units(updates, poses)
    assert scale[-1] == pytest.approx(scale[0], rel=0.15)
    standing = mapper.trajectory().T_ref_cam[35:125, :3, 3]
    assert np.ptp(standing, axis=0).max() < 0.1


@pytest.mark.slow
def test_a_turn_on_the_spot_is_recognised_and_the_scale_survives_it(
    film: Film, drain: Drain, street_drive: Trajectory
) -> None:
    P = street_drive.T_ref_cam
    there = [turned(P[29], angle) for angle in np.deg2rad(np.arange(4.5, 91.0, 4.5))]
    poses = [*P[:30], *there, *there[::-1], *P[30:60]]
    frames, mapper = film(poses), small_mapper()
    updates = drain(mapper, frames)
    assert len(mapper.trajectory()) == len(frames)
    assert ChunkHealth.PURE_ROTATION in healths(updates)
    last = updates[-1]
    assert last.geometry is not None
    assert last.geometry.health is ChunkHealth.OK
    scale = units(updates, poses)
    assert scale[-1] == pytest.approx(scale[0], rel=0.35)
    assert ate(mapper, frames, poses) < 1.0
    turning = mapper.trajectory().T_ref_cam[40:65]
    assert np.ptp(turning[:, :3, 3], axis=0).max() < 0.5
    facing = np.rad2deg(se3.rotation_angle(turning[0, :3, :3].T @ turning[9, :3, :3]))
    assert facing == pytest.approx(9 * 4.5, abs=1.5)


@pytest.mark.slow
def test_fifteen_black_frames_are_bridged(film: Film, drain: Drain, street_drive: Trajectory) -> None:
    poses = list(street_drive.T_ref_cam[:85])
    frames = film(poses)
    for index in range(30, 45):
        frames[index] = replace(frames[index], image=np.zeros_like(frames[index].image))
    mapper = small_mapper()
    updates = drain(mapper, frames)
    stamps = mapper.trajectory().stamps_ns
    unseen = [frame.index for frame in frames if frame.stamp_ns not in stamps]
    assert unseen == list(range(unseen[0], 45))  # said to be lost after half a second of black
    assert 34 <= unseen[0] <= 36
    assert healths(updates) == {ChunkHealth.OK}  # the tracks from before are found again
    last = updates[-1]
    assert last.submap is not None
    assert last.submap.health is ChunkHealth.OK
    assert last.submap.note == ""
    scale = units(updates, poses)
    assert scale[-1] == pytest.approx(scale[0], rel=0.35)
    assert ate(mapper, frames, poses) < 3.0


def test_a_camera_that_stands_makes_no_map_says_so_and_is_mapped_once_it_moves(
    street: list[Frame], street_drive: Trajectory, drain: Drain
) -> None:
    standing = 70
    start = street[0].stamp_ns
    frames = [replace(street[0], index=i, stamp_ns=start + i * 10**9) for i in range(standing)]
    frames += [
        replace(frame, index=standing + i, stamp_ns=start + standing * 10**9 + i * 10**8)
        for i, frame in enumerate(street)
    ]
    poses = [street_drive.T_ref_cam[0]] * standing + list(street_drive.T_ref_cam[: len(street)])
    mapper = small_mapper()
    updates = drain(mapper, frames[:standing])
    unmapped = [update for update in updates if update.chunk is not None]
    assert unmapped
    for update in unmapped:
        assert update.submap is None
        assert update.poses == ()
        assert update.note.startswith("no map yet")
    assert mapper.counters()["submaps"] == len(mapper.trajectory()) == 0
    updates = drain(mapper, frames[standing:])
    assert [pose.index for update in updates for pose in update.poses] == list(range(len(frames)))
    assert len(mapper.trajectory()) == len(frames)
    assert ate(mapper, frames, poses) < 0.5


def test_a_camera_that_turns_first_is_mapped_once_it_moves(film: Film, drain: Drain, street_drive: Trajectory) -> None:
    P = street_drive.T_ref_cam
    poses = [*(turned(P[0], angle) for angle in np.deg2rad(np.arange(-60.0, 0.0, 4.0))), *P[:40]]
    frames, mapper = film(poses), small_mapper()
    updates = drain(mapper, frames)
    assert healths(updates) >= {ChunkHealth.OK, ChunkHealth.PURE_ROTATION}
    assert len(mapper.trajectory()) == len(frames)
    assert ate(mapper, frames, poses) < 0.8
