"""Checkpoints of others and our own, whole, partial, foreign and broken."""

import dataclasses
import json
import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file

from scal3r_ros.errors import ModelError
from scal3r_ros.model import (
    PUBLISHED,
    CheckpointSource,
    Scal3R,
    frozen,
    load_backbone,
    load_checkpoint,
    preset_named,
    random_model,
    save_checkpoint,
    verify_checkpoint,
    weights_fingerprint,
)
from scal3r_ros.model.encoder.encoder import VitConfig
from scal3r_ros.model.weights.presets import FULL, NANO, SMALL
from scal3r_ros.model.weights.state_dict_adapter import from_scal3r, from_vggt, to_scal3r

# The released layout (a DINOv2 encoder) at a size that takes no time.
NANO_VIT = dataclasses.replace(
    NANO, name="nano_vit", encoder=VitConfig(channels=64, depth=2, heads=4, patch=14, trained_size=56)
)


@pytest.fixture(scope="module")
def model():
    return random_model(NANO_VIT, seed=3)


@pytest.fixture(scope="module")
def released(model):
    """The same weights under the names of the released checkpoint."""
    return {to_scal3r(name, NANO_VIT): tensor for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def vggt(released):
    """The same weights as a plain VGGT checkpoint: no memory units, and a head we have no use for."""
    rooms = (("agg_regator.", "aggregator."), ("cam_decoder.", "camera_head."), ("xyz_decoder.", "point_head."))
    tensors = {"track_head.tracker.weight": torch.zeros(3)}
    for name, tensor in released.items():
        if ".ttt." in name:
            continue
        for ours, theirs in (*rooms, ("dpt_decoder.", "depth_head.")):
            name = name.replace(ours, theirs)
        tensors[name] = tensor
    return tensors


def assert_same_weights(ours: Scal3R, theirs: Scal3R):
    theirs = theirs.state_dict()
    assert set(ours.state_dict()) <= set(theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())


def test_full_preset_takes_exactly_the_released_tensors(reference_folder):
    released = json.loads((reference_folder / "released_checkpoint_shapes.json").read_text())
    with torch.device("meta"):
        ours = Scal3R(FULL).state_dict()
    assert len(released) == 1451
    assert {to_scal3r(name, FULL): list(tensor.shape) for name, tensor in ours.items()} == released
    assert {from_scal3r(name, FULL) for name in released} == set(ours)


def test_names_survive_translation_there_and_back(model):
    for name in model.state_dict():
        assert from_scal3r(to_scal3r(name, NANO_VIT), NANO_VIT) == name


def test_released_checkpoint_is_loaded_whole(model, released, tmp_path):
    torch.save(released, tmp_path / "scal3r.pt")
    loaded = load_checkpoint(tmp_path / "scal3r.pt", NANO_VIT)
    assert set(loaded.state_dict()) == set(model.state_dict())
    assert_same_weights(loaded, model)
    assert not loaded.training


def test_checkpoint_in_half_precision_is_widened(released, tmp_path):
    torch.save({name: tensor.bfloat16() for name, tensor in released.items()}, tmp_path / "half.pt")
    loaded = load_checkpoint(tmp_path / "half.pt", NANO_VIT)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_vggt_checkpoint_turns_the_memory_off_and_says_so_once(model, vggt, tmp_path, caplog, suffix):
    path = tmp_path / f"vggt.{suffix}"
    (torch.save if suffix == "pt" else save_file)(vggt, path)
    with caplog.at_level(logging.WARNING):
        loaded = load_checkpoint(path, NANO_VIT)
    assert [record.getMessage() for record in caplog.records] == [
        f"checkpoint {path} has no memory units: the memory is off"
    ]
    assert loaded.preset.memory is None
    assert not list(loaded.aggregator.units())
    assert_same_weights(loaded, model)
    with torch.no_grad():
        loaded(torch.rand(2, 3, 28, 42), frozen)


def test_own_checkpoint_comes_back_bit_for_bit(model, tmp_path):
    save_checkpoint(model, tmp_path / "own.safetensors")
    assert_same_weights(load_checkpoint(tmp_path / "own.safetensors", NANO_VIT), model)


def test_how_well_weights_carry_the_unit_goes_with_them_and_is_unknown_where_it_was_not_measured(tmp_path):
    measured = random_model(NANO_VIT, 0)
    measured.unit_sigma = 0.0625
    save_checkpoint(measured, tmp_path / "measured.safetensors")
    assert load_checkpoint(tmp_path / "measured.safetensors", NANO_VIT).unit_sigma == 0.0625
    save_checkpoint(random_model(NANO_VIT, 0), tmp_path / "plain.safetensors")
    assert load_checkpoint(tmp_path / "plain.safetensors", NANO_VIT).unit_sigma is None
    measured.unit_sigma = -1.0
    save_checkpoint(measured, tmp_path / "wrong.safetensors")
    with pytest.raises(ModelError, match="unit_sigma"):
        load_checkpoint(tmp_path / "wrong.safetensors", NANO_VIT)


def test_own_checkpoint_without_memory_loads_into_the_same_preset(vggt, tmp_path):
    torch.save(vggt, tmp_path / "vggt.pt")
    save_checkpoint(load_checkpoint(tmp_path / "vggt.pt", NANO_VIT), tmp_path / "own.safetensors")
    assert load_checkpoint(tmp_path / "own.safetensors", NANO_VIT).preset.memory is None


def test_a_backbone_is_taken_into_a_network_with_another_memory(model, vggt, tmp_path):
    save_checkpoint(model, tmp_path / "own.safetensors")
    larger = dataclasses.replace(
        model.preset, name="larger", memory=dataclasses.replace(model.preset.memory, layers=(1, 2), expansion=8)
    )
    loaded = load_backbone(tmp_path / "own.safetensors", larger, seed=3)
    start = random_model(larger, 3)
    for name, tensor in loaded.state_dict().items():
        source = start if "memory_units" in name else model
        assert torch.equal(tensor, source.state_dict()[name]), name
    assert loaded.preset == larger
    torch.save(vggt, tmp_path / "vggt.pt")
    assert load_backbone(tmp_path / "vggt.pt", model.preset, seed=0).preset.memory is not None
    with pytest.raises(ModelError, match="does not fit"):
        load_backbone(tmp_path / "own.safetensors", preset_named("small"), seed=0)


def test_own_checkpoint_of_another_preset_is_refused_by_name(model, tmp_path):
    save_checkpoint(model, tmp_path / "own.safetensors")
    with pytest.raises(ModelError, match=r"another preset \(nano_vit\) than small"):
        load_checkpoint(tmp_path / "own.safetensors", SMALL)


def test_misfit_is_told_in_one_sentence_with_the_first_few_names(released, tmp_path):
    broken = dict(released)
    for layer in range(4):
        del broken[f"agg_regator.frame_blocks.{layer}.attn.qkv.weight"]
    broken["agg_regator.visitor"] = torch.zeros(1)
    broken["cam_decoder.token_norm.weight"] = torch.zeros(5)
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(ModelError) as caught:
        load_checkpoint(tmp_path / "broken.pt", NANO_VIT)
    message = str(caught.value)
    assert "4 missing (aggregator.frame_blocks.0.attn.qkv.weight, " in message
    assert "aggregator.frame_blocks.3.attn.qkv.weight" not in message
    assert "1 left over (aggregator.visitor)" in message
    assert "1 misshapen (camera_head.token_norm.weight (5,) instead of (128,))" in message
    assert "\n" not in message


def test_checkpoint_of_another_size_is_refused(released, tmp_path):
    torch.save(released, tmp_path / "scal3r.pt")
    with pytest.raises(ModelError, match="does not fit preset small"):
        load_checkpoint(tmp_path / "scal3r.pt", SMALL)


class Intruder:
    def __reduce__(self):
        return (print, ("code from a checkpoint was run",))


@pytest.mark.parametrize("content", ["code", "text", "cut", "nested", "empty", "absent"])
def test_what_is_no_checkpoint_is_refused_without_running_it(released, tmp_path, capsys, content):
    path = tmp_path / "foreign.pt"
    if content == "code":
        path.write_bytes(pickle.dumps({"weight": Intruder()}, protocol=2))
    elif content == "text":
        path.write_text("<html>404</html>")
    elif content == "cut":
        torch.save(released, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif content == "nested":
        torch.save({"model": released}, path)
    elif content == "empty":
        path.touch()
    with pytest.raises(ModelError, match=r"foreign\.pt"):
        load_checkpoint(path, NANO_VIT)
    assert not capsys.readouterr().out


def test_broken_safetensors_are_refused(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path / "cut.safetensors", NANO_VIT)
    with pytest.raises(ModelError, match="cannot be written"):
        save_checkpoint(random_model(NANO, 0), tmp_path / "no" / "such.safetensors")


def test_the_fingerprint_of_weights_is_the_same_at_every_precision(model):
    assert weights_fingerprint(random_model(NANO, 0)) == weights_fingerprint(random_model(NANO, 0))
    narrow = random_model(NANO_VIT, seed=3).set_precision(torch.bfloat16)
    assert weights_fingerprint(narrow) == weights_fingerprint(model)


def test_one_weight_that_differs_anywhere_changes_the_fingerprint():
    changed = random_model(NANO, 0).requires_grad_(False)
    seen = {weights_fingerprint(changed)}
    for parameter in changed.parameters():
        middle = parameter.view(-1)[parameter.numel() // 2 :][:1]
        before = middle.clone()
        middle += 0.1
        seen.add(weights_fingerprint(changed))
        middle.copy_(before)
    assert len(seen) == 1 + len(list(changed.parameters()))
    assert weights_fingerprint(changed) == weights_fingerprint(random_model(NANO, 0))


@pytest.mark.parametrize("source", CheckpointSource)
def test_report_tells_what_a_file_holds(model, released, vggt, tmp_path, source):
    if source is CheckpointSource.OWN:
        path = tmp_path / "own.safetensors"
        save_checkpoint(model, path)
    else:
        path = tmp_path / "theirs.pt"
        torch.save(released if source is CheckpointSource.SCAL3R else vggt, path)
    report = verify_checkpoint(path, NANO_VIT)
    kept = load_checkpoint(path, NANO_VIT).state_dict()
    assert report.source is source
    assert report.has_memory is (source is not CheckpointSource.VGGT)
    assert (report.tensors, report.parameters) == (len(kept), sum(tensor.numel() for tensor in kept.values()))


def test_damaged_weights_are_reported(released, tmp_path):
    name = "cam_decoder.token_norm.weight"
    torch.save(released | {name: torch.full_like(released[name], torch.nan)}, tmp_path / "damaged.pt")
    with pytest.raises(ModelError, match=r"damaged: 1 tensors .*camera_head\.token_norm\.weight"):
        verify_checkpoint(tmp_path / "damaged.pt", NANO_VIT)


def test_published_checkpoints_say_where_they_are_and_under_which_terms():
    for published in PUBLISHED:
        assert published.page.startswith("https://")
        assert published.licence
        assert published.gpu_memory
    with torch.device("meta"):
        bytes_on_disk = 4 * sum(tensor.numel() for tensor in Scal3R(FULL).state_dict().values())
    assert PUBLISHED[0].size_gb == pytest.approx(bytes_on_disk / 1e9, abs=0.1)


def test_vggt_names_need_no_preset():
    assert from_vggt("aggregator.patch_embed.cls_token") == "encoder.cls_token"
    assert from_vggt("depth_head.scratch.refinenet4.out_conv.bias") == "depth_head.fuse.3.merge.bias"
