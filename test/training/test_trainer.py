"""A run learns, and one that was stopped goes on as if it had not been."""

import csv
import dataclasses
from pathlib import Path

import cv2
import pytest
import torch

from scal3r_ros.errors import ModelError, TrainingError
from scal3r_ros.model import load_checkpoint, preset_named, random_model, save_checkpoint
from scal3r_ros.model.weights.presets import NANO
from scal3r_ros.training.config import DataConfig, OptimiserConfig, TrainingConfig
from scal3r_ros.training.data.plan import Plan, StepData
from scal3r_ros.training.data.sampling import ChunkShape
from scal3r_ros.training.losses import LossConfig
from scal3r_ros.training.parallel import Place
from scal3r_ros.training.trainer import BEST, CHECKPOINT, LAST, Trainer

DATA = DataConfig(frames=("3", "4"), chunks=2, clip_frames=12, frames_per_step=12, sizes=("48x32",))
CONFIG = TrainingConfig(
    preset="nano",
    data=DATA,
    device="cpu",
    validate_every=4,
    save_every=2,
    optimiser=OptimiserConfig(steps=8, warmup_steps=2, lr=2e-3, memory_lr=2e-3, ema=0.9),
)


def curve(folder: Path, kind: str) -> list[dict[str, str]]:
    with (folder / f"{kind}.csv").open() as file:
        return list(csv.DictReader(file))


def run(folder: Path, floors, until: int, config: TrainingConfig = CONFIG, validation=()) -> Trainer:
    trainer = Trainer(config, folder, validation)
    trainer.train(Plan(config.data, [floors], Place()), until, lambda report: None)
    return trainer


def test_a_run_that_was_stopped_goes_on_with_the_same_losses(tmp_path, floors, batch_of):
    validation = [batch_of(1, 2, 4)]
    whole = run(tmp_path / "whole", floors, 8, validation=validation)
    run(tmp_path / "stopped", floors, 4, validation=validation)
    # Rows of steps that were done after the last checkpoint are done again.
    with (tmp_path / "stopped" / "train.csv").open("a") as file:
        file.write("5,1,1,1,1,1,1\n")
    continued = run(tmp_path / "stopped", floors, 8, validation=validation)
    for kind in ("train", "validation"):
        assert curve(tmp_path / "stopped", kind) == curve(tmp_path / "whole", kind)
    assert len(curve(tmp_path / "whole", "train")) == 8
    for one, other in zip(whole.average.parameters(), continued.average.parameters(), strict=True):
        assert torch.equal(one, other)


def test_weights_of_a_run_are_a_checkpoint_of_its_preset(tmp_path, floors, batch_of):
    trainer = run(tmp_path, floors, 4, validation=[batch_of(1, 2, 4)])
    assert cv2.imread(str(tmp_path / "pictures" / "0.png")).shape == (2 * 32, 4 * 48 + 32, 3)
    for name in (LAST, BEST):
        loaded = load_checkpoint(tmp_path / name, preset_named("nano"))
        for one, other in zip(loaded.parameters(), trainer.average.parameters(), strict=True):
            assert torch.equal(one, other)


def test_fine_tuning_starts_from_a_checkpoint_and_leaves_the_point_head(tmp_path, floors):
    start = random_model(NANO, 7)
    save_checkpoint(start, tmp_path / "start.safetensors")
    config = dataclasses.replace(CONFIG, checkpoint=str(tmp_path / "start.safetensors"), context="joint")
    tuned = run(tmp_path / "run", floors, 2, config).model
    moved = {name: not torch.equal(p, dict(start.named_parameters())[name]) for name, p in tuned.named_parameters()}
    assert not any(moves for name, moves in moved.items() if name.startswith("point_head"))
    assert moved["aggregator.global_blocks.0.attn.qkv.weight"]


def test_a_point_head_can_be_trained_as_well(tmp_path, floors):
    config = dataclasses.replace(CONFIG, loss=LossConfig(points=1.0))
    run(tmp_path, floors, 1, config)
    assert float(curve(tmp_path, "train")[0]["points"]) > 0


def test_a_checkpoint_of_another_preset_or_a_broken_one_is_refused(tmp_path, floors):
    run(tmp_path, floors, 2)
    with pytest.raises(TrainingError, match="not one of preset small"):
        Trainer(dataclasses.replace(CONFIG, preset="small"), tmp_path, ())
    (tmp_path / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="cannot be read"):
        Trainer(CONFIG, tmp_path, ())
    with pytest.raises(ModelError, match=r"absent\.safetensors"):
        Trainer(dataclasses.replace(CONFIG, checkpoint="absent.safetensors"), tmp_path / "new", ())


def test_a_network_learns_a_clip_by_heart_in_a_few_dozen_steps(tmp_path, batch_of):
    """Depth and motion of one sequence of two chunks, from random weights."""
    config = dataclasses.replace(
        CONFIG,
        precision="fp32",
        optimiser=OptimiserConfig(steps=200, warmup_steps=5, lr=3e-3, memory_lr=3e-3, weight_decay=0.0),
    )
    trainer = Trainer(config, tmp_path, ())
    data = StepData(batch_of(1, 2, 3), list(range(6)))
    losses = [trainer.step(data) for _ in range(60)]
    first, last = losses[0], losses[-1]
    assert last["camera"] < 0.3 * first["camera"]
    assert last["depth"] < 0.5 * first["depth"]
    assert last["neighbour_rotation"] < 0.6 * first["neighbour_rotation"]


def test_every_process_of_a_group_draws_the_same_sequences_and_others_do_not(floors):
    data = dataclasses.replace(DATA, chunks=4, frames=("3",), clip_frames=12)
    plans = [Plan(data, [floors], Place(i, 2, r, 2)) for r in range(2) for i in range(2)]
    shape = plans[0].shape(5)
    assert shape.chunks % 2 == 0
    batches = [plan.step(5).batch for plan in plans]
    whole = Plan(data, [floors], Place(0, 1, 0, 2))
    assert {plan.shape(5) for plan in plans} == {shape}
    assert batches[0].layout.chunks * 2 == shape.chunks
    assert not torch.equal(batches[0].images, batches[2].images)
    if whole.shape(5) == shape:
        half = batches[0].layout.chunks * 3
        assert torch.equal(whole.step(5).batch.depth[:half], batches[0].depth[:half])


def test_pairs_come_first_where_asked_for(floors):
    plan = Plan(dataclasses.replace(DATA, pair_steps=2), [floors], Place())
    assert plan.shape(1) == ChunkShape(1, 2, 1)
    assert plan.shape(2).frames > 2
