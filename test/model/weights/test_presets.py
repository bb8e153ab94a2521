"""Presets are told apart by their shapes, and impossible ones cannot be made."""

import dataclasses

import pytest
import torch

from scal3r_ros.errors import ModelError
from scal3r_ros.model import PRESETS, Scal3R, frozen, preset_named, random_model
from scal3r_ros.model.weights.presets import FULL, MEDIUM, NANO, SMALL


def test_fingerprints_tell_presets_apart_but_not_their_names_and_widths():
    assert len({preset.fingerprint() for preset in PRESETS.values()}) == len(PRESETS)
    assert dataclasses.replace(SMALL, name="other", image_width=512).fingerprint() == SMALL.fingerprint()
    assert SMALL.without_memory().fingerprint() != SMALL.fingerprint()


def test_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(ModelError, match="full, medium, small, lite, tiny, tiny_2x, tiny_4x, nano"):
        preset_named("huge")
    assert preset_named("full") is FULL


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_can_be_built_and_has_whole_patches(preset):
    with torch.device("meta"):
        assert sum(p.numel() for p in Scal3R(preset).parameters()) > 0
    assert preset.image_width % preset.patch == 0


@pytest.mark.parametrize("preset", [MEDIUM, SMALL, NANO], ids=lambda preset: preset.name)
def test_every_small_preset_runs(preset):
    images = torch.rand(2, 3, 2 * preset.patch, 3 * preset.patch)
    with torch.no_grad():
        prediction = random_model(preset, 0)(images, frozen)
    assert prediction.depth.values.shape == (2, *images.shape[-2:])
    assert prediction.points.values.shape == (2, *images.shape[-2:], 3)
    assert prediction.pose_encoding.isfinite().all()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"aggregator": dataclasses.replace(NANO.aggregator, channels=96)}, "must be equal"),
        ({"aggregator": dataclasses.replace(NANO.aggregator, depth=5)}, "must be layer 4"),
        ({"memory": dataclasses.replace(NANO.memory, layers=(1, 4))}, r"0 … 3"),
    ],
)
def test_impossible_presets_are_refused(change, complaint):
    with pytest.raises(ModelError, match=complaint):
        dataclasses.replace(NANO, **change)
