"""Chunks in step in a whole run: the mapper hands them over together, and a replay is whole and repeatable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from scal3r_ros.cli.main import app
from scal3r_ros.errors import ReconstructionError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping import MapperConfig, OnlineMapper
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame, Previous
from scal3r_ros.simulation.simulate import SimulatedFrame
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor

pytestmark = pytest.mark.timeout(300)

SETTINGS = (
    "reconstructor=scal3r",
    "network.preset=nano",
    "network.allow_random_weights=true",
    "network.precision=fp32",
    "network.confidence_half=1.5",
    "network.devices=[cpu,cpu]",
    "window.size=5",
    "window.overlap=2",
)


@dataclass
class Notebook:
    """Writes down what it is asked together; what it answers is good enough to go on."""

    max_parallel_chunks: int = 3
    refused: int | None = None
    asked: list[tuple[int, list[int]]] = field(default_factory=list)

    name = "notebook"
    memory = recall = None

    def reset(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing to end."""

    def metrics(self) -> dict[str, int | float]:
        return {}

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        self.asked.append((chunk.index, [later.index for later in following]))
        if chunk.index == self.refused:
            raise ReconstructionError("no")
        count = len(chunk.frames)
        T = np.tile(np.eye(4), (count, 1, 1))
        T[:, 2, 3] = 0.8 * np.arange(count)
        depth = np.full((count, 40, 80), 10.0, np.float32)
        camera = chunk.frames[0].intrinsics
        assert camera is not None
        return ChunkGeometry(T, (camera.scaled(80, 40),) * count, depth, np.ones_like(depth))


@pytest.fixture(scope="module")
def frames(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> list[Frame]:
    return [Frame(i, frame.stamp_ns, frame.image, street_camera) for i, frame in enumerate(street_frames[:40])]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in_step") / "street.bag"
    arguments = ["simulate", "-o", str(path), "--length", "24", "--width", "240", "--height", "96"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return path


def test_push_holds_chunks_until_there_are_as_many_as_go_together(frames: list[Frame]) -> None:
    notebook = Notebook()
    mapper = OnlineMapper(MapperConfig(window=WindowConfig(size=5, overlap=2)), notebook)
    updates = [update for frame in frames for update in mapper.push(frame)]
    full = len(notebook.asked)
    assert full >= 6
    assert full % 3 == 0
    updates += mapper.flush()
    assert [index for index, _ in notebook.asked] == list(range(len(notebook.asked)))
    assert len(notebook.asked) > full
    for index, following in notebook.asked[:full]:
        assert following == list(range(index + 1, index // 3 * 3 + 3))
    assert [update.submap.index for update in updates if update.submap is not None] == list(range(len(notebook.asked)))
    assert len(mapper.trajectory()) == len(frames)


def test_a_chunk_that_is_refused_costs_none_of_those_held_with_it(frames: list[Frame]) -> None:
    notebook = Notebook(refused=1)
    mapper = OnlineMapper(MapperConfig(window=WindowConfig(size=5, overlap=2)), notebook)
    refusals = 0
    for frame in frames:
        try:
            mapper.push(frame)
        except ReconstructionError:
            refusals += 1
    mapper.flush()
    assert refusals == 1
    assert [index for index, _ in notebook.asked] == list(range(len(notebook.asked)))
    assert mapper.counters()["submaps"] == len(notebook.asked) - 1


def test_a_reset_forgets_the_chunks_that_are_held(frames: list[Frame]) -> None:
    notebook = Notebook(max_parallel_chunks=100)
    mapper = OnlineMapper(MapperConfig(window=WindowConfig(size=5, overlap=2)), notebook)
    for frame in frames:
        mapper.push(frame)
    mapper.reset()
    assert mapper.flush() == []
    assert notebook.asked == []


def test_a_replay_on_two_devices_poses_every_image_and_is_repeatable(bag: Path, tmp_path: Path) -> None:
    for name in ("once", "twice"):
        arguments = ["replay", str(bag), "-o", str(tmp_path / name)]
        done = CliRunner().invoke(app, arguments + [word for one in SETTINGS for word in ("--set", one)])
        assert done.exit_code == 0, done.exception
    for name in ("trajectory.tum", "map.ply"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    run = yaml.safe_load((tmp_path / "once" / "run.yaml").read_text())
    counts = run["counts"]
    assert counts["frames_posed"] == counts["frames_in"] > 20
    assert counts["memory_chunks"] == counts["submaps"] > 2
    assert (counts["workers"], counts["workers_lost"]) == (2, 0)
    assert run["parameters"]["network.devices"] == ["cpu", "cpu"]


def test_a_mapper_on_workers_goes_on_when_one_is_lost(
    on_workers: Callable[[NetworkConfig], ChunkParallelReconstructor], tiny: NetworkConfig, frames: list[Frame]
) -> None:
    reconstructor = on_workers(replace(tiny, devices=("cpu", "cpu"), confidence_half=1.5))
    mapper = OnlineMapper(MapperConfig(window=WindowConfig(size=5, overlap=2)), reconstructor)
    notes = []
    for frame in frames:
        if frame.index == 20:
            reconstructor._pool._workers[0].kill()
        notes += [update.submap.note for update in mapper.push(frame) if update.submap is not None]
    mapper.flush()
    assert sum("was killed by SIGKILL; 1 left" in note for note in notes) == 1
    assert len(mapper.trajectory()) == len(frames)
    counters = mapper.counters()
    assert counters["memory_chunks"] == counters["submaps"]
    assert (counters["workers"], counters["workers_lost"]) == (1, 1)
