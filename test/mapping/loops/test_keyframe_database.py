"""Kept keyframes come back as they were put in, from memory, from disk and from a snapshot."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.features.sift import find_local_features
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import project
from scal3r_ros.mapping.loops.keyframe_database import KeptKeyframe, KeyframeDatabase, keep_keyframe
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.simulate import SimulatedFrame


def kept(view: SimulatedFrame, camera: Intrinsics, submap: int = 3, with_view: bool = True) -> KeptKeyframe:
    frame = Frame(0, view.stamp_ns, view.image, camera)
    confidence = (view.depth_m > 0).astype(np.float32)
    features = find_local_features(view.image, 200)
    return keep_keyframe(submap, frame, view.T_ref_cam, view.depth_m, confidence, camera, features, 0.5, with_view)


@pytest.fixture(scope="module")
def keyframes(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> list[KeptKeyframe]:
    return [kept(view, street_camera, number // 2) for number, view in enumerate(street_frames[:12:3])]


def numbers(keyframe: KeptKeyframe) -> list[np.ndarray]:
    view = keyframe.view
    assert view is not None
    return [
        keyframe.T_submap_cam, keyframe.features.uv, keyframe.features.descriptors, keyframe.points_cam,
        keyframe.rays, keyframe.sigma, view.jpeg, view.camera, view.depth_camera,
    ]  # fmt: skip


def assert_same(one: KeptKeyframe, other: KeptKeyframe) -> None:
    assert (one.submap, one.stamp_ns) == (other.submap, other.stamp_ns)
    for a, b in zip(numbers(one), numbers(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.view is not None
    assert other.view is not None
    np.testing.assert_allclose(one.view.depth, other.view.depth, rtol=1e-3)


def test_points_lie_where_their_features_see_them(
    keyframes: list[KeptKeyframe], street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    keyframe = keyframes[0]
    assert len(keyframe.features) > 60
    uv = project(keyframe.points_cam.astype(np.float64), street_camera)[0]
    np.testing.assert_allclose(uv, keyframe.features.uv, atol=1e-3)
    column, row = np.rint(keyframe.features.uv).astype(int).T
    np.testing.assert_allclose(keyframe.points_cam[:, 2], street_frames[0].depth_m[row, column], rtol=1e-5)


@pytest.mark.parametrize("memory_mb", [64, 0])
def test_keyframes_come_back_in_any_order(keyframes: list[KeptKeyframe], memory_mb: int) -> None:
    database = KeyframeDatabase(memory_mb)
    assert [database.add(keyframe) for keyframe in keyframes] == [0, 1, 2, 3]
    for row in (2, 0, 3, 1):
        assert_same(database.keyframe(row), keyframes[row])
        assert database.submap(row) == keyframes[row].submap
        assert database.stamp_ns(row) == keyframes[row].stamp_ns
    database.clear()
    assert len(database) == 0


def test_a_restored_database_goes_on_as_the_original(keyframes: list[KeptKeyframe]) -> None:
    database, restored = KeyframeDatabase(64), KeyframeDatabase(0)
    for keyframe in keyframes[:3]:
        database.add(keyframe)
    restored.restore(database.snapshot(range(3)))
    assert restored.add(keyframes[3]) == 3
    for row in range(4):
        assert_same(restored.keyframe(row), keyframes[row])


def test_a_snapshot_of_what_is_on_disk_stays_as_it_was_taken(keyframes: list[KeptKeyframe]) -> None:
    database, restored = KeyframeDatabase(0), KeyframeDatabase(64)
    for keyframe in keyframes[:3]:
        database.add(keyframe)
    snapshot = database.snapshot(range(3))
    assert isinstance(snapshot["bytes"], np.memmap)
    database.add(keyframes[3])
    database.clear()
    restored.restore(snapshot)
    assert len(restored) == 3
    for row in range(3):
        assert_same(restored.keyframe(row), keyframes[row])


def test_a_snapshot_of_some_rows_holds_those_alone(keyframes: list[KeptKeyframe]) -> None:
    database, restored = KeyframeDatabase(64), KeyframeDatabase(64)
    for keyframe in keyframes:
        database.add(keyframe)
    restored.restore(database.snapshot([1, 3]))
    assert len(restored) == 2
    for row, number in enumerate((1, 3)):
        assert_same(restored.keyframe(row), keyframes[number])
        assert restored.submap(row) == keyframes[number].submap


def test_a_keyframe_without_a_view_is_small(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> None:
    database = KeyframeDatabase(64)
    database.add(kept(street_frames[0], street_camera, with_view=False))
    assert database.keyframe(0).view is None
    assert len(database.snapshot([0])["bytes"]) < 60_000


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where temporary files go is gone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))


@pytest.mark.usefixtures("no_disk")
def test_with_no_memory_at_all_everything_goes_to_disk(keyframes: list[KeptKeyframe]) -> None:
    database = KeyframeDatabase(0)
    with pytest.raises(MappingError, match="no room for kept keyframes") as caught:
        database.add(keyframes[0])
    assert "\n" not in str(caught.value)
    assert len(database) == 0


def _bytes_of(keyframe: KeptKeyframe) -> np.ndarray:
    alone = KeyframeDatabase(64)
    alone.add(keyframe)
    return alone.snapshot([0])["bytes"]


def _fill(database: KeyframeDatabase, keyframes: list[KeptKeyframe], up_to: int) -> None:
    for number in range(len(database), up_to):
        database.add(keyframes[number % len(keyframes)])


@pytest.mark.usefixtures("no_disk")
def test_a_disk_that_refuses_costs_what_exceeds_the_memory_and_nothing_else(keyframes: list[KeptKeyframe]) -> None:
    database = KeyframeDatabase(1)
    room = 2**20 // len(_bytes_of(keyframes[0]))
    _fill(database, keyframes, room // 2)
    with pytest.raises(MappingError, match="no room for kept keyframes"):
        _fill(database, keyframes, 2 * room)
    assert len(database) > room // 2
    for row in range(len(database)):
        assert_same(database.keyframe(row), keyframes[row % len(keyframes)])
