"""Chunk after chunk of a drive through the window: scale, gauge, distortion and honesty against the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.alignment import align_sim3
from scal3r_ros.geometry.intrinsics import Intrinsics, with_radial
from scal3r_ros.reconstruction.geometric.motion.values import MotionConfig
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable
from scal3r_ros.reconstruction.geometric.window.fixed_lag import FixedLagWindow, LagConfig, WindowMotion
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Features, Frame

CAMERA = Intrinsics(300.0, 300.0, 320.0, 200.0, 640, 400)
SIZE, SHARED = 12, 5


def chunks_of(table: TrackTable, frames: int, radial: float = 0.0) -> list[Chunk]:
    """The tracks as chunks of keyframes with their features, seen by a camera with `radial`."""
    seen = []
    for number in range(frames):
        rows = table.frame == number
        uv = replace(CAMERA, radial=radial).pixels_of(table.xy[rows])
        ids = table.ids[table.track[rows]]
        order = np.argsort(ids)
        features = Features(ids[order], uv[order].astype(np.float32))
        seen.append(Frame(number, number, np.zeros((4, 6, 3), np.uint8), CAMERA, features))
    step = SIZE - SHARED
    starts = range(0, frames - SIZE + 1, step)
    return [Chunk(k, tuple(seen[first : first + SIZE]), SHARED if k else 0) for k, first in enumerate(starts)]


def through(window: FixedLagWindow, chunks: list[Chunk]) -> list[WindowMotion]:
    features = [[frame.features for frame in chunk.frames if frame.features is not None] for chunk in chunks]
    return [window.estimate(chunk, seen, CAMERA, None, 1.0) for chunk, seen in zip(chunks, features, strict=True)]


def joined(found: list[WindowMotion]) -> np.ndarray:
    """All cameras in the frame of reference of the first chunk, the newest chunk's word for each."""
    T_first_chunk, poses = np.eye(4), {}
    for k, part in enumerate(found):
        if part.T_before_now is not None:
            T_first_chunk = T_first_chunk @ part.T_before_now
        for position, T in enumerate(part.motion.T_ref_cam):
            poses[k * (SIZE - SHARED) + position] = T_first_chunk @ T
    return np.stack([poses[number] for number in sorted(poses)])


def local_scales(found: np.ndarray, true: np.ndarray, length: int = 10) -> np.ndarray:
    steps = [np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1) for T in (found, true[: len(found)])]
    count = len(steps[0]) // length
    return np.array([steps[0][i * length : (i + 1) * length].sum() / steps[1][i * length : (i + 1) * length].sum()
                     for i in range(count)])  # fmt: skip


def test_over_a_long_drive_the_scale_stays(world: Any, drive: Any) -> None:
    T = drive(75, turn_deg=3.0)
    given = world(T, points=1500, noise_px=0.4, outliers=0.05)
    found = through(FixedLagWindow(LagConfig(), MotionConfig()), chunks_of(given.table, len(T)))
    assert all(part.motion.health is ChunkHealth.OK for part in found)
    scales = local_scales(joined(found), T)
    assert np.abs(np.log(scales / scales[0])).max() < 0.02


def test_what_the_chunk_before_got_wrong_is_put_right(world: Any, drive: Any) -> None:
    """A chunk whose newest frames were placed badly does not hand that on: the next sees them with more tracks."""
    T = drive(54)
    given = world(T, points=1200, noise_px=0.4)
    rng = np.random.default_rng(4)
    table = given.table
    wrong = np.isin(table.frame, range(19, 26)) & (rng.random(len(table.frame)) < 0.2)
    drifting = table.xy + np.where(wrong[:, None], 0.006 * (table.frame[:, None] - 18.0), 0.0) * table.xy
    chunks = chunks_of(replace(table, xy=drifting), len(T))
    scales = local_scales(joined(through(FixedLagWindow(LagConfig(), MotionConfig()), chunks)), T)
    assert np.abs(np.log(scales[-1:] / scales[0])).max() < 0.03


def test_distortion_is_learnt_on_the_way_and_takes_the_drift_with_it(world: Any, drive: Any) -> None:
    T = drive(61, turn_deg=10.0)
    given = world(T, points=1500, noise_px=0.3)
    chunks = chunks_of(given.table, len(T), radial=0.03)
    learning = through(FixedLagWindow(LagConfig(radial_sigma=0.02), MotionConfig()), chunks)
    assert learning[-1].camera.radial == pytest.approx(0.03, abs=0.008)
    steady = through(FixedLagWindow(LagConfig(), MotionConfig()), chunks)
    assert steady[-1].camera.radial == 0.0


