"""Which frames confirm a depth and which look through it, in a scene of two planes."""

from __future__ import annotations

import numpy as np

from scal3r_ros.reconstruction.geometric.stereo.checks import cross_checked

H, W = 40, 60
K = np.array([[50.0, 0, 29.5], [0, 50.0, 19.5], [0, 0, 1]], np.float32)
STILL = np.eye(3, dtype=np.float32)[None]
SIDEWAYS = np.array([[-0.5, 0.0, 0.0]], np.float32)  # the other camera stands half a metre to the right


def plane(depth: float) -> np.ndarray:
    return np.full((H, W), depth, np.float32)


def test_the_same_surface_confirms_where_both_see_it() -> None:
    mean, confirmed, contradicted = cross_checked(plane(5.0), plane(5.0)[None], K, STILL, SIDEWAYS, 0.03, 1.0)
    assert confirmed[:, 5:].all()
    assert not confirmed[:, :5].any()  # left of what the other camera sees: half a metre is five pixels there
    assert not contradicted.any()
    np.testing.assert_allclose(mean, 5.0, rtol=1e-6)


def test_a_frame_that_sees_farther_contradicts_and_one_that_sees_less_far_does_not() -> None:
    _, confirmed, contradicted = cross_checked(plane(5.0), plane(8.0)[None], K, STILL, SIDEWAYS, 0.03, 1.0)
    assert contradicted[:, 5:].all()
    assert not confirmed.any()
    mean, confirmed, contradicted = cross_checked(plane(5.0), plane(3.0)[None], K, STILL, SIDEWAYS, 0.03, 1.0)
    assert not contradicted.any()
    assert not confirmed.any()
    np.testing.assert_array_equal(mean, plane(5.0))


def test_unknown_depth_says_nothing() -> None:
    _, confirmed, contradicted = cross_checked(plane(5.0), plane(0.0)[None], K, STILL, SIDEWAYS, 0.03, 1.0)
    assert not confirmed.any()
    assert not contradicted.any()
    mean, confirmed, contradicted = cross_checked(plane(0.0), plane(5.0)[None], K, STILL, SIDEWAYS, 0.03, 1.0)
    assert not mean.any()
    assert not confirmed.any()
    assert not contradicted.any()


def test_the_mean_is_of_inverse_depths_and_nearer_cameras_weigh_more() -> None:
    here = np.zeros((1, 3), np.float32)
    mean, _, _ = cross_checked(plane(5.0), plane(5.1)[None], K, STILL, here, 0.03, 1.0)
    share = (5.0 / 5.1) ** 2
    np.testing.assert_allclose(mean, (1 + share) / (1 / 5.0 + share / 5.1), rtol=1e-5)
    ahead = np.array([[0.0, 0.0, -4.0]], np.float32)  # four metres nearer to the surface, so sixteen times the weight
    mean, confirmed, _ = cross_checked(plane(5.0), plane(1.02)[None], K, STILL, ahead, 0.03, 1.0)
    seen = mean[18:22, 28:32][confirmed[18:22, 28:32] > 0]
    assert len(seen)
    assert np.all(seen > 5.018)


def test_turned_cameras_agree_on_a_wall() -> None:
    angle = np.radians(12.0)
    R = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    v, u = np.mgrid[0:H, 0:W]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones((H, W))], axis=-1)
    t = np.array([0.3, -0.1, 0.2])
    # The wall z = 6 of the first camera, seen by the other: n · p = 6 with n = R ẑ, moved by t.
    normal = R @ [0, 0, 1.0]
    other = (6.0 + normal @ t) / (rays @ normal)
    _, confirmed, contradicted = cross_checked(
        plane(6.0), other[None].astype(np.float32), K, R[None].astype(np.float32), t[None].astype(np.float32), 0.02, 1.0
    )
    assert confirmed[5:-5, 8:38].all()
    assert not contradicted.any()
