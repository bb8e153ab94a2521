"""What of the motion of image points the camera's own turning does not explain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import rays_of
from scal3r_ros.reconstruction.protocol import Features

Array = NDArray[np.float64]

_ROUNDS = 4


def parallax(before: Features, after: Features, camera: Intrinsics) -> float:
    """Median motion in pixels of the tracks that both frames hold, less what the best rotation of the camera explains.

    Infinite where they hold none. A camera that moves sideways past a wall shows less than it moves: a turn looks
    much the same.
    """
    _, i, j = np.intersect1d(before.ids, after.ids, assume_unique=True, return_indices=True)
    if not len(i):
        return float("inf")
    there, here = rays_of(camera.on_unit_plane(before.uv)[i]), rays_of(camera.on_unit_plane(after.uv)[j])
    weight, left = np.ones(len(i)), np.zeros(len(i))
    for _ in range(_ROUNDS):  # Kabsch, with Cauchy weights
        U, _, Vt = np.linalg.svd((here * weight[:, None]).T @ there)
        R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
        left = np.linalg.norm(np.cross(there @ R.T, here), axis=1)
        weight = 1.0 / (1.0 + np.square(left / max(float(np.median(left)), 1e-9)))
    return float(np.median(left)) * camera.fx
