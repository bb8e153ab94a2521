"""Motion of a chunk against the truth: scale passed on, outliers taken out, and chunks that cannot be measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.reconstruction.geometric.motion.estimate import estimate_motion as estimate_motion_with
from scal3r_ros.reconstruction.geometric.motion.values import KnownStart, Motion, MotionConfig, Refine, point_spread
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, consistent, near_depth
from scal3r_ros.reconstruction.geometric.window.adjustment import adjust_window
from scal3r_ros.reconstruction.protocol import ChunkHealth

CONFIG = MotionConfig()
FOCAL = 300.0
SHARED = 4
NOTHING = (np.empty(0, np.int64), np.empty((0, 3)))


def refine_with(shared: int) -> Refine:
    """One adjustment of what agrees within four sigma, the first `shared` frames fixed."""

    def refine(table: TrackTable, T: np.ndarray, points: np.ndarray, known: np.ndarray) -> Motion:
        sigma = CONFIG.sigma / FOCAL
        for looseness in (12.0, 4.0):
            kept = consistent(table, points, known, T, looseness * sigma)
            found = adjust_window(
                kept, T, points, np.arange(len(T)) >= max(1, shared), 0.0, sigma=sigma, max_iterations=12
            )
            T, points = found.T_ref_cam, found.points
        final = consistent(table, points, known, T, 4.0 * sigma)
        used = np.unique(final.track)
        share = len(final.track) / max(1, int(known[table.track].sum()))
        spread = point_spread(final, points, T, sigma)[used]
        return Motion(T, table.ids[used], points[used], spread, ChunkHealth.OK, "", share)

    return refine


def estimate_motion(
    table: TrackTable, frames: int, focal: float, start: KnownStart | None, config: MotionConfig
) -> Motion:
    shared = 0 if start is None else len(start.T_ref_cam)
    return estimate_motion_with(table, frames, focal, start, config, refine_with(shared))


def part(table: TrackTable, first: int, count: int) -> TrackTable:
    """The tracks of `count` frames from `first` on, as a chunk sees them."""
    inside = (table.frame >= first) & (table.frame < first + count)
    lengths = np.bincount(table.track[inside], minlength=len(table.ids))
    inside &= lengths[table.track] >= 2
    used, track = np.unique(table.track[inside], return_inverse=True)
    return TrackTable(table.ids[used], track, table.frame[inside] - first, table.xy[inside])


def start_of(motion: Motion, depth: float) -> KnownStart:
    """What the next chunk knows of the one before: the last frames, and its points seen from the first of them."""
    T = motion.T_ref_cam[-SHARED:]
    to_first = np.linalg.inv(T[0])
    return KnownStart(to_first @ T, motion.ids, motion.points @ to_first[:3, :3].T + to_first[:3, 3], depth)


def way(T: np.ndarray) -> float:
    return float(np.linalg.norm(T[-1, :3, 3] - T[0, :3, 3]))


def worst_turn_deg(found: np.ndarray, true: np.ndarray) -> float:
    relative = [np.linalg.inv(T[0]) @ T for T in (found, true)]
    return float(
        np.rad2deg(se3.rotation_angle(np.swapaxes(relative[0][:, :3, :3], 1, 2) @ relative[1][:, :3, :3]).max())
    )


def turning(count: int, step_deg: float = 3.0) -> np.ndarray:
    return np.stack([se3.se3(se3.rotation_exp([0, np.deg2rad(step_deg) * i, 0]), [0, 0, 0]) for i in range(count)])


def test_a_first_chunk_is_found_up_to_scale_at_a_median_depth_of_one(world: Any, drive: Any) -> None:
    given = world(drive(12), noise_px=0.3, outliers=0.1)
    found = estimate_motion(given.table, 12, FOCAL, None, CONFIG)
    assert found.health is ChunkHealth.OK
    assert np.median(found.points[:, 2]) == pytest.approx(1.0, rel=0.1)
    scale = way(given.T_ref_cam) / way(found.T_ref_cam)
    np.testing.assert_allclose(found.T_ref_cam[:, :3, 3] * scale, given.T_ref_cam[:, :3, 3], atol=0.05)
    assert worst_turn_deg(found.T_ref_cam, given.T_ref_cam) < 0.15


def test_the_scale_of_each_chunk_is_that_of_the_one_before(world: Any, drive: Any) -> None:
    T = drive(60)
    given = world(T, points=3000, noise_px=0.4, outliers=0.08)
    scales, start, first = [], None, 0
    while first + 12 <= len(T):
        found = estimate_motion(part(given.table, first, 12), 12, FOCAL, start, CONFIG)
        assert found.health is ChunkHealth.OK
        scales.append(way(found.T_ref_cam) / way(T[first : first + 12]))
        assert worst_turn_deg(found.T_ref_cam, T[first : first + 12]) < 0.15
        start, first = start_of(found, 1.0), first + 12 - SHARED
    assert len(scales) == 7
    assert np.abs(np.diff(np.log(scales))).max() < 0.01


def test_tracks_with_outliers_are_taken_out_and_sigma_tells_the_error_of_the_rest(world: Any, drive: Any) -> None:
    given = world(drive(12), noise_px=0.4, outliers=0.1)
    found = estimate_motion(given.table, 12, FOCAL, None, CONFIG)
    assert 0.0 < found.inlier_share < 1.0 - given.wrong.mean()
    scale = way(given.T_ref_cam) / way(found.T_ref_cam)
    true = given.points[np.searchsorted(given.table.ids, found.ids)]
    error = np.linalg.norm(found.points * scale - true, axis=1)
    assert np.median(error / (found.sigma * scale)) < 2.0


@pytest.mark.parametrize(
    ("T", "points", "health"),
    [
        (np.tile(np.eye(4), (12, 1, 1)), 400, ChunkHealth.NO_PARALLAX),
        (turning(12), 1500, ChunkHealth.PURE_ROTATION),
        (None, 12, ChunkHealth.FEW_TRACKS),
    ],
)
def test_a_first_chunk_that_can_not_be_measured_says_why(
    world: Any, drive: Any, T: np.ndarray | None, points: int, health: ChunkHealth
) -> None:
    given = world(drive(12) if T is None else T, points=points, noise_px=0.4)
    found = estimate_motion(given.table, 12, FOCAL, None, CONFIG)
    assert found.health is health
    assert found.note
    assert len(found.ids) == 0
    assert np.isfinite(found.T_ref_cam).all()


@pytest.mark.parametrize(("step_deg", "health"), [(0.0, ChunkHealth.NO_PARALLAX), (3.0, ChunkHealth.PURE_ROTATION)])
def test_a_camera_that_stops_keeps_its_place_and_its_points(
    world: Any, drive: Any, step_deg: float, health: ChunkHealth
) -> None:
    moving = drive(12)
    T = np.concatenate([moving, moving[-1] @ turning(9, step_deg)[1:]])
    given = world(T, points=2000, noise_px=0.4, outliers=0.05)
    before = estimate_motion(part(given.table, 0, 12), 12, FOCAL, None, CONFIG)
    found = estimate_motion(part(given.table, 8, 12), 12, FOCAL, start_of(before, 1.0), CONFIG)
    assert found.health is health
    np.testing.assert_allclose(found.T_ref_cam[SHARED:, :3, 3], np.tile(found.T_ref_cam[3, :3, 3], (8, 1)), atol=1e-9)
    assert worst_turn_deg(found.T_ref_cam, T[8:]) < 0.3
    assert len(found.ids) > 20
    assert np.isin(found.ids, before.ids).all()


def test_after_a_turn_on_the_spot_the_scale_is_that_of_near_points(world: Any, drive: Any) -> None:
    moving = drive(12)
    turned = moving[-1] @ turning(25, 3.0)[1:]  # 72°: nothing seen before is still in view
    T = np.concatenate([moving, turned, turned[-1] @ drive(20)[1:]])
    given = world(T, points=6000, noise_px=0.3)
    motion = estimate_motion(part(given.table, 0, 12), 12, FOCAL, None, CONFIG)
    unit = way(motion.T_ref_cam) / way(T[:12])
    depth = near_depth(part(given.table, 0, 12), motion.T_ref_cam, motion.ids, motion.points)
    healths, first = [], 8
    while first + 12 <= len(T):
        motion = estimate_motion(part(given.table, first, 12), 12, FOCAL, start_of(motion, depth), CONFIG)
        healths.append(motion.health)
        first += 8
    assert healths[:3] == [ChunkHealth.PURE_ROTATION] * 3
    assert healths[-1] is ChunkHealth.OK
    last = slice(first - 8, first + 4)
    assert way(motion.T_ref_cam) / way(T[last]) == pytest.approx(unit, rel=0.5)


def test_where_points_are_lost_in_motion_its_scale_is_carried_on(world: Any, drive: Any) -> None:
    given = world(drive(12), points=1000, noise_px=0.3)
    start = KnownStart(0.37 * given.T_ref_cam[:SHARED], np.array([10**9]), np.ones((1, 3)), 3.0)
    start.T_ref_cam[:, :3, :3], start.T_ref_cam[:, 3, 3] = given.T_ref_cam[:SHARED, :3, :3], 1.0
    found = estimate_motion(given.table, 12, FOCAL, start, CONFIG)
    assert way(found.T_ref_cam) / way(given.T_ref_cam) == pytest.approx(0.37, rel=0.03)


def test_without_any_tracks_the_speed_is_carried_on(world: Any, drive: Any) -> None:
    T = drive(12, turn_deg=0.0)
    given = world(T)
    start = KnownStart(T[:SHARED], *NOTHING, 10.0)
    found = estimate_motion(given.table.select(given.table.frame < SHARED), 12, FOCAL, start, CONFIG)
    assert found.health is ChunkHealth.FEW_TRACKS
    steps = np.linalg.norm(np.diff(found.T_ref_cam[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps[SHARED:], steps[SHARED - 2], rtol=1e-6)


def test_equal_tracks_give_equal_bytes(world: Any, drive: Any) -> None:
    given = world(drive(8), noise_px=0.5, outliers=0.1)
    runs = [estimate_motion(given.table, 8, FOCAL, None, CONFIG) for _ in range(2)]
    assert runs[0].T_ref_cam.tobytes() == runs[1].T_ref_cam.tobytes()
    assert runs[0].points.tobytes() == runs[1].points.tobytes()
