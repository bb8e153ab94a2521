"""The pose of one camera from scene points it sees, with its covariance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3

ITERATIONS = 100


@dataclass(frozen=True)
class CameraPose:
    """`T_ref_cam` (4, 4) and its `covariance` (6, 6) in the reference frame (translation, rotation); `inliers` (n,)."""

    T_ref_cam: NDArray[np.float64]
    covariance: NDArray[np.float64]
    inliers: NDArray[np.bool_]


def pose_from_points(
    points_ref: NDArray[np.float64], xy: NDArray[np.float64], T_ref_cam_guess: NDArray[np.float64], sigma: float,
    *, outlier: float = 5.0, min_inliers: int = 10, min_share: float = 0.25,
) -> CameraPose | None:  # fmt: skip
    """Robust PnP: `points_ref` (n, 3) seen at `xy` (n, 2) on the z = 1 plane with standard deviation `sigma`.

    None where fewer than `min_inliers` points, or a smaller share than `min_share`, lie within `outlier` standard
    deviations for a pose near the guess.
    """
    if len(points_ref) < min_inliers:
        return None
    guess = se3.invert(T_ref_cam_guess)
    threshold = outlier * sigma
    inliers = _residuals(points_ref, xy, guess) < threshold
    if inliers.mean() < 0.6:
        found, rotation, translation, chosen = cv2.solvePnPRansac(
            points_ref, xy, np.eye(3), None, cv2.Rodrigues(guess[:3, :3])[0], guess[:3, 3:].copy(),
            useExtrinsicGuess=True, iterationsCount=ITERATIONS, reprojectionError=threshold, confidence=0.999,
            flags=cv2.SOLVEPNP_ITERATIVE,
        )  # fmt: skip
        if not found or chosen is None:
            return None
        guess = se3.se3(cv2.Rodrigues(rotation)[0], translation[:, 0])
        inliers = _residuals(points_ref, xy, guess) < threshold
    for _ in range(2):
        if inliers.sum() < min_inliers:
            return None
        rotation, translation = cv2.solvePnPRefineLM(
            points_ref[inliers], xy[inliers], np.eye(3), None, cv2.Rodrigues(guess[:3, :3])[0], guess[:3, 3:].copy()
        )
        guess = se3.se3(cv2.Rodrigues(rotation)[0], translation[:, 0])
        inliers = _residuals(points_ref, xy, guess) < threshold
    if inliers.sum() < max(min_inliers, min_share * len(xy)) or not np.isfinite(guess).all():
        return None
    T_ref_cam = se3.invert(guess)
    return CameraPose(T_ref_cam, _covariance(points_ref[inliers], T_ref_cam, sigma), inliers)


def _residuals(
    points_ref: NDArray[np.float64], xy: NDArray[np.float64], T_cam_ref: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Image distance (n,) on the z = 1 plane; infinite behind the camera."""
    local = points_ref @ T_cam_ref[:3, :3].T + T_cam_ref[:3, 3]
    in_front = local[:, 2] > 1e-9
    z = np.where(in_front, local[:, 2], 1.0)
    distance = np.linalg.norm(local[:, :2] / z[:, None] - xy, axis=1)
    return np.where(in_front, distance, np.inf)


def _covariance(points_ref: NDArray[np.float64], T_ref_cam: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Inverse of the information that the image points carry about a shift and a turn of the camera in the reference
    frame.
    """
    offset = points_ref - T_ref_cam[:3, 3]
    local = offset @ T_ref_cam[:3, :3]
    x, y, z = local.T
    projection = np.zeros((len(z), 2, 3))
    projection[:, 0, 0] = projection[:, 1, 1] = 1.0 / z
    projection[:, 0, 2], projection[:, 1, 2] = -x / z**2, -y / z**2
    by_point = projection @ T_ref_cam[:3, :3].T  # d xy / d (point − centre)
    turn = np.zeros((len(z), 3, 3))  # d (point − centre) / d rotation about the reference axes: [offset]×
    turn[:, 0, 1], turn[:, 0, 2], turn[:, 1, 2] = -offset[:, 2], offset[:, 1], -offset[:, 0]
    turn -= turn.transpose(0, 2, 1)
    jacobian = np.concatenate([-by_point, by_point @ turn], axis=2)
    information = np.einsum("nij,nik->jk", jacobian, jacobian) / sigma**2
    spread = np.sqrt(np.maximum(np.diag(information), 1e-12))
    normed = information / np.outer(spread, spread) + 1e-9 * np.eye(6)
    return np.asarray(np.linalg.inv(normed) / np.outer(spread, spread))
