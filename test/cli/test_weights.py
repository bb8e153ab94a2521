"""`scal3r weights` tells what there is and refuses what is not whole."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner, Result

from scal3r_ros.cli.main import app
from scal3r_ros.cli.weights import place_of
from scal3r_ros.errors import ModelError
from scal3r_ros.model import (
    PRESETS,
    PUBLISHED,
    load_checkpoint,
    plan_resize,
    preset_named,
    random_model,
    save_checkpoint,
    weights_fingerprint,
)
from scal3r_ros.reconstruction.network.plan import plan_memory


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SCAL3R_WEIGHTS", str(tmp_path))
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_every_preset_and_every_published_checkpoint_is_told() -> None:
    told = run().output
    assert all(name in told for name in PRESETS)
    for published in PUBLISHED:
        assert {published.page, published.licence, published.gpu_memory} <= {
            line.strip().split(maxsplit=1)[-1] for line in told.splitlines() if line.strip()
        }
        assert str(published.size_gb) in told


def test_what_is_here_is_told_apart_from_what_is_not() -> None:
    places = [place_of(published) for published in PUBLISHED]
    assert len(set(places)) == len(places)
    assert run().output.count("not here") == len(PUBLISHED)
    places[0].touch()
    assert run().output.count("not here") == len(PUBLISHED) - 1
    assert f"here: network.checkpoint={places[0]}" in run().output


def test_what_comes_with_the_package_is_told_with_its_sum(ship: Callable[..., Path]) -> None:
    ship()
    assert "weights of this package" in run().output
    shipped = ship("nano")
    (shipped / "MODEL_CARD.md").write_text("a card")
    told = run().output
    file = shipped / "nano.safetensors"
    assert "here: network.preset=nano" in told
    for text in (str(file), sha256(file.read_bytes()).hexdigest(), "Apache-2.0", str(shipped / "MODEL_CARD.md")):
        assert text in told
    assert run(file).exit_code == 0


def test_a_whole_file_is_told_with_its_preset(folder: Path) -> None:
    path = folder / "mine.safetensors"
    save_checkpoint(random_model(preset_named("nano"), 0), path)
    done = run(path)
    assert done.exit_code == 0
    assert "is whole: scal3r_ros weights for preset nano" in done.output
    assert "with memory units" in done.output


def test_weights_are_written_at_half_the_size_and_are_the_same_but_for_rounding(folder: Path) -> None:
    model = random_model(preset_named("nano"), 0)
    save_checkpoint(model, folder / "mine.safetensors")
    done = run(folder / "mine.safetensors", "--bfloat16", folder / "half.safetensors")
    assert done.exit_code == 0
    half = folder / "half.safetensors"
    assert half.stat().st_size < 0.52 * (folder / "mine.safetensors").stat().st_size
    assert sha256(half.read_bytes()).hexdigest() in done.output
    assert weights_fingerprint(load_checkpoint(half, preset_named("nano"))) == weights_fingerprint(model)
    assert run("--bfloat16", half).exit_code == 2


def test_a_damaged_file_is_an_error(folder: Path) -> None:
    model = random_model(preset_named("nano"), 0)
    with torch.no_grad():
        model.aggregator.camera_token.fill_(torch.nan)
    save_checkpoint(model, folder / "mine.safetensors")
    assert isinstance(run(folder / "mine.safetensors").exception, ModelError)


@pytest.mark.parametrize("name", ["gone.pt", "gone.safetensors"])
def test_a_file_that_is_not_there_is_an_error(folder: Path, name: str) -> None:
    assert isinstance(run(folder / name).exception, ModelError)


def test_a_file_of_another_preset_is_an_error(folder: Path) -> None:
    save_checkpoint(random_model(preset_named("nano"), 0), folder / "mine.safetensors")
    done = run(folder / "mine.safetensors", "--preset", "small")
    assert isinstance(done.exception, ModelError)
    assert "made for another preset (nano)" in str(done.exception)
    assert isinstance(run(folder / "mine.safetensors", "--preset", "huge").exception, ModelError)


def test_the_plan_tells_what_chunks_take_on_a_device() -> None:
    told = run("--plan", "--preset", "nano", "--image", "640x480", "--frames", 4, "--frames", 8)
    assert told.exit_code == 0
    assert "no GPU" in told.output
    rows = [line.split() for line in told.output.splitlines() if line.strip().startswith(("4 ", "8 "))]
    assert [row[0] for row in rows] == ["4", "8"]
    most = [float(row[5]) for row in rows]
    assert 0 < most[0] <= most[1]


def test_the_plan_tells_whether_each_gpu_has_that_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        def __init__(self, name: str, total_memory: float) -> None:
            self.name, self.total_memory = name, total_memory

    devices = [Properties("small card", 1e6), Properties("large card", 80e9)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(devices))
    monkeypatch.setattr(torch.cuda, "get_device_properties", devices.__getitem__)
    told = run("--plan", "--preset", "nano", "--frames", 4).output
    assert "large card" in told
    row = next(line for line in told.splitlines() if line.strip().startswith("4 "))
    assert row.split("GB")[-1].split() == ["does", "not", "fit", "fits"]


def test_the_plan_tells_whether_a_chunk_fits_once_its_frames_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = preset_named("nano")
    height, width = plan_resize(480, 640, preset.image_width, preset.patch).target
    whole, share = (plan_memory(preset, 8, width, height, devices=devices).device for devices in (1, 2))
    gpu = SimpleNamespace(name="card", total_memory=(whole + share) / 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    arguments = ["--plan", "--preset", "nano", "--image", "640x480", "--frames", 8]
    for devices, answer in ((2, "fits split"), (3, "does not fit")):
        told = run(*arguments, "--devices", devices).output
        row = next(line for line in told.splitlines() if line.strip().startswith("8 "))
        assert row.split("GB")[-1].split() == answer.split() * 2
        assert f"split over {devices}" in told


@pytest.mark.parametrize("size", ["640", "0x480", "axb"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    told = run("--plan", "--image", size)
    assert told.exit_code == 2
    assert "is no size" in told.output
