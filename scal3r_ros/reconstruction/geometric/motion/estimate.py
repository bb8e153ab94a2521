"""The poses of a chunk's frames one after the other: PnP from the points known, triangulation of new ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.motion.pure_rotation import is_pure_rotation, rotation_between, stop_would_show
from scal3r_ros.reconstruction.geometric.motion.start import (
    constant_velocity,
    restarted,
    with_unit_depth,
    without_start,
)
from scal3r_ros.reconstruction.geometric.motion.values import (
    STILL,
    KnownStart,
    Motion,
    MotionConfig,
    Refine,
    pose_of_frame,
    triangulated,
)
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, common_points
from scal3r_ros.reconstruction.protocol import ChunkHealth


def estimate_motion(
    table: TrackTable, frames: int, focal: float, start: KnownStart | None, config: MotionConfig, refine: Refine,
    own: int = 0,
) -> Motion:  # fmt: skip
    """Poses of all `frames`; `focal` in pixels turns the pixel settings into the z = 1 plane's unit.

    What was found by PnP and triangulation is handed to `refine`. The chunk's own frames begin with number `own`; where
    the points known are lost, motion starts anew among them.
    """
    sigma = config.sigma / focal
    if start is None:
        first = without_start(table, frames, sigma, config)
        if first.health is not ChunkHealth.OK:
            return first
        points, known = KnownStart(first.T_ref_cam, first.ids, first.points, 1.0).points_of(table)
        motion = with_unit_depth(refine(table, first.T_ref_cam, points, known))
        return replace(motion, inlier_share=first.inlier_share)
    T = np.tile(np.eye(4), (frames, 1, 1))
    shared = len(start.T_ref_cam)
    T[:shared] = start.T_ref_cam
    points, known = start.points_of(table)
    turned = is_pure_rotation(table, T, shared - 1, sigma)
    if turned is not None and stop_would_show(table, T, shared - 1, points, known, start.near_depth, sigma):
        return _stayed(table, turned, shared - 1, points, known)
    measured = list(range(shared)) if len(start.ids) else []  # without points, those frames were only extrapolated
    points, known = _grow(table, T, measured, points, known, sigma, config)
    for frame in range(shared, frames):
        velocity = np.linalg.inv(T[frame - 2]) @ T[frame - 1] if frame >= 2 else np.eye(4)
        guess = T[frame - 1] @ velocity
        pose = pose_of_frame(table, frame, points, known, guess, sigma, config)
        if pose is None:
            T[frame] = _turned_only(table, frame, T, guess)
            continue
        T[frame] = pose
        measured.append(frame)
        points, known = _grow(table, T, measured, points, known, sigma, config)
    failed = frames - shared - sum(frame >= shared for frame in measured)
    if failed > (frames - shared) // 2:
        anew = restarted(table, T, own, shared if 0 in measured else 0, start.near_depth, sigma, config)
        return constant_velocity(table, T, shared, failed) if anew is None else anew
    return refine(table.select(np.isin(table.frame, measured)), T, points, known)


def _stayed(
    table: TrackTable, T: NDArray[np.float64], first: int, points: NDArray[np.float64], known: NDArray[np.bool_]
) -> Motion:
    """A chunk whose camera stays where frame `first` is, with the points known before and no new ones.

    What a camera without a way triangulates is noise, and would soon be all that the motion rests on.
    """
    turn = T[first, :3, :3].T @ T[-1, :3, :3]
    if np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0)) < STILL:
        health, note = ChunkHealth.NO_PARALLAX, "the image hardly moves, so that the camera stands"
    else:
        health, note = ChunkHealth.PURE_ROTATION, "the image moves as one, so that the camera only turns"
    return Motion(T, table.ids[known], points[known], np.full(int(known.sum()), np.inf), health, note)


def _grow(
    table: TrackTable, T: NDArray[np.float64], measured: list[int], points: NDArray[np.float64],
    known: NDArray[np.bool_], sigma: float, config: MotionConfig,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # fmt: skip
    """Adds the tracks that the `measured` frames can triangulate; points known already stay."""
    new_points, new = triangulated(table.select(np.isin(table.frame, measured)), T, sigma, config)
    add = new & ~known
    return np.where(add[:, None], new_points, points), known | add


def _turned_only(
    table: TrackTable, frame: int, T: NDArray[np.float64], guess: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`guess` with the rotation that the image points themselves show against the frame before, where they can."""
    xy_before, xy = common_points(table, frame - 1, frame)
    if len(xy) < 8:
        return guess
    turned = guess.copy()
    turned[:3, :3] = T[frame - 1, :3, :3] @ rotation_between(xy_before, xy)
    return turned
