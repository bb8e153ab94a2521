"""The group laws of rigid motions, and GTSAM as an independent oracle."""

import gtsam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scal3r_ros.geometry import se3

number = st.floats(-3, 3, allow_subnormal=False)
rotvec = st.tuples(number, number, number).filter(lambda v: np.linalg.norm(v) < 3.1)
twist = st.tuples(st.tuples(number, number, number), rotvec).map(lambda parts: np.concatenate(parts))


@given(twist)
def test_log_is_the_inverse_of_exp(xi):
    np.testing.assert_allclose(se3.log(se3.exp(xi)), xi, atol=1e-8)


@given(twist)
def test_exp_agrees_with_gtsam(xi):
    expected = gtsam.Pose3.Expmap(np.concatenate([xi[3:], xi[:3]])).matrix()
    np.testing.assert_allclose(se3.exp(xi), expected, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 0.99e-4, 1.01e-4, 1e-3, np.pi - 1e-9])
def test_exp_and_log_hold_at_tiny_and_half_turns(angle):
    xi = np.array([1.0, -2.0, 3.0, *(angle * np.array([1.0, 2.0, -2.0]) / 3)])
    T = se3.exp(xi)
    np.testing.assert_allclose(T, gtsam.Pose3.Expmap(np.concatenate([xi[3:], xi[:3]])).matrix(), atol=1e-9)
    np.testing.assert_allclose(se3.exp(se3.log(T)), T, atol=1e-9)


@given(twist)
def test_inverse_undoes_a_pose(xi):
    T = se3.exp(xi)
    np.testing.assert_allclose(se3.invert(T) @ T, np.eye(4), atol=1e-9)


@given(twist, twist.filter(lambda xi: np.linalg.norm(xi[3:]) < 1.5))
@settings(max_examples=50)
def test_interpolation_meets_both_ends_at_constant_speed(start, motion):
    T_0 = se3.exp(start)
    T_1 = T_0 @ se3.exp(motion)
    path = se3.interpolate(T_0, T_1, np.array([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(path[[0, 2]], [T_0, T_1], atol=1e-8)
    np.testing.assert_allclose(se3.log(se3.invert(T_0) @ path[1]), 0.25 * motion, atol=1e-8)


@given(rotvec)
def test_quaternions_come_back_as_the_same_rotation(v):
    R = se3.rotation_exp(v)
    q = se3.quat_xyzw(R)
    assert q[3] >= 0
    np.testing.assert_allclose(se3.rotation_from_quat_xyzw(-2 * q), R, atol=1e-12)
    assert se3.rotation_angle(R) == pytest.approx(np.linalg.norm(v), abs=1e-7)


def test_a_quaternion_has_its_scalar_last():
    half_turn_about_z = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(se3.quat_xyzw(half_turn_about_z), [0, 0, 1, 0], atol=1e-12)


def test_batches_give_what_their_members_give():
    xi = np.random.default_rng(0).normal(size=(2, 3, 6))
    T = se3.exp(xi)
    assert T.shape == (2, 3, 4, 4)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(T[index], se3.exp(xi[index]))
        np.testing.assert_allclose(se3.invert(T)[index], se3.invert(T[index]))
    np.testing.assert_allclose(se3.log(T), xi, atol=1e-12)
    assert se3.log(np.zeros((0, 4, 4))).shape == (0, 6)


def test_only_rotations_are_rotations():
    assert se3.is_rotation(se3.rotation_exp([0.1, 0.2, 0.3]))
    assert not se3.is_rotation(np.diag([1.0, 1.0, -1.0]))
    assert not se3.is_rotation(1.1 * np.eye(3))
    assert not se3.is_rotation(np.full((3, 3), np.nan))
    assert not se3.is_rotation(np.eye(4))
