"""The start from two views against true poses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.reconstruction.geometric.motion.start import widest_baseline_pair
from scal3r_ros.reconstruction.geometric.triangulation import MIN_COMMON, common_points

SIGMA = 0.5 / 300.0


@pytest.mark.parametrize(("outliers", "turn_deg", "way_deg"), [(0.0, 0.2, 2.0), (0.1, 0.2, 2.0), (0.2, 1.0, 5.0)])
def test_the_pose_is_found_up_to_scale(
    world: Any, drive: Any, outliers: float, turn_deg: float, way_deg: float
) -> None:
    given = world(drive(8), noise_px=0.3, outliers=outliers)
    found = widest_baseline_pair(given.table, 8, SIGMA)
    assert found is not None
    assert found.i == 0
    true = se3.invert(given.T_ref_cam[0]) @ given.T_ref_cam[found.j]
    direction = true[:3, 3] / np.linalg.norm(true[:3, 3])
    assert np.linalg.norm(found.T_i_j[:3, 3]) == pytest.approx(1.0)
    assert np.rad2deg(se3.rotation_angle(true[:3, :3].T @ found.T_i_j[:3, :3])) < turn_deg
    assert np.rad2deg(np.arccos(np.clip(direction @ found.T_i_j[:3, 3], -1, 1))) < way_deg


def test_the_pair_with_more_parallax_is_taken(world: Any) -> None:
    T = np.tile(np.eye(4), (4, 1, 1))
    T[:, 0, 3] = [0.0, 0.05, 0.1, 1.0]
    found = widest_baseline_pair(world(T, noise_px=0.2).table, 4, SIGMA)
    assert found is not None
    assert (found.i, found.j) == (0, 3)


def test_standing_turning_and_few_tracks_give_no_pair(world: Any, drive: Any) -> None:
    standing = np.tile(np.eye(4), (5, 1, 1))
    turning = np.stack([se3.se3(se3.rotation_exp([0, 0.03 * i, 0]), [0, 0, 0]) for i in range(5)])
    for T in (standing, turning):
        assert widest_baseline_pair(world(T, noise_px=0.3).table, 5, SIGMA) is None
    few = world(drive(5), points=MIN_COMMON // 2)
    assert widest_baseline_pair(few.table, 5, SIGMA) is None


def test_common_points_belong_together(world: Any, drive: Any) -> None:
    given = world(drive(6))
    xy_1, xy_4 = common_points(given.table, 1, 4)
    for number in range(0, len(xy_1), 17):
        rows = [
            np.flatnonzero((given.table.frame == f) & (given.table.xy == xy).all(axis=1))
            for f, xy in ((1, xy_1[number]), (4, xy_4[number]))
        ]
        assert given.table.track[rows[0][0]] == given.table.track[rows[1][0]]
