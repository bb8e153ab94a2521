"""The street that a camera drives on: its centreline and its ground, from the camera's trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from scal3r_ros.errors import SimulationError

POINT_SPACING_M = 1.0
SMOOTHING_M = 4.0
SAME_STREET_M = 7.0
RUN_ON_M = 90.0
GROUND_SMOOTHING_M = 12.0


@dataclass(frozen=True)
class Centreline:
    """Points along every street, once: where the camera returns to a street, no second one is laid.

    `points` (m, 2) metres; `heading` (m,) rad; `arc` (m,) metres along the stretch; `joined` (m,) whether a point and
    the next one are connected.
    """

    points: NDArray[np.float64]
    heading: NDArray[np.float64]
    arc: NDArray[np.float64]
    joined: NDArray[np.bool_]

    def stretches(self) -> list[slice]:
        """Runs of joined points, each at least two long."""
        ends = np.flatnonzero(~self.joined) + 1
        begins = np.concatenate([[0], ends[:-1]])
        return [slice(int(a), int(b)) for a, b in zip(begins, ends, strict=True) if b - a >= 2]


def lay_centreline(path_xy: NDArray[np.float64]) -> Centreline:
    """The centreline of the streets along a path (n, 2), in metres, continued straight beyond both ends.

    Raises:
        SimulationError: the path is shorter than 2 m, too short for the direction of a street.
    """
    points = _resample(path_xy)
    if len(points) < 3:
        raise SimulationError("drive covers less than 2 m, which is too short to lay a street along it")
    points = gaussian_filter1d(_run_on(points), SMOOTHING_M / POINT_SPACING_M, axis=0, mode="nearest")
    points = _resample(points)
    new = _new_street(points)
    step = np.diff(points, axis=0)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    heading = np.append(heading, heading[-1])
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(step, axis=1))])
    joined = np.append(new[:-1] & new[1:], False)
    kept = np.flatnonzero(new)
    return Centreline(points[kept], heading[kept], arc[kept], joined[kept])


class Ground:
    """A smooth ground through a path (n, 3) in metres, z up."""

    def __init__(self, path_xyz: NDArray[np.float64]) -> None:
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path_xyz[:, :2], axis=0), axis=1))])
        kept = np.unique(np.searchsorted(length, np.arange(0.0, length[-1] + 1e-9, 2.0)))
        path = path_xyz[np.minimum(kept, len(path_xyz) - 1)]
        self._heights = path[:, 2]
        self._places = cKDTree(path[:, :2])

    def heights(self, at_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Heights (k,) at places (k, 2), all in metres."""
        count = min(32, len(self._heights))
        distance, index = (result.reshape(-1, count) for result in self._places.query(at_xy, k=count))
        excess = distance**2 - distance.min(axis=1, keepdims=True) ** 2  # far away the nearest still counts
        weight = np.exp(-excess / (2.0 * GROUND_SMOOTHING_M**2))
        return np.asarray((weight * self._heights[index]).sum(axis=1) / weight.sum(axis=1))


def _resample(path: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.linalg.norm(np.diff(path, axis=0), axis=1)
    moving = np.append(True, step > 1e-6)
    arc = np.concatenate([[0.0], np.cumsum(step)])[moving]
    at = np.arange(0.0, arc[-1] + 1e-9, POINT_SPACING_M)
    return np.column_stack([np.interp(at, arc, path[moving, axis]) for axis in range(2)])


def _run_on(points: NDArray[np.float64]) -> NDArray[np.float64]:
    span = min(8, len(points) - 1)
    far = np.arange(1.0, RUN_ON_M, POINT_SPACING_M)[:, None]
    begin = (points[0] - points[span]) / np.linalg.norm(points[0] - points[span])
    end = (points[-1] - points[-1 - span]) / np.linalg.norm(points[-1] - points[-1 - span])
    return np.concatenate([points[0] + far[::-1] * begin, points, points[-1] + far * end])


def _new_street(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each point is farther than SAME_STREET_M from every point that was passed long before it."""
    pairs = cKDTree(points).query_pairs(SAME_STREET_M, output_type="ndarray")
    apart = np.abs(pairs[:, 0] - pairs[:, 1]) * POINT_SPACING_M > 4.0 * SAME_STREET_M
    new = np.ones(len(points), np.bool_)
    new[pairs[apart].max(axis=1, initial=0) if apart.any() else []] = False
    new[0] = True
    return new