def rolled(T: np.ndarray, points: int, readout_s: float, seed: int = 3) -> list[Chunk]:
    """Points seen at 30 Hz by a camera that moves all the time, each at the time of its row, with their velocity."""
    rng, period = np.random.default_rng(seed), 1.0 / 30.0
    where = np.column_stack([rng.uniform(-4, 4, points), rng.uniform(-3, 3, points), rng.uniform(2, 6, points)])

    def rolled_at(number: int) -> np.ndarray:
        late, uv = np.zeros(points), np.empty((points, 2))
        for _ in range(3):  # the row says when it was exposed, and that where the point is
            frame = np.clip(number + late, 0, len(T) - 1.001)
            base = frame.astype(int)
            pose = se3.interpolate(T[base], T[base + 1], frame - base)
            local = np.einsum("nji,nj->ni", pose[:, :3, :3], where - pose[:, :3, 3])
            uv = CAMERA.pixels_of(local[:, :2] / np.where(local[:, 2:] > 0.3, local[:, 2:], np.nan))
            late = np.nan_to_num((uv[:, 1] + 0.5) / CAMERA.height - 0.5) * readout_s / period
        return uv

    frames, before = [], rolled_at(0)
    for number in range(1, len(T) - 1):
        uv = rolled_at(number)
        inside = (uv > 0).all(axis=1) & (uv < [CAMERA.width, CAMERA.height]).all(axis=1)
        ids = np.flatnonzero(inside & np.isfinite(before).all(axis=1))
        noisy = uv[ids] + rng.normal(0, 0.2, (len(ids), 2))
        velocity = ((uv - before)[ids] / period).astype(np.float32)
        features = Features(ids, noisy.astype(np.float32), velocity=velocity)
        frames.append(Frame(number, number, np.zeros((4, 6, 3), np.uint8), CAMERA, features))
        before = uv
    keyframes = frames[::3]
    starts = range(0, len(keyframes) - SIZE + 1, SIZE - SHARED)
    return [Chunk(k, tuple(keyframes[at : at + SIZE]), SHARED if k else 0) for k, at in enumerate(starts)]


def by_hand(count: int) -> np.ndarray:
    """30 poses a second of a camera that is moved to and fro by decimetres, and turned by up to 60 degrees a second."""
    time = np.arange(count) / 30.0
    way = 0.25 * np.stack([np.sin(2.1 * time), np.sin(1.7 * time + 1.0), 0.6 * np.sin(1.3 * time)], axis=1)
    turn = 0.25 * np.stack([np.sin(3.1 * time), np.sin(3.7 * time + 0.5), np.sin(2.3 * time)], axis=1)
    return np.stack([se3.se3(se3.rotation_exp(w), t) for w, t in zip(turn, way, strict=True)])


def error_of(found: list[WindowMotion], T: np.ndarray) -> float:
    own = joined(found)
    true = T[1 : 1 + 3 * len(own) : 3]
    fit = align_sim3(own[:, :3, 3], true[:, :3, 3])
    return float(np.sqrt(np.square(fit.transform.apply(own[:, :3, 3]) - true[:, :3, 3]).sum(axis=1).mean()))


def test_a_rolling_shutter_is_learnt_on_the_way() -> None:
    T = by_hand(170)
    chunks = rolled(T, 500, 0.025)
    learning = FixedLagWindow(LagConfig(readout_s=0.02, readout_sigma_s=0.01), MotionConfig())
    found = through(learning, chunks)
    assert found[-1].camera.readout_s == pytest.approx(0.025, abs=0.002)
    steady = through(FixedLagWindow(LagConfig(), MotionConfig()), chunks)
    assert steady[-1].camera.readout_s == 0.0
    assert error_of(found, T) < 0.4 * error_of(steady, T)


def test_a_global_shutter_is_found_out_where_a_rolling_one_was_expected() -> None:
    chunks = rolled(by_hand(170), 500, 0.0)
    window = FixedLagWindow(LagConfig(readout_s=0.02, readout_sigma_s=0.01), MotionConfig())
    assert through(window, chunks)[-1].camera.readout_s == pytest.approx(0.0, abs=0.003)


def test_two_runs_are_equal_and_a_reset_forgets(world: Any, drive: Any) -> None:
    T = drive(26)
    given = world(T, points=600, noise_px=0.4)
    window, chunks = FixedLagWindow(LagConfig(radial_sigma=0.02), MotionConfig()), chunks_of(given.table, len(T))
    first = joined(through(window, chunks))
    window.reset()
    np.testing.assert_array_equal(joined(through(window, chunks)), first)


def test_a_chunk_that_jumps_is_doubted(world: Any, drive: Any) -> None:
    T = drive(36)
    T[24:, :3, 3] += [0.0, 0.0, 14.0]
    given = world(T, points=1500, noise_px=0.3)
    found = through(FixedLagWindow(LagConfig(), MotionConfig()), chunks_of(given.table, len(T)))
    doubted = [part for part in found if part.motion.health is not ChunkHealth.OK]
    assert doubted
    assert all(part.motion.note for part in doubted)


def test_with_radial_is_undone(world: Any) -> None:
    camera = replace(CAMERA, radial=0.05)
    xy = np.random.default_rng(0).uniform(-0.9, 0.9, (50, 2))
    np.testing.assert_allclose(camera.on_unit_plane(camera.pixels_of(xy)), xy, atol=1e-9)
    assert np.abs(with_radial(xy, 0.05) - xy).max() > 0.01
