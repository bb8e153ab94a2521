"""What memory_ablation says of a mapper whose errors are known, and that it goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.memory_ablation.__main__ import main
from benchmarks.memory_ablation.drives import Drive, DriveFolder, DriveSet, chunks_of
from benchmarks.memory_ablation.measure import Network, Row, Rule, measure, measure_mapped, preset_of
from scal3r_ros.assembly import CoreConfig, core_config
from scal3r_ros.errors import ConfigurationError, ModelError
from scal3r_ros.geometry import se3
from scal3r_ros.model import preset_named, random_model, save_checkpoint
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Previous

FRAMES, WIDTH, HEIGHT = 24, 128, 64
SMALL = ["--frames", str(FRAMES), "--width", str(WIDTH), "--height", str(HEIGHT), "--least-chunks", "3"]
SMALL += ["--chunk", "6", "--overlap", "2", "--kinds", "street", "corridor", "--workers", "1"]


class _Oracle:
    """Says the truth, at another scale in each chunk."""

    name, max_parallel_chunks = "oracle", 1
    memory = recall = None

    def __init__(self, drive: Drive, scale_of: Callable[[int], float]) -> None:
        self._drive, self._scale_of = drive, scale_of

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        indices = [frame.index for frame in chunk.frames]
        scale = self._scale_of(chunk.index)
        T = self._drive.clip.T_world_cam[indices]
        T = se3.invert(T[len(T) // 2]) @ T
        T[:, :3, 3] *= scale
        depth = np.stack([self._drive.depth_m(index) * scale for index in indices]).astype(np.float32)
        cameras = tuple(frame.intrinsics for frame in chunk.frames if frame.intrinsics is not None)
        return ChunkGeometry(T, cameras, depth, (depth > 0).astype(np.float32))

    def reset(self) -> None:
        pass

    def metrics(self) -> Mapping[str, int | float]:
        return {}

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def config() -> CoreConfig:
    return core_config({"window.size": 6, "window.overlap": 2, "loops.enabled": False})[0]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory, config: CoreConfig) -> Drive:
    chosen = DriveSet(1, FRAMES, WIDTH, HEIGHT, ("street",), seed=1, least_chunks=4)
    folder = DriveFolder(tmp_path_factory.mktemp("drives"), chosen, config)
    folder.prepare(0)
    return folder.load(0)


@pytest.fixture(autouse=True)
def _as_many_threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _row(drive: Drive, config: CoreConfig, scale_of: Callable[[int], float]) -> Row:
    return measure_mapped(drive, "oracle", Rule("frozen"), _Oracle(drive, scale_of), config)


def test_drive_has_the_chunks_asked_for(drive: Drive, config: CoreConfig) -> None:
    assert len(list(chunks_of(config, drive.frames()))) >= 4
    assert len(drive.clip) == FRAMES


def test_truth_at_one_scale_has_no_errors(drive: Drive, config: CoreConfig) -> None:
    row = _row(drive, config, lambda chunk: 0.5)
    assert row.posed >= FRAMES - 6
    assert row.chunks >= 4
    assert row.ate_share == pytest.approx(0.0, abs=2e-3)
    assert row.rigid_ate_share == pytest.approx(0.0, abs=1e-6)
    for error in (row.seam_spread_truth, row.seam_spread_mapper, row.scale_spread, row.depth_own, row.depth_one):
        assert error == pytest.approx(0.0, abs=1e-3)
    assert row.seams_by_points == 1.0


def test_scales_that_change_show_at_seams_but_not_in_the_mapped_drive(drive: Drive, config: CoreConfig) -> None:
    steps = (0.0, 0.3, -0.2, 0.1, 0.4, -0.3)
    row = _row(drive, config, lambda chunk: float(np.exp(steps[chunk % len(steps)])))
    logs = np.array([steps[chunk % len(steps)] for chunk in range(row.chunks)])
    assert row.seams_truth == pytest.approx(-np.diff(logs), abs=1e-3)
    assert row.seams_mapper == pytest.approx(-np.diff(logs), abs=5e-3)
    assert row.scale_spread == pytest.approx(logs.std(), abs=1e-3)
    assert row.depth_own == pytest.approx(0.0, abs=1e-3)
    assert row.depth_one is not None
    assert row.depth_one > 0.05
    assert row.ate_share is not None
    assert row.rigid_ate_share is not None
    assert row.ate_share < 5e-3 < row.rigid_ate_share


def test_nothing_mapped_gives_no_errors(drive: Drive, config: CoreConfig) -> None:
    class Standing(_Oracle):
        def reconstruct(
            self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()
        ) -> ChunkGeometry:
            said = super().reconstruct(chunk, previous)
            nothing = np.zeros_like(said.depth)
            return ChunkGeometry(np.tile(np.eye(4), (len(said.depth), 1, 1)), said.intrinsics, nothing, nothing)

    row = measure_mapped(drive, "oracle", Rule("frozen"), Standing(drive, lambda chunk: 1.0), config)
    assert row.rigid_ate_share is None
    assert row.depth_one is None
    assert row.seam_spread_truth is None


def test_offline_differs_from_frozen_apart_by_its_memory_alone(drive: Drive, config: CoreConfig) -> None:
    model = random_model(preset_named("tiny"), 0).requires_grad_(False)
    for _, unit in model.aggregator.units():
        unit.proj.weight.zero_()
        unit.proj.bias.zero_()
    config = replace(config, network=NetworkConfig(image_width=WIDTH))
    apart, offline = (measure(drive, "tiny", model, Rule.parse(rule), config) for rule in ("frozen:apart", "offline"))
    assert offline.seams_truth == pytest.approx(apart.seams_truth, abs=1e-3)
    assert offline.depth_own == pytest.approx(apart.depth_own, abs=1e-3)
    assert offline.rigid_ate_share == pytest.approx(apart.rigid_ate_share, abs=1e-3)


@pytest.mark.parametrize("text", ["running", "running:0.97", "sequential", "frozen", "frozen:apart", "offline"])
def test_rules_are_read(text: str) -> None:
    assert str(Rule.parse(text)) == text.replace(":", " ")


@pytest.mark.parametrize("text", ["walking", "running:2", "frozen:0.9", ""])
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--rules"):
        Rule.parse(text)


def test_checkpoints_are_read() -> None:
    assert Network.parse("2x=some/tiny.safetensors:2x") == Network("2x", Path("some/tiny.safetensors"), "2x")
    assert Network.parse("some/tiny.safetensors") == Network("tiny", Path("some/tiny.safetensors"), "tiny")


def test_larger_shapes_are_tiny_with_more_memory() -> None:
    tiny, larger = preset_named("tiny"), preset_of("4x")
    assert tiny.memory is not None
    assert larger.memory is not None
    assert larger.memory.expansion == 4 * tiny.memory.expansion
    assert preset_of("1x").fingerprint() == tiny.fingerprint()
    with pytest.raises(ModelError):
        preset_of("enormous")


@pytest.mark.slow
def test_one_command_measures_reports_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, out = tmp_path / "nano.safetensors", tmp_path / "out"
    save_checkpoint(random_model(preset_named("nano"), 0), weights)
    rules = ["running", "running:0.9", "sequential", "frozen", "frozen:apart", "offline"]
    command = ["--checkpoint", f"{weights}:nano", f"again={weights}:nano", "--drives", "2", "--out", str(out), *SMALL]
    main([*command, "--rules", *rules])
    told = capsys.readouterr().out
    assert "running ÷ frozen" in told
    assert "offline ÷ frozen apart" in told
    assert "## Size of the memory" in told
    assert {path.name for path in out.glob("memory_ablation.*")} == {
        f"memory_ablation.{kind}" for kind in ("csv", "json", "md", "png")
    }
    summary = json.loads((out / "memory_ablation.json").read_text())
    assert summary["results"]["nano"]["running"]["ate_m"]["against_frozen"]["drives"] == 2
    # Equal weights give equal rows, which are kept once.
    kept = {path: path.stat().st_mtime_ns for path in (out / "rows").glob("*.json")}
    assert len(kept) == 2 * len(rules)

    table = (out / "memory_ablation.csv").read_bytes()
    lost = sorted(kept)[0]
    lost.unlink()
    main([*command, "--rules", *rules])
    assert (out / "memory_ablation.csv").read_bytes() == table
    assert {path for path in kept if path.stat().st_mtime_ns != kept[path]} == {lost}


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="does not exist"):
        main(["--checkpoint", str(tmp_path / "none.safetensors"), "--out", str(tmp_path)])
