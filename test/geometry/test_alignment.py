"""Robust similarity alignment: exact on exact data, unmoved by outliers, and honest about its errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scal3r_ros.errors import GeometryError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.alignment import align_sim3
from scal3r_ros.geometry.sim3 import Sim3

number = st.floats(-2, 2, allow_subnormal=False)
similarity = (
    st.lists(number, min_size=7, max_size=7)
    .map(np.array)
    .filter(lambda xi: np.linalg.norm(xi[3:6]) < 3.1)
    .map(Sim3.from_log)
)
RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(60, 3)) * [3, 2, 1] + [1, 2, 8]
POSES = se3.exp(RNG.normal(size=(4, 6)))
TRUE = Sim3.from_log([1.0, -2.0, 3.0, 0.3, -0.4, 0.5, 0.6])


def error(fit, true):
    """δ of the estimate, in the order of its covariance."""
    return (fit.transform.inverse() @ true).log()


@given(similarity)
@settings(max_examples=50)
def test_exact_points_give_the_exact_similarity(S):
    fit = align_sim3(CLOUD, S.apply(CLOUD))
    np.testing.assert_allclose(error(fit, S), 0, atol=1e-8)
    assert fit.inlier_fraction == 1.0
    assert fit.count == len(CLOUD)


@given(similarity)
@settings(max_examples=50)
def test_three_points_are_enough_and_poses_alone_too(S):
    np.testing.assert_allclose(error(align_sim3(CLOUD[:3], S.apply(CLOUD[:3])), S), 0, atol=1e-6)
    nothing = np.zeros((0, 3))
    fit = align_sim3(nothing, nothing, None, POSES[:2], S.apply_pose(POSES[:2]))
    np.testing.assert_allclose(error(fit, S), 0, atol=1e-6)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("cluster", [False, True])
def test_a_third_of_outliers_does_not_move_the_fit(seed, cluster):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 3)) * 3
    y = TRUE.apply(x) + rng.normal(size=x.shape) * 0.02
    clean = error(align_sim3(x, y), TRUE)
    y[:100] = rng.normal(size=3) * 10 if cluster else rng.uniform(-30, 30, (100, 3))
    fit = align_sim3(x, y)
    assert np.abs(error(fit, TRUE)).max() < 3 * np.abs(clean).max() + 0.002
    assert fit.inlier_fraction == pytest.approx(2 / 3, abs=0.03)
    assert fit.residual_rms < 0.05


def test_similar_wrong_matches_on_one_side_leave_no_bias():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 3)) * 3
    y = TRUE.apply(x) + rng.normal(size=x.shape) * 0.02
    y[:120] += [0.0, 0.0, 2.0]
    assert np.abs(error(align_sim3(x, y), TRUE)).max() < 0.01


@pytest.mark.parametrize("outliers", [0, 40])
@pytest.mark.parametrize("symmetric", [False, True])
def test_covariance_matches_the_errors_of_many_trials(outliers, symmetric):
    rng = np.random.default_rng(1)
    squared = []
    for _ in range(150):
        x = rng.normal(size=(150, 3)) * [3, 2, 1] + [1, 2, 8]
        sigma = rng.uniform(0.02, 0.1, (150, 1))
        both = np.sqrt(0.5) if symmetric else 1.0
        y = TRUE.apply(x) + TRUE.scale * both * sigma * rng.normal(size=x.shape)
        y[:outliers] += rng.uniform(1, 10, (outliers, 3))
        if symmetric:
            x = x + both * sigma * rng.normal(size=x.shape)
        fit = align_sim3(x, y, 1 / sigma[:, 0] ** 2, symmetric=symmetric)
        delta = error(fit, TRUE)
        squared.append(delta @ np.linalg.solve(fit.covariance, delta))
    assert 0.8 < np.mean(squared) / 7 < 1.25  # the mean of 150 draws of χ²(7)/7 is 1 ± 0.044


def test_noise_on_both_sides_shrinks_only_the_one_sided_fit():
    rng = np.random.default_rng(2)
    true = rng.normal(size=(20_000, 3))
    x, y = true + 0.3 * rng.normal(size=true.shape), true + 0.3 * rng.normal(size=true.shape)
    assert align_sim3(x, y, symmetric=True).transform.scale == pytest.approx(1.0, abs=0.01)
    assert align_sim3(x, y).transform.scale < 0.95


def test_points_with_larger_weight_count_for_more():
    rng = np.random.default_rng(4)
    y = TRUE.apply(CLOUD)
    noise = rng.normal(size=y.shape)
    y[::2] += 1e-3 * noise[::2]
    y[1::2] += 0.3 * noise[1::2]
    sigma = np.where(np.arange(len(y)) % 2, 0.3, 1e-3)
    weighted, plain = align_sim3(CLOUD, y, 1 / sigma**2), align_sim3(CLOUD, y)
    assert np.linalg.norm(error(weighted, TRUE)) < 0.5 * np.linalg.norm(error(plain, TRUE))


def test_points_without_weight_do_not_count():
    y = TRUE.apply(CLOUD)
    y[0] += 100
    weights = np.ones(len(y))
    weights[0] = 0
    fit = align_sim3(CLOUD, y, weights)
    assert fit.count == len(y) - 1
    np.testing.assert_allclose(error(fit, TRUE), 0, atol=1e-9)


def test_scale_can_be_held_at_one():
    rigid = Sim3(1.0, TRUE.R, TRUE.t)
    fit = align_sim3(CLOUD, rigid.apply(CLOUD) + 0.01 * RNG.normal(size=CLOUD.shape), with_scale=False)
    assert fit.transform.scale == 1.0
    assert not fit.covariance[6].any()
    assert np.abs(error(fit, rigid)).max() < 0.05


def test_a_mirror_image_is_answered_by_a_rotation():
    fit = align_sim3(CLOUD, CLOUD * [1, 1, -1])
    assert se3.is_rotation(fit.transform.R)


def test_orientations_decide_what_collinear_points_leave_open():
    line = np.linspace(0, 1, 20)[:, None] * [1.0, 2.0, 3.0]
    fit = align_sim3(line, TRUE.apply(line), None, POSES[:1], TRUE.apply_pose(POSES[:1]))
    np.testing.assert_allclose(error(fit, TRUE), 0, atol=1e-6)


def test_poses_pull_by_their_weights():
    turned = POSES.copy()
    turned[:, :3, :3] = se3.rotation_exp([0.0, 0.0, 0.2]) @ POSES[:, :3, :3]
    angles = [
        se3.rotation_angle(align_sim3(CLOUD, CLOUD, None, POSES, turned, rotation_weight=weight).transform.R)
        for weight in (0.0, 100.0, 1e9)
    ]
    assert angles[0] == pytest.approx(0.0, abs=1e-6)
    assert 0.001 < angles[1] < 0.199
    assert angles[2] == pytest.approx(0.2, abs=1e-3)


def test_the_same_input_gives_the_same_bytes():
    y = TRUE.apply(CLOUD) + RNG.normal(size=CLOUD.shape)
    first, second = align_sim3(CLOUD, y), align_sim3(CLOUD, y)
    assert first.transform.matrix.tobytes() == second.transform.matrix.tobytes()
    assert first.covariance.tobytes() == second.covariance.tobytes()


LINE = np.arange(5.0)[:, None] * [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("source", "target", "weights", "message"),
    [
        (CLOUD[:2], CLOUD[:2], None, "only 2 points"),
        (CLOUD[:0], CLOUD[:0], None, "only 0 points"),
        (CLOUD, CLOUD, np.r_[np.ones(2), np.zeros(58)], "only 2 points"),
        (LINE, LINE, None, "collinear"),
        (CLOUD[:5], LINE, None, "collinear"),
        (np.ones((5, 3)), np.ones((5, 3)), None, "collinear"),
        (CLOUD, CLOUD[:-1], None, "shapes"),
        (CLOUD[:, :2], CLOUD[:, :2], None, "shapes"),
        (CLOUD, CLOUD, np.ones(3), "weights"),
        (CLOUD, CLOUD, -np.ones(60), "not negative"),
        (CLOUD, np.full_like(CLOUD, np.nan), None, "finite"),
    ],
)
def test_points_that_fix_no_similarity_are_refused(source, target, weights, message):
    with pytest.raises(GeometryError, match=message):
        align_sim3(source, target, weights)


def test_poses_that_fix_no_scale_are_refused():
    nothing = np.zeros((0, 3))
    with pytest.raises(GeometryError, match="scale"):
        align_sim3(nothing, nothing, None, POSES[:1], POSES[:1])
    with pytest.raises(GeometryError, match="shapes"):
        align_sim3(nothing, nothing, None, POSES, POSES[:1])
    with pytest.raises(GeometryError, match="at least 3 points"):
        align_sim3(CLOUD[:2], CLOUD[:2], None, POSES[:0], POSES[:0])
