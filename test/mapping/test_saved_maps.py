"""Maps that outlive the mapper: saved, loaded, found again, continued, and kept on disk where they grow too large."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from scal3r_ros.errors import MappingError, ModelError
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.mapping.graph.pose_graph import Edge, EdgeKind
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.storage.contents import SavedMap
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.simulate import SimulatedFrame

Drain = Callable[[OnlineMapper, list[Frame]], list[MapUpdate]]
LATER_NS = 3600 * 10**9
WINDOW = WindowConfig(size=8, overlap=3)
ALONE = MapperConfig(window=WINDOW, loops=LoopConfig(enabled=False))


@pytest.fixture
def driven(oracle: Any, street: list[Frame], drain: Drain) -> OnlineMapper:
    mapper = OnlineMapper(ALONE, oracle)
    drain(mapper, street)
    return mapper


@pytest.fixture
def saved(driven: OnlineMapper, tmp_path: Path) -> Path:
    driven.save(tmp_path / "map")
    return tmp_path / "map"


@pytest.fixture
def second(street: list[Frame], street_frames: list[SimulatedFrame], oracle: Any) -> list[Frame]:
    """The same street an hour later, from its tenth image on."""
    oracle.truth = oracle.truth | {frame.stamp_ns + LATER_NS: frame for frame in street_frames}
    return [
        replace(frame, index=number, stamp_ns=frame.stamp_ns + LATER_NS) for number, frame in enumerate(street[10:])
    ]


def truth_of(frames: list[SimulatedFrame], later_ns: int = 0) -> Trajectory:
    return Trajectory(
        np.array([frame.stamp_ns + later_ns for frame in frames]), np.stack([frame.T_ref_cam for frame in frames])
    )


def true_edge(
    updates: list[MapUpdate], other: list[MapUpdate], i: int, j: int, truth: Any, error: Sim3 | None = None
) -> Edge:
    """The edge between the i-th submap of one drive and the j-th of another, as the truth has it."""
    poses = []
    for run, number in ((updates, i), (other, j)):
        chunk = [update for update in run if update.submap is not None][number].chunk
        assert chunk is not None
        poses.append((chunk.index, truth[chunk.frames[0].stamp_ns].T_ref_cam))  # the gauge is that of the first frame
    (i, T_world_i), (j, T_world_j) = poses
    S = Sim3.from_rigid(np.linalg.inv(T_world_i) @ T_world_j) @ (error or Sim3.identity())
    return Edge(i, j, S, 1e-4 * np.eye(7), EdgeKind.LOOP)


def test_a_saved_map_is_the_map_of_the_mapper(driven: OnlineMapper, saved: Path, street: list[Frame]) -> None:
    read = SavedMap(saved)
    np.testing.assert_array_equal(read.drives()[0].T_ref_cam, driven.trajectory().T_ref_cam)
    np.testing.assert_array_equal(read.cloud().points, driven.cloud().points)
    np.testing.assert_array_equal(read.cloud().colours, driven.cloud().colours)
    assert read.cameras() == ((street[0].intrinsics,) * len(street),)
    facts = StoredMap(saved).facts
    assert (facts["frames"], facts["drives"], facts["reconstructor"]) == (len(street), 1, "oracle")


def test_until_it_is_found_a_drive_on_a_loaded_map_is_as_on_none(
    saved: Path, oracle: Any, second: list[Frame], drain: Drain
) -> None:
    loaded, alone = OnlineMapper(ALONE, oracle), OnlineMapper(ALONE, oracle)
    loaded.load(StoredMap(saved))
    drain(loaded, second)
    drain(alone, second)
    assert loaded.counters()["submaps_unlocalized"] > 0
    np.testing.assert_array_equal(loaded.trajectory().T_ref_cam, alone.trajectory().T_ref_cam)
    np.testing.assert_array_equal(loaded.cloud().points, alone.cloud().points)
    assert len(loaded.drives()) == 1


def test_once_two_places_agree_both_drives_are_one_map(
    oracle: Any,
    street: list[Frame],
    street_frames: list[SimulatedFrame],
    second: list[Frame],
    drain: Drain,
    tmp_path: Path,
) -> None:
    first = OnlineMapper(ALONE, oracle)
    before = drain(first, street)
    first.save(tmp_path / "first")
    mapper = OnlineMapper(replace(ALONE, initial_median_depth_m=3.0), oracle)  # so that the own unit is another one
    mapper.load(StoredMap(tmp_path / "first"))
    after = drain(mapper, second[:30])
    assert not mapper.add_loop(true_edge(before, after, 2, 0, oracle.truth))
    assert len(mapper.drives()) == 1
    wrong = Sim3.from_log([4.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert not mapper.add_loop(true_edge(before, after, 1, 1, oracle.truth, wrong))
    assert mapper.add_loop(true_edge(before, after, 3, 1, oracle.truth))
    after += drain(mapper, second[30:])  # and goes on in the old map's frame

    drives = mapper.drives()
    assert [len(drive) for drive in drives] == [len(street), len(second)]
    np.testing.assert_allclose(drives[0].T_ref_cam, first.trajectory().T_ref_cam, atol=0.02)
    joined = Trajectory(
        np.concatenate([drive.stamps_ns for drive in drives]), np.concatenate([drive.T_ref_cam for drive in drives])
    )
    truths = [truth_of(street_frames), truth_of(street_frames[10:], LATER_NS)]
    truth = Trajectory(
        np.concatenate([part.stamps_ns for part in truths]), np.concatenate([part.T_ref_cam for part in truths])
    )
    assert compare_trajectories(truth, joined).metrics.ate_sim3_rmse_m < 0.3
    counters = mapper.counters()
    assert counters["submaps_unlocalized"] == 0
    assert counters["submaps"] == len({update.submap.index for update in before + after if update.submap is not None})

    mapper.save(tmp_path / "both")  # what was joined can be saved, loaded and joined again
    read = SavedMap(tmp_path / "both")
    for ours, theirs in zip(drives, read.drives(), strict=True):
        np.testing.assert_allclose(ours.T_ref_cam, theirs.T_ref_cam, atol=1e-12)
    np.testing.assert_array_equal(read.cloud().points, mapper.cloud().points)
    third = OnlineMapper(ALONE, oracle)
    third.load(StoredMap(tmp_path / "both"))
    last = drain(third, second[:30])
    third.add_loop(true_edge(after, last, 0, 0, oracle.truth))
    assert third.add_loop(true_edge(before, last, 3, 1, oracle.truth))
    assert [len(drive) for drive in third.drives()] == [len(street), len(second), 30]


def test_a_drive_finds_itself_in_the_map_by_what_it_sees(
    oracle: Any,
    street: list[Frame],
    street_frames: list[SimulatedFrame],
    second: list[Frame],
    drain: Drain,
    tmp_path: Path,
) -> None:
    config = replace(ALONE, loops=LoopConfig(min_gap_s=1.0, min_gap_submaps=2))
    first, mapper = OnlineMapper(config, oracle), OnlineMapper(config, oracle)
    drain(first, street)
    first.save(tmp_path)
    mapper.load(StoredMap(tmp_path))
    updates = drain(mapper, second)
    assert mapper.counters()["submaps_unlocalized"] == 0
    assert [update.corrected for update in updates if update.found] == [True]
    newest = [pose for update in updates for pose in update.poses][-1].T_odom_cam
    one, two = mapper.drives()
    np.testing.assert_allclose((mapper.T_map_odom() @ newest)[:3, 3], two.T_ref_cam[-1, :3, 3], atol=0.3)
    np.testing.assert_allclose(two.T_ref_cam[:, :3, 3], one.T_ref_cam[10:, :3, 3], atol=0.3)


def test_a_map_of_its_own_takes_no_places_of_the_loaded_one_along(
    oracle: Any, street: list[Frame], second: list[Frame], drain: Drain, tmp_path: Path
) -> None:
    config = replace(ALONE, loops=LoopConfig(min_gap_s=1.0, min_gap_submaps=2))
    first, mapper, third = (OnlineMapper(config, oracle) for _ in range(3))
    drain(first, street)
    first.save(tmp_path / "first")
    mapper.load(StoredMap(tmp_path / "first"))
    drain(mapper, second[:9])  # one submap: not enough to be found
    assert mapper.counters()["submaps_unlocalized"] > 0
    mapper.save(tmp_path / "own")
    own = StoredMap(tmp_path / "own")
    graph, places = own.arrays("graph"), own.arrays("places")
    assert set(places["keyframes_submaps"].tolist()) == set(graph["index"].tolist())
    assert len(places["places_codes"]) == len(places["keyframes_submaps"]) > 0
    third.load(own)
    drain(third, second)  # in which all places that are left can be looked at
    assert len(third.trajectory()) == len(second)


def test_a_loaded_map_that_was_not_found_is_never_overwritten(
    saved: Path, oracle: Any, second: list[Frame], drain: Drain, tmp_path: Path
) -> None:
    mapper = OnlineMapper(ALONE, oracle)
    mapper.load(StoredMap(saved))
    with pytest.raises(MappingError, match="no map to save yet"):
        mapper.save(saved)
    drain(mapper, second)
    with pytest.raises(MappingError, match="would be lost"):
        mapper.save(saved)
    mapper.save(tmp_path / "own")
    assert len(SavedMap(tmp_path / "own").drives()) == 1
    assert StoredMap(saved).facts["frames"] == 50


def test_the_camera_goes_on_while_a_map_is_saved(
    driven: OnlineMapper, street: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, goes_on = threading.Event(), threading.Event()
    compress = np.savez_compressed

    def slow(*arguments: Any, **arrays: Any) -> None:
        writing.set()
        assert goes_on.wait(30)
        compress(*arguments, **arrays)

    monkeypatch.setattr(np, "savez_compressed", slow)
    saving = threading.Thread(target=lambda: driven.save(tmp_path))
    saving.start()
    assert writing.wait(30)
    last_ns = street[-1].stamp_ns
    frames = [
        replace(frame, index=100 + number, stamp_ns=last_ns + 10**8 * (number + 1))
        for number, frame in enumerate(street[:5])
    ]
    for frame in frames:
        assert len(driven.observe(frame).poses) == 1
    assert driven.trajectory().stamps_ns[-1] == frames[-1].stamp_ns
    goes_on.set()
    saving.join(30)
    assert len(SavedMap(tmp_path).drives()[0]) == len(street)


@dataclass
class Learner:
    """Makes a reconstructor one that learns: it counts its chunks, and keeps the count in a file."""

    inner: Any
    kind: str = "a"
    learnt: list[int] = field(default_factory=list)
    max_parallel_chunks = 1

    @property
    def memory(self) -> Learner:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def reconstruct(self, chunk: Any, previous: Any, following: Any = ()) -> Any:
        self.learnt.append(len(chunk.frames))
        return self.inner.reconstruct(chunk, previous, following)

    def reset(self) -> None:
        self.learnt = []

    def snapshot(self, path: Path) -> None:
        path.write_text(f"{self.kind} {' '.join(map(str, self.learnt))}")

    def restore(self, path: Path) -> None:
        kind, *learnt = path.read_text().split()
        if kind != self.kind:
            raise ModelError(f"{path} belongs to another preset")
        self.learnt = [int(count) for count in learnt]


def test_the_memory_goes_on_where_it_was_and_that_of_another_preset_is_refused(
    oracle: Any, street: list[Frame], drain: Drain, tmp_path: Path
) -> None:
    learner = Learner(oracle)
    mapper = OnlineMapper(ALONE, learner)
    drain(mapper, street)
    learnt = list(learner.learnt)
    assert learnt
    mapper.save(tmp_path)
    fresh, foreign = Learner(oracle), Learner(oracle, "b")
    OnlineMapper(ALONE, fresh).load(StoredMap(tmp_path))
    assert fresh.learnt == learnt
    other = OnlineMapper(ALONE, foreign)
    drain(other, street[:20])
    before = other.trajectory()
    with pytest.raises(ModelError, match="another preset"):
        other.load(StoredMap(tmp_path))
    np.testing.assert_array_equal(other.trajectory().T_ref_cam, before.T_ref_cam)
    assert foreign.learnt


def test_old_submaps_leave_the_memory_in_full_and_come_back_with_the_map(
    oracle: Any, street: list[Frame], drain: Drain, tmp_path: Path
) -> None:
    pile = replace(ALONE, map=PointMapConfig(checked_submaps=0))  # what is on disk is not compared any more
    whole = OnlineMapper(pile, oracle)
    drain(whole, street)
    most = len(whole.cloud().points) // 3
    config = replace(pile, map=replace(pile.map, max_points=most), offload_directory=str(tmp_path / "offload"))
    small = OnlineMapper(config, oracle)
    drain(small, street)
    assert len(small.cloud().points) <= most
    assert small.counters()["submaps_on_disk"] > 0
    small.save(tmp_path / "map")
    again = OnlineMapper(config, oracle)
    again.load(StoredMap(tmp_path / "map"))
    small.close()
    assert again.counters()["submaps_on_disk"] > 0
    saved, true = SavedMap(tmp_path / "map").cloud(), whole.cloud()
    assert len(saved.points) >= 0.98 * len(true.points)
    distances = cKDTree(saved.points).query(true.points)[0]
    assert np.mean(distances < config.map.voxel_size) > 0.98
    again.close()
    assert list((tmp_path / "offload").iterdir()) == []


def test_a_saved_map_shows_what_the_map_showed_where_single_observations_do_not_count(
    oracle: Any, street: list[Frame], drain: Drain, tmp_path: Path
) -> None:
    mapper = OnlineMapper(replace(ALONE, map=PointMapConfig(min_observations=3)), oracle)
    drain(mapper, street)
    assert 0 < len(mapper.cloud().points) < 0.8 * mapper_points(oracle, street, drain)
    mapper.save(tmp_path)
    np.testing.assert_array_equal(SavedMap(tmp_path).cloud().points, mapper.cloud().points)


def mapper_points(oracle: Any, street: list[Frame], drain: Drain) -> int:
    mapper = OnlineMapper(ALONE, oracle)
    drain(mapper, street)
    return len(mapper.cloud().points)


def test_joining_a_loaded_map_loses_no_detail_where_both_together_are_too_large(
    oracle: Any, street: list[Frame], second: list[Frame], drain: Drain, tmp_path: Path
) -> None:
    first = OnlineMapper(ALONE, oracle)
    before = drain(first, street)
    first.save(tmp_path / "first")
    clouds = {}
    for name, most in (("fine", 10**7), ("small", len(first.cloud().points) * 11 // 10)):
        mapper = OnlineMapper(replace(ALONE, map=PointMapConfig(max_points=most, checked_submaps=0)), oracle)
        mapper.load(StoredMap(tmp_path / "first"))
        after = drain(mapper, second)
        mapper.add_loop(true_edge(before, after, 2, 0, oracle.truth))
        assert mapper.add_loop(true_edge(before, after, 3, 1, oracle.truth))
        mapper.save(tmp_path / name)
        clouds[name] = SavedMap(tmp_path / name).cloud().points
        assert mapper.counters()["submaps_unlocalized"] == 0
    assert mapper.counters()["submaps_on_disk"] > 0
    distances = cKDTree(clouds["small"]).query(clouds["fine"])[0]
    assert np.mean(distances < ALONE.map.voxel_size) > 0.98


def test_loops_that_the_graph_rejects_are_not_counted_as_loops_also_after_joining_a_loaded_map(
    oracle: Any, street: list[Frame], second: list[Frame], drain: Drain, tmp_path: Path
) -> None:
    first, mapper = OnlineMapper(ALONE, oracle), OnlineMapper(ALONE, oracle)
    before = drain(first, street)
    first.save(tmp_path)
    mapper.load(StoredMap(tmp_path))
    after = drain(mapper, second)
    mapper.add_loop(true_edge(before, after, 2, 0, oracle.truth))
    assert mapper.add_loop(true_edge(before, after, 3, 1, oracle.truth))
    loops = mapper.counters()["loops"]
    assert loops == len(mapper.loops()) == 1  # the other joins the two
    mapper.add_loop(true_edge(before, after, 4, 2, oracle.truth, Sim3.from_log([9.0, 0, 0, 0, 1.0, 0, 0.3])))
    counters = mapper.counters()
    assert counters["loops_dropped"] == 1
    assert counters["loops"] == len(mapper.loops()) == loops
    mapper.reset()
    assert mapper.counters()["loops"] == 0


def test_a_full_disk_costs_detail_is_told_once_and_the_drive_goes_on(
    oracle: Any, street: list[Frame], drain: Drain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    config = replace(ALONE, map=PointMapConfig(max_points=1000), offload_directory=str(tmp_path / "file" / "offload"))
    mapper = OnlineMapper(config, oracle)
    with caplog.at_level(logging.ERROR):
        drain(mapper, street)
    assert len(mapper.trajectory()) == len(street)
    assert mapper.counters()["submaps_lost"] > 1
    assert len([record for record in caplog.records if "lose detail" in record.message]) == 1
