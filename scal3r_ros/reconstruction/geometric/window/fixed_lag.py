"""The last keyframes of a drive, adjusted together: what a chunk starts from, and what its result goes back into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.configuration import parameter
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics, with_radial
from scal3r_ros.reconstruction.geometric.motion.estimate import estimate_motion
from scal3r_ros.reconstruction.geometric.motion.values import (
    KnownStart,
    Motion,
    MotionConfig,
    narrowest_angle,
    point_spread,
)
from scal3r_ros.reconstruction.geometric.tracks import track_table
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, consistent, triangulate
from scal3r_ros.reconstruction.geometric.window.adjustment import AdjustedWindow, adjust_window
from scal3r_ros.reconstruction.geometric.window.coefficient import SharedCoefficient
from scal3r_ros.reconstruction.geometric.window.depth_prior import MOST_NEED, expected_depth, need_of_prior
from scal3r_ros.reconstruction.geometric.window.health import contradiction
from scal3r_ros.reconstruction.geometric.window.shutter import imprecision, read_out_later, with_common_error
from scal3r_ros.reconstruction.geometric.window.step_covariance import step_covariance
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Features

Array = NDArray[np.float64]

_LOOSENESS = (3.0, 1.0, 1.0, 1.0, 1.0)
"""How many times as far off as usual observations may be in the rounds of adjusting a window; two are enough, unless
what is found of the readout still changes."""
_STEADY_S = 0.001


@dataclass(frozen=True)
class LagConfig:
    """How long keyframes go on being adjusted after their chunk."""

    keyframes: int = parameter(
        36, "keyframes that are adjusted together, or hold what they see in place", unit="frames", minimum=8,
        maximum=256,
    )  # fmt: skip
    fixed: int = parameter(
        8, "the oldest of those, which stay where they were found: they carry place and scale", unit="frames",
        minimum=2, maximum=128,
    )  # fmt: skip
    radial_sigma: float = parameter(
        0.0,
        "standard deviation of the radial distortion that rectified images may still have: its coefficient is found "
        "while the camera moves; 0 takes the calibration as exact, as a camera with a rolling shutter that is turned "
        "quickly should",
        minimum=0.0, maximum=0.2,
    )  # fmt: skip
    readout_s: float = parameter(
        0.0,
        "time that the camera takes to read out an image from its first row to its last: a rolling shutter; 0 for a "
        "global one",
        unit="s", minimum=0.0, maximum=0.1,
    )  # fmt: skip
    readout_sigma_s: float = parameter(
        0.0,
        "standard deviation of that time, which is then found while the camera moves; 0 takes it as exact",
        unit="s", minimum=0.0, maximum=0.1,
    )  # fmt: skip


@dataclass(frozen=True)
class WindowMotion:
    """The motion of a chunk's frames in the window's frame of reference, and the camera it was found with.

    `T_before_now` (4, 4) leads from the frame of reference that the chunk before was given in to this one's, None where
    the two do not hang together; `covariance` (7, 7) is that of δ in `T_before_now @ Sim3.from_log(δ)`.
    """

    motion: Motion
    camera: Intrinsics
    T_before_now: Array | None
    covariance: Array | None = None


@dataclass(frozen=True)
class _Kept:
    """Keyframes by `index`, oldest first, their features and poses (s, 4, 4), and the points (n, 3) of tracks `ids`.

    The last `newest` keyframes are those of the newest chunk.
    """

    index: tuple[int, ...]
    newest: int
    features: tuple[Features, ...]
    T: Array
    ids: NDArray[np.int64]
    points: Array


class FixedLagWindow:
    """State: the newest keyframes with their tracks, poses and points, and what is known of the camera's distortion and
    shutter.

    The frame of reference is the first camera of the newest chunk, at the scale of the first one.
    """

    def __init__(self, config: LagConfig, motion: MotionConfig) -> None:
        self._config, self._motion = config, motion
        self.reset()

    def reset(self) -> None:
        """Forget all keyframes, the distortion and the shutter."""
        self.begin()
        config = self._config
        self._distortion = SharedCoefficient(config.radial_sigma, config.keyframes / 8)
        self._readout = SharedCoefficient(config.readout_sigma_s, config.keyframes / 8, config.readout_s)

    def begin(self) -> None:
        """Forget all keyframes; the camera's distortion and shutter stay known."""
        self._kept: _Kept | None = None
        self._adjusted: tuple[AdjustedWindow, NDArray[np.bool_]] | None = None
        self._need = 0.0  # of expected depth in the newest window

    def follows(self, chunk: Chunk) -> bool:
        """Whether the chunk's shared frames are the newest of the window."""
        ends = tuple(frame.index for frame in chunk.frames[: chunk.shared])
        return self._kept is not None and chunk.shared >= 2 and self._kept.index[-chunk.shared :] == ends

    def estimate(
        self,
        chunk: Chunk,
        features: Sequence[Features],
        camera: Intrinsics,
        start: KnownStart | None,
        near_depth: float,
    ) -> WindowMotion:
        """Motion of the chunk's frames; from `start` where the window does not know the shared ones.

        `near_depth` of the last measured chunk is what a lost scale is taken up from.
        """
        kept = self._kept if self.follows(chunk) else None
        fresh = chunk.shared if kept is not None else 0
        index = (*(kept.index if kept else ()), *(frame.index for frame in chunk.frames[fresh:]))
        seen = (*(kept.features if kept else ()), *features[fresh:])
        if kept is not None:
            start = KnownStart(kept.T, kept.ids, kept.points, near_depth)
        camera = self._as_known(camera)
        table = track_table(seen, [camera] * len(seen))
        first = len(seen) - len(chunk.frames)
        blur = np.array([item.blur for item in seen])

        def refine(table: TrackTable, T: Array, points: Array, known: NDArray[np.bool_]) -> Motion:
            return self._refined(table, T, points, known, camera, blur)

        motion = estimate_motion(table, len(seen), camera.fx, start, self._motion, refine, first)
        if kept is not None and motion.health is ChunkHealth.OK:
            sights = np.bincount(table.frame[np.isin(table.ids[table.track], motion.ids)], minlength=len(seen))
            against = contradiction(motion.T_ref_cam, kept.T, sights, motion.inlier_share, self._motion.min_tracks)
            doubts = [against] if against else []
            if self._need > MOST_NEED:
                doubts.append("it shows little parallax for how far it turns: its scale is that of the points before")
            if doubts:
                note = f"its motion is doubtful: {'; '.join(doubts)}"
                motion = replace(motion, health=ChunkHealth.DEGRADED, note=note)
        adjusted = motion.health in (ChunkHealth.OK, ChunkHealth.DEGRADED)
        if not adjusted:  # poses that are handed on from chunk to chunk without a new measurement
            motion = replace(motion, T_ref_cam=se3.renormalised(motion.T_ref_cam))
        continued = motion.health not in (ChunkHealth.FEW_TRACKS, ChunkHealth.LOST)
        T_now = motion.T_ref_cam[first]
        oldest = first if not continued else max(0, len(seen) - self._config.keyframes)
        self._keep(index, min(len(chunk.frames), len(seen) - oldest), seen, motion, oldest, T_now)
        to_now = se3.invert(T_now)
        motion = replace(
            motion,
            T_ref_cam=to_now @ motion.T_ref_cam[first:],
            points=motion.points @ to_now[:3, :3].T + to_now[:3, 3],
        )
        camera = self._as_known(camera)
        if kept is None or not adjusted:
            return WindowMotion(motion, camera, None)
        before = slice(len(kept.index) - kept.newest, len(kept.index))
        return WindowMotion(motion, camera, T_now, self._covariance(before, slice(first, len(seen))))

    def _as_known(self, camera: Intrinsics) -> Intrinsics:
        return replace(camera, radial=self._distortion.value, readout_s=self._readout.value)

    def _covariance(self, before: slice, now: slice) -> Array:
        """Of the step between two chunks in the window that was adjusted last."""
        assert self._adjusted is not None
        found, free = self._adjusted
        return step_covariance(
            found.equations, free, found.T_ref_cam, before, now, self._distortion.sigma, self._readout.sigma
        )

    def _keep(
        self, index: tuple[int, ...], newest: int, features: tuple[Features, ...], motion: Motion, first: int, T: Array
    ) -> None:
        to_now = se3.invert(T)
        self._kept = _Kept(
            index[first:],
            newest,
            features[first:],
            to_now @ motion.T_ref_cam[first:],
            motion.ids,
            motion.points @ to_now[:3, :3].T + to_now[:3, 3],
        )

    def _refined(
        self, table: TrackTable, T: Array, points: Array, known: NDArray[np.bool_], camera: Intrinsics, blur: Array
    ) -> Motion:
        """Adjustments with the outliers taken out before each; what is learnt of distortion and shutter is kept.

        `table` is corrected for the readout of `camera`; `blur` (s,) is how much less precise the points of each frame
        are.
        """
        config = self._motion
        sigma, count = config.sigma / camera.fx, len(T)
        free = np.arange(count) >= max(1, min(self._config.fixed, count - self._config.keyframes + self._config.fixed))
        free &= np.isin(np.arange(count), table.frame)
        radial, readout_s = self._distortion.value, camera.readout_s
        for number, looseness in enumerate(_LOOSENESS):
            self._need = need = need_of_prior(table, T, sigma)
            expected = expected_depth(table, T, points, known, need, sigma)
            points, known = expected.points, expected.known
            spread = imprecision(table, blur, sigma, self._readout.sigma)
            kept = consistent(table, points, known, T, looseness * config.outlier * sigma * spread)
            shown = replace(kept, xy=with_radial(kept.xy, radial))
            found = adjust_window(
                shown,
                T,
                points,
                free,
                radial,
                sigma=sigma,
                max_iterations=config.iterations,
                expected=expected.inverse_depth,
                blur=imprecision(shown, blur, sigma, self._readout.sigma),
            )
            T, points = _at_scale_of(T, found.T_ref_cam, found.points, free)
            take_in = self._readout.add if number == 0 else self._readout.revise
            take_in(readout_s + found.late_s, with_common_error(found.late_information, shown, sigma))
            later_s = self._readout.value - readout_s
            table, readout_s = read_out_later(table, later_s), self._readout.value
            again = triangulate(table, T)
            more = ~known & (again.angle > narrowest_angle(sigma, config))
            points, known = np.where(more[:, None], again.points, points), known | more
            if number > 0 and abs(later_s) < _STEADY_S:
                break
        self._adjusted = (found, free)
        self._distortion.add(found.radial, found.radial_information)
        spread = imprecision(table, blur, sigma, self._readout.sigma)
        final = consistent(table, points, known, T, config.outlier * sigma * spread)
        used = np.unique(final.track)
        share = len(final.track) / max(1, int((known[table.track]).sum()))
        spread_of_points = point_spread(final, points, T, sigma)[used]
        return Motion(T, table.ids[used], points[used], spread_of_points, ChunkHealth.OK, "", share)


def _at_scale_of(T: Array, adjusted_T: Array, points: Array, free: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The adjusted window at the scale it had, where a single fixed camera does not hold that."""
    if (~free).sum() > 1:
        return adjusted_T, points
    origin = adjusted_T[0, :3, 3]
    way = float(np.linalg.norm(T[:, :3, 3] - T[0, :3, 3], axis=1).sum())
    unit = way / max(float(np.linalg.norm(adjusted_T[:, :3, 3] - origin, axis=1).sum()), 1e-12)
    scaled = adjusted_T.copy()
    scaled[:, :3, 3] = origin + unit * (adjusted_T[:, :3, 3] - origin)
    return scaled, origin + unit * (points - origin)
