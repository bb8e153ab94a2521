"""Chunks of a synthetic scene, each in a gauge of its own, find back to one another."""

from dataclasses import replace

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.pose_graph import Edge, SubmapGraph
from scal3r_ros.mapping.submaps.alignment import AlignmentConfig, AlignmentMethod, align_chunk
from scal3r_ros.reconstruction.protocol import ChunkGeometry, ChunkHealth, Tracks

CAMERA = Intrinsics(fx=40.0, fy=40.0, cx=31.5, cy=23.5, width=64, height=48)
CONFIG = AlignmentConfig()
SHARED, LENGTH = 3, 8
GAUGE_A = Sim3.from_log([1.0, 2.0, -1.0, 0.3, 0.2, -0.1, 0.2])
GAUGE_B = Sim3.from_log([-3.0, 0.5, 2.0, -0.2, 0.4, 0.1, -0.5])
TRUE = GAUGE_A @ GAUGE_B.inverse()


def world_poses(first, count=LENGTH):
    """T_world_cam of a camera that drives forward and turns a little."""
    return se3.exp([[0.1 * i, 0.02 * i, 0.5 * i, 0.0, 0.02 * i, 0.0] for i in range(first, first + count)])


def depth_of(T):
    """z-depth of an undulating wall far ahead: the plane z = 15 tilted, by the camera's rays."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], axis=-1)
    normal = np.array([0.4, 0.3, 1.0])
    return (15.0 - normal @ T[:3, 3]) / (rays @ (T[:3, :3].T @ normal))


def chunk(first, gauge, *, seed=None, depth_noise=0.0, track_noise=0.0, tracks=True):
    """What a reconstructor in the given gauge would make of the frames from `first` on; `seed` of its noise."""
    rng = np.random.default_rng(seed)
    T = world_poses(first)
    depth = np.array([depth_of(pose) for pose in T])
    assert (depth > 0).all()
    depth = depth * gauge.scale * (1 + depth_noise * rng.normal(size=depth.shape))
    ids = np.arange(first * 20, first * 20 + 400)
    points = np.array([np.random.default_rng(int(i)).uniform([-10, -5, 8], [10, 5, 20]) for i in ids])
    points = gauge.apply(points + track_noise * rng.normal(size=points.shape))
    sigma = np.full(len(ids), gauge.scale * max(track_noise, 0.01), np.float32)
    return ChunkGeometry(
        T_chunk_cam=gauge.apply_pose(T),
        intrinsics=(CAMERA,) * LENGTH,
        depth=depth.astype(np.float32),
        confidence=np.full(depth.shape, 0.9, np.float32),
        tracks=Tracks(ids, points, sigma) if tracks else None,
    )


def pair(**options):
    seeds = options.pop("seeds", (None, None))
    a = chunk(0, GAUGE_A, seed=seeds[0], **options)
    return a, chunk(LENGTH - SHARED, GAUGE_B, seed=seeds[1], **options)


def blind(geometry, **changes):
    return replace(
        geometry,
        depth=np.zeros_like(geometry.depth),
        confidence=np.zeros_like(geometry.confidence),
        tracks=None,
        **changes,
    )


def error(alignment, true=TRUE):
    return (alignment.S_previous_current.inverse() @ true).log()


@pytest.mark.parametrize("tracks", [True, False])
def test_exact_chunks_are_aligned_exactly(tracks):
    alignment = align_chunk(*pair(tracks=tracks), SHARED, CONFIG)
    np.testing.assert_allclose(error(alignment), 0, atol=1e-5)
    assert alignment.method is AlignmentMethod.POINTS
    assert alignment.note == ""
    assert alignment.scale == pytest.approx(TRUE.scale, abs=1e-5)


def test_tracks_alone_are_enough():
    a, b = (replace(blind(geometry), tracks=geometry.tracks) for geometry in pair())
    alignment = align_chunk(a, b, SHARED, CONFIG)
    np.testing.assert_allclose(error(alignment), 0, atol=1e-5)
    assert alignment.method is AlignmentMethod.POINTS


def test_a_third_of_false_depth_and_tracks_does_not_matter():
    a, b = pair(depth_noise=0.02, track_noise=0.02, seeds=(1, 2))
    clean = error(align_chunk(a, b, SHARED, CONFIG))
    rng = np.random.default_rng(3)
    depth = b.depth.copy()
    depth[rng.random(depth.shape) < 0.3] *= 1.7
    points = b.tracks.points_chunk.copy()
    points[rng.random(len(points)) < 0.3] += 5.0
    spoilt = align_chunk(a, replace(b, depth=depth, tracks=replace(b.tracks, points_chunk=points)), SHARED, CONFIG)
    assert np.abs(error(spoilt)).max() < np.abs(clean).max() + 0.02
    assert 0.5 < spoilt.inlier_fraction < 0.9


def test_covariance_covers_the_errors_of_many_chunks():
    squared = []
    for k in range(40):
        alignment = align_chunk(*pair(depth_noise=0.03, track_noise=0.05, seeds=(2 * k, 2 * k + 1)), SHARED, CONFIG)
        delta = error(alignment)
        squared.append(delta @ np.linalg.solve(alignment.covariance, delta) / 7)
    # Independent errors are covered amply: `covariance_inflation` is there for errors of real chunks, which correlate.
    assert 0.05 < np.mean(squared) < 1.0


def test_chained_alignments_of_noisy_chunks_keep_the_scale():
    scales = [
        np.log(align_chunk(*pair(tracks=False, depth_noise=0.1, seeds=(2 * k, 2 * k + 1)), SHARED, CONFIG).scale)
        for k in range(30)
    ]
    assert np.mean(scales) == pytest.approx(np.log(TRUE.scale), abs=3 * np.std(scales) / np.sqrt(30) + 1e-3)


def test_unsure_depth_is_not_used():
    a, b = pair(tracks=False)
    depth, confidence = b.depth.copy(), b.confidence.copy()
    depth[:, ::2] *= 3
    confidence[:, ::2] = 0.1
    alignment = align_chunk(a, replace(b, depth=depth, confidence=confidence), SHARED, CONFIG)
    np.testing.assert_allclose(error(alignment), 0, atol=1e-5)
    assert alignment.inlier_fraction > 0.99


@pytest.mark.parametrize("unmeasured", [0, 1])
def test_a_chunk_that_was_not_measured_is_joined_by_its_poses(unmeasured):
    chunks = list(pair())
    chunks[unmeasured] = replace(chunks[unmeasured], health=ChunkHealth.NO_PARALLAX)
    alignment = align_chunk(*chunks, SHARED, CONFIG)
    np.testing.assert_allclose(error(alignment), 0, atol=1e-5)
    assert alignment.method is AlignmentMethod.POSES
    assert "no_parallax" in alignment.note


def test_too_few_points_leave_it_to_the_poses():
    a, b = pair()
    alignment = align_chunk(a, blind(b), SHARED, CONFIG)
    np.testing.assert_allclose(error(alignment), 0, atol=1e-5)
    assert alignment.method is AlignmentMethod.POSES
    assert "0 common points" in alignment.note


def test_points_that_contradict_each_other_leave_it_to_the_poses():
    a, b = pair(tracks=False)
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.05, 20, b.depth.shape).astype(np.float32)
    alignment = align_chunk(a, replace(b, depth=noise), SHARED, CONFIG)
    assert alignment.method is AlignmentMethod.POSES
    assert "do not fit" in alignment.note
    np.testing.assert_allclose(error(alignment), 0, atol=1e-5)


def test_a_standing_camera_is_joined_at_its_last_pose_and_keeps_the_scale():
    a, b = (
        blind(geometry, health=ChunkHealth.NO_PARALLAX, T_chunk_cam=np.repeat(geometry.T_chunk_cam[:1], LENGTH, axis=0))
        for geometry in pair()
    )
    alignment = align_chunk(a, b, SHARED, CONFIG)
    assert alignment.method is AlignmentMethod.LAST_POSE
    assert alignment.scale == 1.0
    joined = alignment.S_previous_current.apply_pose(b.T_chunk_cam[SHARED - 1])
    np.testing.assert_allclose(joined, a.T_chunk_cam[-1], atol=1e-12)
    assert "baseline" in alignment.note


def test_one_shared_frame_is_enough_with_points_and_joins_without():
    a, b = chunk(0, GAUGE_A), chunk(LENGTH - 1, GAUGE_B)
    np.testing.assert_allclose(error(align_chunk(a, b, 1, CONFIG)), 0, atol=1e-5)
    assert align_chunk(blind(a), blind(b), 1, CONFIG).method is AlignmentMethod.LAST_POSE


def test_every_way_of_aligning_gives_an_edge_the_graph_takes_and_worse_ones_are_looser():
    a, b = pair()
    still = np.repeat(b.T_chunk_cam[:1], LENGTH, axis=0)
    graph = SubmapGraph()
    graph.add_submap(0)
    loosenesses = []
    for i, current in enumerate((b, blind(b), blind(b, T_chunk_cam=still)), start=1):
        alignment = align_chunk(a, current, SHARED, CONFIG)
        graph.add_submap(i, Edge(0, i, alignment.S_previous_current, alignment.covariance))
        loosenesses.append(np.linalg.slogdet(alignment.covariance)[1])
    assert loosenesses == sorted(loosenesses)


def test_alignment_does_not_depend_on_the_gauges():
    a, b = pair(depth_noise=0.02, seeds=(1, 2))
    other = Sim3.from_log([5.0, -4.0, 3.0, 0.5, -0.6, 0.7, 1.5])
    tracks = replace(b.tracks, points_chunk=other.apply(b.tracks.points_chunk), sigma=other.scale * b.tracks.sigma)
    moved = replace(
        b, T_chunk_cam=other.apply_pose(b.T_chunk_cam), depth=(other.scale * b.depth).astype(np.float32), tracks=tracks
    )
    plain, turned = align_chunk(a, b, SHARED, CONFIG), align_chunk(a, moved, SHARED, CONFIG)
    np.testing.assert_allclose((turned.S_previous_current @ other).matrix, plain.S_previous_current.matrix, atol=1e-4)
    assert turned.residual_median == pytest.approx(plain.residual_median, rel=1e-2)


def test_the_same_chunks_give_the_same_bytes():
    a, b = pair(depth_noise=0.02, track_noise=0.02, seeds=(1, 2))
    first, second = (align_chunk(a, b, SHARED, CONFIG) for _ in range(2))
    assert first.S_previous_current.matrix.tobytes() == second.S_previous_current.matrix.tobytes()
    assert first.covariance.tobytes() == second.covariance.tobytes()


@pytest.mark.parametrize("shared", [0, LENGTH + 1])
def test_chunks_without_common_frames_are_refused(shared):
    with pytest.raises(MappingError, match="overlap"):
        align_chunk(*pair(), shared, CONFIG)
