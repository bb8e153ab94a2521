"""Weights that come with the package, or do not."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from scal3r_ros.errors import ModelError, ReconstructionError
from scal3r_ros.model import (
    PRESETS,
    Scal3R,
    preset_named,
    random_model,
    save_checkpoint,
    verify_checkpoint,
    weights_fingerprint,
)
from scal3r_ros.reconstruction.network.bundled_weights import all_bundled_weights, bundled_weights, model_card
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.setup import build_network

NANO = NetworkConfig(preset="nano", device="cpu")
LARGEST_BYTES = 30_000_000


def untrained(seed: int) -> str:
    return weights_fingerprint(random_model(preset_named("nano"), seed))


def test_weights_are_found_by_the_name_of_their_preset(ship: Callable[..., Path]) -> None:
    folder = ship("nano")
    assert bundled_weights("nano") == folder / "nano.safetensors"
    assert bundled_weights("full") is None
    assert all_bundled_weights() == {"nano": folder / "nano.safetensors"}
    assert model_card() is None
    (folder / "MODEL_CARD.md").write_text("a card")
    assert model_card() == folder / "MODEL_CARD.md"


def test_a_package_without_a_folder_of_weights_has_none(ship: Callable[..., Path]) -> None:
    ship().rmdir()
    assert all_bundled_weights() == {}
    assert bundled_weights("nano") is None
    assert model_card() is None


def test_without_a_checkpoint_the_bundled_weights_are_used_and_logged_once(
    ship: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = ship("nano")
    with caplog.at_level(logging.INFO, "scal3r_ros"):
        model = build_network(NANO)
    assert weights_fingerprint(model) == untrained(7)
    assert [record.getMessage() for record in caplog.records if str(folder) in record.getMessage()] == [
        f"the network runs on the bundled weights of preset nano: {folder / 'nano.safetensors'}"
    ]


def test_a_checkpoint_comes_before_bundled_weights_and_those_before_untrained_ones(
    ship: Callable[..., Path], tmp_path: Path
) -> None:
    ship("nano")
    save_checkpoint(random_model(preset_named("nano"), 3), tmp_path / "mine.safetensors")
    mine = replace(NANO, checkpoint=str(tmp_path / "mine.safetensors"))
    assert weights_fingerprint(build_network(mine)) == untrained(3)
    assert weights_fingerprint(build_network(replace(NANO, allow_random_weights=True))) == untrained(7)
    ship()
    assert weights_fingerprint(build_network(replace(NANO, allow_random_weights=True))) == untrained(0)


def test_a_preset_without_weights_is_told_of_those_that_ship(ship: Callable[..., Path]) -> None:
    ship("nano")
    with pytest.raises(ReconstructionError, match=r"scal3r\.pt from .* with bundled weights \(nano\)"):
        build_network(NetworkConfig(device="cpu"))
    ship()
    with pytest.raises(ReconstructionError) as caught:
        build_network(NANO)
    assert "bundled weights" not in str(caught.value)


def test_bundled_weights_of_another_shape_are_refused(ship: Callable[..., Path]) -> None:
    folder = ship("nano")
    (folder / "nano.safetensors").rename(folder / "small.safetensors")
    with pytest.raises(ModelError, match="made for another preset"):
        build_network(NetworkConfig(preset="small", device="cpu"))


@pytest.mark.skipif(not all_bundled_weights(), reason="no weights come with the package")
def test_what_ships_is_whole_small_and_described() -> None:
    card = model_card()
    assert card is not None
    for preset, file in all_bundled_weights().items():
        assert file.stat().st_size <= LARGEST_BYTES
        report = verify_checkpoint(file, PRESETS[preset])
        with torch.device("meta"):
            assert report.tensors == len(Scal3R(PRESETS[preset]).state_dict())
        assert report.has_memory == (PRESETS[preset].memory is not None)
        with safe_open(file, framework="pt") as opened:
            assert opened.metadata()["preset_name"] == preset
        assert hashlib.sha256(file.read_bytes()).hexdigest() in card.read_text(encoding="utf-8")
