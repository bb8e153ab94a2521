"""The group laws of similarities, and GTSAM's Similarity3 as an independent oracle."""

import gtsam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3

number = st.floats(-2, 2, allow_subnormal=False)
tangent = st.lists(number, min_size=7, max_size=7).map(np.array).filter(lambda xi: np.linalg.norm(xi[3:6]) < 3.1)
similarity = tangent.map(Sim3.from_log)
POINTS = np.random.default_rng(0).normal(size=(5, 3))


@given(tangent)
def test_log_is_the_inverse_of_from_log(xi):
    np.testing.assert_allclose(Sim3.from_log(xi).log(), xi, atol=1e-7)


@given(tangent)
def test_exponential_is_gtsams_with_rotation_and_translation_swapped(xi):
    S = Sim3.from_log(xi)
    oracle = gtsam.Similarity3.Expmap(xi[[3, 4, 5, 0, 1, 2, 6]])
    for point, moved in zip(POINTS, S.apply(POINTS), strict=True):
        np.testing.assert_allclose(moved, oracle.transformFrom(point), atol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-5, 0.3, 3.1])
@pytest.mark.parametrize("log_scale", [0.0, -1e-12, 1e-8, 1e-5, -0.7, 2.0])
def test_exponential_is_that_of_the_matrix_to_rounding(angle, log_scale):
    rotvec = angle * np.array([2.0, -1.0, 2.0]) / 3.0
    generator = np.zeros((4, 4))
    generator[:3, :3] = se3.hat(rotvec) + log_scale * np.eye(3)
    generator[:3, 3] = [1.0, -2.0, 3.0]
    S = Sim3.from_log([1.0, -2.0, 3.0, *rotvec, log_scale])
    np.testing.assert_allclose(S.matrix, expm(generator), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(S.log()[:3], [1.0, -2.0, 3.0], rtol=1e-12)


@given(similarity, similarity)
def test_composition_applies_the_right_one_first(a, b):
    np.testing.assert_allclose((a @ b).apply(POINTS), a.apply(b.apply(POINTS)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, rtol=1e-9, atol=1e-9)


@given(similarity)
def test_inverse_brings_points_back(S):
    np.testing.assert_allclose(S.inverse().apply(S.apply(POINTS)), POINTS, atol=1e-9)


@given(similarity, tangent)
def test_adjoint_carries_a_tangent_vector_to_the_other_side(S, xi):
    small = 1e-3 * xi
    left = Sim3.from_log(S.adjoint() @ small) @ S
    np.testing.assert_allclose(left.matrix, (S @ Sim3.from_log(small)).matrix, atol=1e-9)


@given(similarity, tangent)
def test_a_moved_camera_sees_the_moved_points_at_scaled_range(S, xi):
    T_b_cam = se3.exp(xi[:6])
    T_a_cam = S.apply_pose(T_b_cam)
    assert se3.is_rotation(T_a_cam[:3, :3])
    seen_before = (POINTS - T_b_cam[:3, 3]) @ T_b_cam[:3, :3]
    seen_after = (S.apply(POINTS) - T_a_cam[:3, 3]) @ T_a_cam[:3, :3]
    np.testing.assert_allclose(seen_after, S.scale * seen_before, rtol=1e-9, atol=1e-9)


def test_poses_move_in_batches():
    T = se3.exp(np.random.default_rng(1).normal(size=(4, 2, 6)))
    S = Sim3.from_log(np.array([1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_allclose(S.apply_pose(T)[3, 1], S.apply_pose(T[3, 1]))


def test_a_rigid_similarity_is_its_pose():
    T = se3.exp([1.0, 2.0, 3.0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(Sim3.from_rigid(T).matrix, T)
    np.testing.assert_allclose(Sim3.identity().matrix, np.eye(4))
    np.testing.assert_allclose(Sim3.from_rigid(T, scale=2.0).apply(np.ones(3)), T[:3, :3] @ (2 * np.ones(3)) + T[:3, 3])
