"""What the mapper promises to callers on any thread: no call raises, blocks for ever or mixes two maps."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.mapping.cloud.config import PointMapConfig
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.reconstruction.protocol import Chunk, Frame
from scal3r_ros.simulation.simulate import SimulatedFrame

SMALL_CHUNKS = MapperConfig(window=WindowConfig(size=8, overlap=3))
STRESS_S = 8.0


def chunks_of(mapper: OnlineMapper, frames: list[Frame]) -> list[Chunk]:
    return [chunk for frame in frames if (chunk := mapper.observe(frame).chunk) is not None]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_reset_in_the_middle_of_any_chunk_drops_that_chunk(oracle: Any, street: list[Frame], number: int) -> None:
    mapper = OnlineMapper(SMALL_CHUNKS, oracle)
    chunks = chunks_of(mapper, street)
    for chunk in chunks[:number]:
        assert mapper.map_chunk(chunk).submap is not None
    oracle.gate, oracle.started = threading.Event(), threading.Event()
    results: list[MapUpdate] = []
    worker = threading.Thread(target=lambda: results.append(mapper.map_chunk(chunks[number])))
    worker.start()
    assert oracle.started.wait(30)
    mapper.reset()
    oracle.gate.set()
    worker.join(30)
    assert len(results) == 1
    assert results[0].submap is None
    assert "reset" in results[0].note
    assert mapper.counters()["submaps"] == len(mapper.trajectory()) == len(mapper.cloud().points) == 0
    for frame in street:
        mapper.push(replace(frame, index=frame.index + 1000))
    mapper.flush()
    assert len(mapper.trajectory()) == len(street)


def test_a_reset_in_the_middle_of_a_chunk_resets_the_reconstructor_after_it(oracle: Any, street: list[Frame]) -> None:
    calls: list[str] = []
    reconstruct = oracle.reconstruct

    def recorded(*arguments: Any) -> Any:
        calls.append("begin")
        geometry = reconstruct(*arguments)
        calls.append("end")
        return geometry

    oracle.reconstruct, oracle.reset = recorded, lambda: calls.append("reset")
    mapper = OnlineMapper(SMALL_CHUNKS, oracle)
    chunk = chunks_of(mapper, street[:20])[0]
    oracle.gate = threading.Event()
    worker = threading.Thread(target=lambda: mapper.map_chunk(chunk))
    worker.start()
    assert oracle.started.wait(30)
    mapper.reset()
    oracle.gate.set()
    worker.join(30)
    assert calls == ["begin", "end", "reset"]


class Held:
    """Holds a thread's calls of OpenCV's refinement of poses until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.thread: threading.Thread | None = None
        self.entered, self.let_go = threading.Event(), threading.Event()
        refine = cv2.solvePnPRefineLM

        def held(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread() is self.thread:
                self.entered.set()
                assert self.let_go.wait(30)
            return refine(*arguments, **named)

        monkeypatch.setattr(cv2, "solvePnPRefineLM", held)


def test_the_camera_goes_on_while_a_new_submap_poses_the_frames_that_waited(
    oracle: Any, street: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    mapper, in_step = (OnlineMapper(SMALL_CHUNKS, oracle) for _ in range(2))
    held = Held(monkeypatch)
    runs = [(each, chunks_of(each, street[:30])) for each in (mapper, in_step)]
    for each, chunks in runs:
        each.map_chunk(chunks[0])
    mapper, chunks = runs[0]
    held.thread = threading.Thread(target=lambda: mapper.map_chunk(chunks[1]))
    held.thread.start()
    assert held.entered.wait(30)
    meanwhile: list[int] = []
    camera = threading.Thread(target=lambda: meanwhile.extend(len(mapper.observe(f).poses) for f in street[30:34]))
    camera.start()
    camera.join(20)
    went_on = list(meanwhile)
    held.let_go.set()
    held.thread.join(30)
    camera.join(30)
    assert went_on == [1, 1, 1, 1]

    in_step, chunks = runs[1]
    for frame in street[30:34]:
        in_step.observe(frame)
    in_step.map_chunk(chunks[1])
    ours, theirs = mapper.trajectory(), in_step.trajectory()
    assert ours.stamps_ns.tolist() == theirs.stamps_ns.tolist()
    np.testing.assert_array_equal(ours.T_ref_cam, theirs.T_ref_cam)
    np.testing.assert_array_equal(  # and the next frames are tracked by the same points
        *(each.observe(street[34]).poses[0].covariance[3:, 3:] for each in (mapper, in_step))
    )


class Film:
    """Frames of the street, to and fro, for as long as one asks, under stamps and numbers that go on."""

    def __init__(self, street: list[Frame], views: list[SimulatedFrame], oracle: Any) -> None:
        self._street, self._views, self._truth = street, views, oracle.truth
        self._lock = threading.Lock()
        self._count = 0

    def next(self) -> Frame:
        with self._lock:
            number, self._count = self._count, self._count + 1
            step = number % (2 * len(self._street) - 2)
            place = step if step < len(self._street) else 2 * len(self._street) - 2 - step
            stamp = 2 * 10**12 + 10**8 * number
            self._truth[stamp] = self._views[place]
            return replace(self._street[place], index=number, stamp_ns=stamp)


def test_any_call_at_any_time_from_four_threads(
    oracle: Any, street: list[Frame], street_frames: list[SimulatedFrame], tmp_path: Path
) -> None:
    oracle.truth = dict(oracle.truth)
    config = replace(
        SMALL_CHUNKS,
        map=PointMapConfig(max_points=2000),
        loops=LoopConfig(min_gap_s=2.0, min_gap_submaps=2, memory_mb=0),
        offload_directory=str(tmp_path / "offload"),
    )
    mapper, film = OnlineMapper(config, oracle), Film(street, street_frames, oracle)
    for _ in range(30):
        mapper.push(film.next())
    mapper.save(tmp_path / "map")
    chunks: list[Chunk] = []

    def keep(chunk: Chunk | None) -> None:
        chunks.extend([] if chunk is None else [chunk])

    def map_one() -> None:
        try:
            chunk = chunks.pop(0)
        except IndexError:
            return
        mapper.map_chunk(chunk, chunks[:1])

    def save() -> None:
        try:
            mapper.save(Path(tempfile.mkdtemp(dir=tmp_path)))
        except MappingError as error:
            assert "no map to save yet" in str(error)  # noqa: PT017

    def add_loop() -> None:
        known = (*mapper.loops(), Edge(0, 10**6, Sim3.identity(), np.eye(7), EdgeKind.LOOP))
        try:
            mapper.add_loop(known[0])
        except MappingError as error:
            assert "in the graph" in str(error)  # noqa: PT017

    calls: list[tuple[int, Callable[[], object]]] = [
        (40, lambda: mapper.push(film.next())),
        (40, lambda: keep(mapper.observe(film.next(), random.random() < 0.2).chunk)),
        (20, map_one),
        (10, mapper.close_loops),
        (10, mapper.trajectory),
        (10, mapper.drives),
        (10, mapper.cloud),
        (10, lambda: mapper.cloud(100)),
        (10, mapper.counters),
        (10, mapper.T_map_odom),
        (5, mapper.loop_ends),
        (5, lambda: mapper.loops_waiting),
        (3, add_loop),
        (3, lambda: keep(mapper.close_window())),
        (3, mapper.flush),
        (2, mapper.reset),
        (2, save),
        (1, lambda: mapper.load(StoredMap(tmp_path / "map"))),
    ]
    weights, functions = zip(*calls, strict=True)
    until, errors = time.monotonic() + STRESS_S, []

    def caller(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until and not errors:
            (call,) = rng.choices(functions, weights)
            try:
                call()
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=caller, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STRESS_S + 60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]

    mapper.reset()  # and what comes afterwards is a map like any other
    for _ in range(40):
        mapper.push(film.next())
    mapper.flush()
    trajectory, counters = mapper.trajectory(), mapper.counters()
    assert len(trajectory) == 40
    assert np.isfinite(trajectory.T_ref_cam).all()
    assert counters["submaps"] > 1
    assert counters["map_points"] == len(mapper.cloud().points) > 0
    mapper.close()
    assert list((tmp_path / "offload").iterdir()) == []
