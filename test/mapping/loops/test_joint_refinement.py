"""The second look: both ends reconstructed together, in a frame and a unit of their own, give the edge between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scal3r_ros.features.sift import find_local_features
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.loops.joint_refinement import refine_jointly
from scal3r_ros.mapping.loops.keyframe_database import KeyframeDatabase, keep_keyframe
from scal3r_ros.mapping.submaps.alignment import AlignmentConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Frame
from scal3r_ros.simulation.simulate import SimulatedFrame

GAUGE = Sim3.from_log([3.0, -1.0, 2.0, 0.3, -0.2, 0.5, -0.7])
"""Of the joint reconstruction: its world in that of the simulation."""
SUBMAPS = {
    0: Sim3.from_log([1.0, 2.0, 0.0, 0.0, 0.1, 0.3, 0.4]),
    9: Sim3.from_log([8.0, 0.5, 0.0, 0.1, 0.0, -0.2, -0.3]),
}
"""True places of two submaps in the simulation's world, each in a unit of its own."""
COVARIANCE = 1e-2 * np.eye(7)


class Recaller:
    """Knows the truth of every frame, in a gauge of its own."""

    def __init__(self, truth: dict[int, SimulatedFrame], camera: Intrinsics) -> None:
        self.truth, self.camera, self.calls = truth, camera, 0
        self.answer: ChunkGeometry | None = None

    def recall(self, chunk: Chunk) -> ChunkGeometry | None:
        self.calls += 1
        seen = [self.truth[frame.stamp_ns] for frame in chunk.frames]
        for frame, view in zip(chunk.frames, seen, strict=True):
            assert np.abs(frame.image.astype(int) - view.image).mean() < 6.0  # the image itself, but for JPEG
        inverse = GAUGE.inverse()
        depth = np.stack([view.depth_m for view in seen]) * np.float32(inverse.scale)
        return ChunkGeometry(
            inverse.apply_pose(np.stack([view.T_ref_cam for view in seen])),
            (self.camera,) * len(seen),
            depth,
            ((depth > 0) & (depth < 40 * inverse.scale)).astype(np.float32),
        )


@pytest.fixture
def recaller(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> Recaller:
    return Recaller({view.stamp_ns: view for view in street_frames}, street_camera)


@pytest.fixture
def database(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> KeyframeDatabase:
    database = KeyframeDatabase(64)
    for number, view in enumerate(street_frames[:30:3]):
        submap = 0 if number < 5 else 9
        S_submap_world = SUBMAPS[submap].inverse()
        depth = view.depth_m * np.float32(S_submap_world.scale)
        frame = Frame(number, view.stamp_ns, view.image, street_camera)
        confidence = ((view.depth_m > 0) & (view.depth_m < 40)).astype(np.float32)
        features = find_local_features(view.image, 100)
        T = S_submap_world.apply_pose(view.T_ref_cam)
        database.add(keep_keyframe(submap, frame, T, depth, confidence, street_camera, features, 0.5, True))
    return database


TRUE = SUBMAPS[0].inverse() @ SUBMAPS[9]


def look(first: Sim3, database: KeyframeDatabase, recaller: Recaller) -> Edge | None:
    edge = Edge(0, 9, first, COVARIANCE, EdgeKind.LOOP)
    return refine_jointly(edge, (4, 9), database, SUBMAPS, recaller.recall, AlignmentConfig())


def test_the_edge_is_measured_anew_in_the_units_of_both_submaps(database: KeyframeDatabase, recaller: Recaller) -> None:
    edge = look(TRUE @ Sim3.from_log([0.3, 0.1, -0.2, 0.01, 0.0, 0.01, 0.05]), database, recaller)
    assert edge is not None
    assert (edge.i, edge.j, edge.kind) == (0, 9, EdgeKind.LOOP)
    np.testing.assert_allclose((TRUE.inverse() @ edge.S_i_j).log(), 0.0, atol=0.02)
    np.testing.assert_array_equal(edge.covariance, edge.covariance.T)
    assert np.linalg.eigvalsh(edge.covariance)[0] > 0


def test_a_loop_that_the_second_look_contradicts_is_refused(database: KeyframeDatabase, recaller: Recaller) -> None:
    assert look(TRUE @ Sim3(1.0, np.eye(3), np.array([40.0, 0.0, 0.0])), database, recaller) is None
    assert look(TRUE @ Sim3.from_log([0.0, 0.0, 0.0, 0.0, 0.35, 0.0, 0.0]), database, recaller) is None
    assert look(TRUE @ Sim3(1.6, np.eye(3), np.zeros(3)), database, recaller) is None
    assert recaller.calls == 3


def test_a_reconstruction_that_was_not_measured_says_nothing(database: KeyframeDatabase, recaller: Recaller) -> None:
    recall = recaller.recall

    def poor(chunk: Chunk) -> ChunkGeometry | None:
        geometry = recall(chunk)
        return None if geometry is None else replace(geometry, health=ChunkHealth.NO_PARALLAX)

    recaller.recall = poor  # type: ignore[method-assign]
    assert look(TRUE, database, recaller) is None
    recaller.recall = lambda chunk: None  # type: ignore[method-assign]
    assert look(TRUE, database, recaller) is None


def test_matched_keyframes_are_neighbours_in_the_joint_chunk(database: KeyframeDatabase, recaller: Recaller) -> None:
    chunks: list[Chunk] = []
    recall = recaller.recall
    recaller.recall = lambda chunk: chunks.append(chunk) or recall(chunk)  # type: ignore[method-assign,func-returns-value]
    look(TRUE, database, recaller)
    stamps = [frame.stamp_ns for frame in chunks[0].frames]
    old, new = (stamps.index(database.stamp_ns(row)) for row in (4, 9))
    assert new == old + 1
    assert stamps[: old + 1] == sorted(stamps[: old + 1])
    assert stamps[new:] == sorted(stamps[new:], reverse=True)
    assert len(stamps) == len(set(stamps)) == 10
