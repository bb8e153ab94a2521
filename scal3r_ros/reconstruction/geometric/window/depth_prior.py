"""Where the camera turns and hardly moves: points are expected to be as far away as those of the window are.

A point whose parallax is about as large as the error of its track comes out too near more often than too far, for those
that come out too far are passed over. Frames placed by such points come out too close together, new points nearer
again, and the scale collapses. An expected depth for every track, whether it shows parallax or not, takes that away.
Source: the depth filters of Civera, Davison & Montiel 2008 (inverse depth), here as a prior of the adjustment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.reconstruction.geometric.triangulation import TrackTable, triangulate, turned

Array = NDArray[np.float64]

TURN_ERROR = 0.01
"""Error of a track as a share of the angle that its camera has turned: rolling shutter, blur, left-over distortion."""
ENOUGH, LITTLE = 12.0, 6.0
"""Parallax of tracks, in their errors, from which on their depth is all measured, and below which it is expected."""
LEAST_SPREAD = 0.6
"""Standard deviation of the inverse depth of a scene's points, as a share of their median, at least."""
MOST_NEED = 0.5
"""Need of expected depth from which on the scale of a window counts as not measured."""
_SIGHTS = 3
"""Frames that have to see a track which only an expected depth makes a point of."""


@dataclass(frozen=True)
class ExpectedDepth:
    """`points` (n, 3) with those added that only have an expected depth, which of them are `known` (n,), and what the
    adjustment is to expect of all: `inverse_depth` (n, 2) as `adjust_window` takes it."""

    points: Array
    known: NDArray[np.bool_]
    inverse_depth: Array


def need_of_prior(table: TrackTable, T_ref_cam: Array, sigma: float) -> float:
    """How far depth has to be expected for want of parallax: from 0, all is measured, to 1.

    `sigma` is one standard deviation of an image point on the z = 1 plane. Half of the tracks show less parallax than
    the one that decides.
    """
    often = table.lengths() >= _SIGHTS
    if not often.any():
        return 0.0
    shown = triangulate(table, T_ref_cam).angle / _error(table, T_ref_cam, sigma)
    return float(np.clip((ENOUGH - np.median(shown[often])) / (ENOUGH - LITTLE), 0.0, 1.0))


def expected_depth(
    table: TrackTable, T_ref_cam: Array, points: Array, known: NDArray[np.bool_], need: float, sigma: float
) -> ExpectedDepth:
    """What is expected of all tracks by those `known`, for a `need` above 0.

    The adjustment takes the errors of observations for independent; the more those of a track hang together, the more
    weight has what is expected.
    """
    count, lengths = len(table.ids), table.lengths()
    first = np.minimum(np.searchsorted(table.track, np.arange(count)), max(0, len(table.track) - 1))
    R, c = T_ref_cam[table.frame[first], :3, :3], T_ref_cam[table.frame[first], :3, 3]
    depth = np.einsum("nj,nj->n", R[:, :, 2], points - c)
    good = known & (lengths > 0) & (depth > 1e-9)
    if not need > 0 or not good.any():
        return ExpectedDepth(points, known, np.zeros((count, 2)))
    inverse = 1.0 / depth[good]
    middle = float(np.median(inverse))
    spread = max(LEAST_SPREAD * middle, 1.4826 * float(np.median(np.abs(inverse - middle))))
    worse = _error(table, T_ref_cam, sigma) / sigma
    expected = np.stack([np.full(count, middle), np.sqrt(need) * worse / spread], axis=1)
    fresh = ~known & (lengths >= _SIGHTS)
    rays = np.concatenate([table.xy[first], np.ones((count, 1))], axis=1)
    there = c + np.einsum("nij,nj->ni", R, rays) / middle
    return ExpectedDepth(np.where(fresh[:, None], there, points), known | fresh, expected)


def _error(table: TrackTable, T_ref_cam: Array, sigma: float) -> Array:
    """One standard deviation (n,) of what the observations of a track have in common, in rad."""
    return np.hypot(sigma, TURN_ERROR * turned(table, T_ref_cam))
