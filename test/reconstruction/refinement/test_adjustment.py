"""A network's chunk refined by tracks: made of the truth with the errors that networks make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from scal3r_ros.features.klt import KltConfig, KltTracker
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Frame, Previous
from scal3r_ros.reconstruction.refinement.adjustment import RefinementConfig, refined
from scal3r_ros.simulation.simulate import SimulatedFrame

CONFIG = RefinementConfig()
SMALL = (56, 112)
FRAMES = 10
SCALE = 0.07
"""Of the network's gauge: units a metre."""


@dataclass
class Network:
    """The truth in the gauge of the middle camera, with errors: of rotation (deg), of motion and depth (shares)."""

    rotation_deg: float = 0.7
    motion: float = 0.2
    depth: float = 0.1
    seen: list[int] = field(default_factory=list)

    def geometry(self, frames: list[SimulatedFrame], camera: Intrinsics, seed: int = 0) -> ChunkGeometry:
        rng = np.random.default_rng(seed)
        T = np.stack([frame.T_ref_cam for frame in frames])
        T = np.linalg.inv(T[len(T) // 2]) @ T
        T[:, :3, 3] *= SCALE
        step = float(np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).mean())
        for pose in T:
            pose[:3, :3] = pose[:3, :3] @ se3.rotation_exp(np.deg2rad(self.rotation_deg) * rng.normal(0, 0.6, 3))
            pose[:3, 3] += rng.normal(0, self.motion * step, 3)
        height, width = SMALL
        rows = np.linspace(0, camera.height - 1, height).round().astype(int)
        columns = np.linspace(0, camera.width - 1, width).round().astype(int)
        depth = np.stack([frame.depth_m[np.ix_(rows, columns)] for frame in frames]) * SCALE
        down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        tilt = rng.normal(0, self.depth, (3, len(frames), 1, 1))
        off = np.exp(tilt[0] * down + tilt[1] * across + 0.3 * tilt[2])
        sure = ((depth > 0) & (depth < 50 * SCALE)).astype(np.float32)
        return ChunkGeometry(
            T_chunk_cam=T,
            intrinsics=(camera.scaled(width, height),) * len(frames),
            depth=(depth * off * sure).astype(np.float32),
            confidence=0.8 * sure,
        )


@pytest.fixture(scope="module")
def seen(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> tuple[list[SimulatedFrame], Chunk]:
    """Every second frame of the street, tracked."""
    tracker = KltTracker(KltConfig())
    tracked = [
        Frame(index, frame.stamp_ns, frame.image, street_camera, tracker.track(frame.image))
        for index, frame in enumerate(street_frames[: 2 * FRAMES])
    ]
    return street_frames[: 2 * FRAMES : 2], Chunk(0, tuple(tracked[::2]), 0)


def errors(geometry: ChunkGeometry, exact: ChunkGeometry) -> tuple[float, float, float, float]:
    """Rotation (deg) and direction-and-length error (share) of the motion, depth error (share), scale of the motion."""
    ours, truth = (np.linalg.inv(g.T_chunk_cam[0]) @ g.T_chunk_cam for g in (geometry, exact))
    turned = np.einsum("nji,njk->nik", ours[1:, :3, :3], truth[1:, :3, :3])
    rotation = np.rad2deg(np.linalg.norm([se3.rotation_log(R) for R in turned], axis=1)).mean()
    way, true_way = ours[1:, :3, 3], truth[1:, :3, 3]
    motion = np.linalg.norm(way - true_way, axis=1).mean() / np.linalg.norm(true_way, axis=1).mean()
    known = (geometry.depth > 0) & (exact.depth > 0)
    depth = np.abs(geometry.depth[known] / exact.depth[known] - 1).mean()
    return float(rotation), float(motion), float(depth), float((way * true_way).sum() / np.square(true_way).sum())


@pytest.fixture(scope="module")
def exact(seen, street_camera: Intrinsics) -> ChunkGeometry:
    return Network(0.0, 0.0, 0.0).geometry(seen[0], street_camera)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_refinement_takes_most_of_the_error_out_and_keeps_the_scale(seen, exact, street_camera, seed):
    frames, chunk = seen
    rough = Network().geometry(frames, street_camera, seed)
    before, after = errors(rough, exact), errors(refined(chunk, rough, CONFIG, KltConfig()), exact)
    assert after[0] < 0.25 * before[0]
    assert after[2] < 0.8 * before[2]
    assert abs(after[3] - 1) < 0.06  # what the depth itself knows of the scale
    assert after[1] < 0.08


def test_what_was_exact_stays(seen, exact):
    geometry = refined(seen[1], exact, CONFIG, KltConfig())
    rotation, motion, depth, scale = errors(geometry, exact)
    assert rotation < 0.1
    assert motion < 0.02
    assert depth < 0.03
    assert abs(scale - 1) < 0.02
    assert geometry.tracks is not None
    assert len(geometry.tracks.ids) > 100
    assert (np.diff(geometry.tracks.ids) > 0).all()
    assert {"refine_s", "fit_s"} <= set(geometry.timings)


def test_depth_is_believed_less_where_the_tracks_contradict_it(seen, street_camera):
    rough = Network().geometry(seen[0], street_camera, 0)
    spoilt = rough.depth.copy()
    spoilt[:, :, 56:] *= np.exp(np.random.default_rng(0).normal(0, 0.5, spoilt[:, :, 56:].shape)).astype(np.float32)
    geometry = refined(seen[1], replace(rough, depth=spoilt), CONFIG, KltConfig())
    assert geometry.note == ""
    believed = np.where(rough.confidence > 0, geometry.confidence, np.nan)
    assert np.nanmedian(believed[:, :, 56:]) < 0.7 * np.nanmedian(believed[:, :, :56])
    assert (geometry.confidence[rough.confidence == 0] == 0).all()


def test_a_frame_whose_depth_no_track_meets_is_believed_as_before(seen, street_camera):
    rough = Network().geometry(seen[0], street_camera, 0)
    depth = rough.depth.copy()
    depth[3] = 0.0
    geometry = refined(seen[1], replace(rough, depth=depth), CONFIG, KltConfig())
    assert geometry.note == ""
    np.testing.assert_array_equal(geometry.confidence[3], rough.confidence[3])
    assert not np.array_equal(geometry.confidence[4], rough.confidence[4])


def test_the_first_camera_and_the_gauge_stay(seen, street_camera):
    rough = Network().geometry(seen[0], street_camera)
    geometry = refined(seen[1], rough, CONFIG, KltConfig())
    np.testing.assert_allclose(geometry.T_chunk_cam[0], rough.T_chunk_cam[0], atol=1e-4)


def test_shared_frames_stay_where_the_chunk_before_has_placed_them(seen, exact, street_camera):
    frames, chunk = seen
    before = Chunk(0, chunk.frames[:7], 0)
    first = refined(before, Network().geometry(frames[:7], street_camera, 0), CONFIG, KltConfig())
    rough = Network().geometry(frames[3:], street_camera, 1)
    second = Chunk(1, chunk.frames[3:], 4)
    ours = refined(second, rough, CONFIG, KltConfig(), Previous(before, first))
    assert ours.note == ""
    placed, known = (np.linalg.inv(T[0]) @ T for T in (ours.T_chunk_cam[:4], first.T_chunk_cam[3:7]))
    unit = np.linalg.norm(placed[3, :3, 3]) / np.linalg.norm(known[3, :3, 3])
    np.testing.assert_allclose(placed[:, :3, 3], unit * known[:, :3, 3], atol=1e-4)
    np.testing.assert_allclose(placed[:, :3, :3], known[:, :3, :3], atol=1e-3)
    true = Network(rotation_deg=0.0, motion=0.0, depth=0.0).geometry(frames[3:], street_camera)
    after = errors(ours, true)
    assert after[0] < 0.2
    assert after[1] < 0.1


def test_a_chunk_before_without_tracks_changes_nothing(seen, exact, street_camera):
    frames, chunk = seen
    rough = Network().geometry(frames[3:], street_camera, 1)
    second = Chunk(1, chunk.frames[3:], 4)
    before = Previous(Chunk(0, chunk.frames[:7], 0), Network().geometry(frames[:7], street_camera, 0))
    ours, alone = (refined(second, rough, CONFIG, KltConfig(), previous) for previous in (before, None))
    np.testing.assert_array_equal(ours.T_chunk_cam, alone.T_chunk_cam)


def test_nonsense_is_left_as_it_was_and_said(seen, street_camera):
    rough = Network(rotation_deg=40.0, motion=3.0, depth=1.0).geometry(seen[0], street_camera)
    geometry = refined(seen[1], rough, CONFIG, KltConfig())
    assert "too few tracks agree" in geometry.note
    np.testing.assert_array_equal(geometry.T_chunk_cam, rough.T_chunk_cam)
    np.testing.assert_array_equal(geometry.depth, rough.depth)


def test_a_chunk_that_was_not_measured_is_not_refined(seen, exact):
    carried = replace(exact, health=ChunkHealth.NOT_FINITE, note="why")
    assert refined(seen[1], carried, CONFIG, KltConfig()) is carried


def test_a_camera_without_calibration_is_refined_with_the_networks_own(seen, street_camera):
    frames, chunk = seen
    bare = replace(chunk, frames=tuple(replace(frame, intrinsics=None) for frame in chunk.frames))
    rough = Network().geometry(frames, street_camera)
    ours, theirs = (refined(given, rough, CONFIG, KltConfig()) for given in (bare, chunk))
    np.testing.assert_allclose(ours.T_chunk_cam, theirs.T_chunk_cam, atol=1e-3)
