"""The training loop: data, forward, loss, step, average, validation, checkpoint."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from scal3r_ros.errors import TrainingError
from scal3r_ros.model import Scal3R, load_backbone, load_checkpoint, preset_named, random_model, save_checkpoint
from scal3r_ros.model.layers.cpu_kernels import attend_by_products
from scal3r_ros.reconstruction.device import computes_bfloat16_fast, torch_device
from scal3r_ros.training.config import TrainingConfig
from scal3r_ros.training.data.batches import Batch
from scal3r_ros.training.data.plan import Plan, StepData
from scal3r_ros.training.forward import ChunkContext, forward_chunks
from scal3r_ros.training.losses import loss_of
from scal3r_ros.training.memory_units import MemoryWatch, hold_start_small, prepare_memory
from scal3r_ros.training.optimising import build_optimiser, follow, load_features, prepare_from_scratch, set_rates
from scal3r_ros.training.parallel import Alone, Together
from scal3r_ros.training.records.checkpointing import Progress, load_progress, save_progress
from scal3r_ros.training.records.pictures import write_picture
from scal3r_ros.training.records.recorder import Recorder
from scal3r_ros.training.records.validation import answers, validate

CHECKPOINT = "checkpoint.pt"
BEST = "best.safetensors"
LAST = "last.safetensors"
_PICTURES = 6


@dataclass(frozen=True)
class StepReport:
    """After a step: how many are done, the losses, and frames a second of this process since the last report."""

    step: int
    losses: dict[str, float]
    frames_per_second: float


class Trainer:
    """One process of a run.

    Args:
        config: what to train and how.
        folder: of the run; one that holds a checkpoint is continued.
        validation: batches to validate on; may be empty.
        run: the other processes.

    Raises:
        TrainingError: the folder's checkpoint cannot be continued.
        ModelError: the weights to start from do not fit the preset.
    """

    def __init__(
        self, config: TrainingConfig, folder: Path, validation: Items[Batch], run: Alone | Together | None = None
    ) -> None:
        self._config = config
        self._folder = folder
        self._validation = validation
        self._run = run or Alone()
        self._device = torch_device(config.device)
        fast = config.precision == "auto" and computes_bfloat16_fast(self._device)
        self._autocast = config.precision == "bf16" or fast
        self._context = ChunkContext(config.context)
        if config.chunk_group > 1 and self._context is not ChunkContext.JOINT:
            raise TrainingError("chunks spread over processes know all of each other: chunk_group needs context joint")
        self.model = _start(config).to(self._device).train()
        if self._device.type == "cpu":
            for convolutional in (self.model.encoder, self.model.depth_head):
                to_channels_last(convolutional)
            attend_by_products(self.model)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._optimiser = build_optimiser(self.model, config.optimiser)
        self.progress = Progress()
        if (folder / CHECKPOINT).exists():
            self.progress = load_progress(folder / CHECKPOINT, config.preset, self.model, self.average, self._optimiser)

    def train(self, plan: Plan, until: int, report: Callable[[StepReport], None]) -> None:
        """Trains until `until` steps are done. A run that is stopped loses what came after its last checkpoint.

        Raises:
            TrainingError: the loss is no number, or the disk is full.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(self._folder, self.progress.step) if self._run.place.leads else None
        try:
            since, frames = time.perf_counter(), 0
            for data in _ahead(plan, self.progress.step, until):
                losses = self.step(data)
                done = self.progress.step
                frames += data.batch.layout.all_frames
                if recorder is not None:
                    recorder.add("train", done, losses)
                now = time.perf_counter()
                report(StepReport(done, losses, frames / (now - since)))
                since, frames = now, 0
                if done % self._config.validate_every == 0 or done == until:
                    self._validate(recorder)
                if done % self._config.save_every == 0 or done == until:
                    self.save()
        finally:
            if recorder is not None:
                recorder.close()

    def step(self, data: StepData) -> dict[str, float]:
        """One optimiser step; returns the losses of this process and the norm of the gradient."""
        config, done = self._config.optimiser, self.progress.step
        set_rates(self._optimiser, done, config)
        batch = data.batch.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            outputs = forward_chunks(
                self.model,
                batch.images.contiguous(memory_format=torch.channels_last),
                batch.previous,
                batch.layout,
                data.dense,
                within=batch.within,
                focal_B=batch.focal if data.calibrated else None,
                context=self._context,
                reduce=self._run.reduce,
                with_points=self._config.loss.points > 0,
            )
        loss = loss_of(outputs, batch, data.dense, self._config.loss)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.total)
        self._run.average(self.model)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        if not torch.isfinite(norm):
            raise TrainingError(f"the gradient of step {done + 1} is no number: lower optimiser.lr")
        self._optimiser.step()
        hold_start_small(self.model, config.memory_start)
        follow(self.average, self.model, done, config.ema)
        self.progress = replace(self.progress, step=done + 1)
        return {name: float(value.detach()) for name, value in loss.parts.items()} | {"gradient": float(norm)}

    def save(self) -> None:
        """Writes the checkpoint, and the averaged weights for use, if this process leads."""
        if self._run.place.leads:
            save_progress(
                self._folder / CHECKPOINT, self.progress, self._config.preset, self.model, self.average, self._optimiser
            )
            save_checkpoint(self.average, self._folder / LAST)
        self._run.wait()

    def _validate(self, recorder: Recorder | None) -> None:
        if recorder is None or not self._validation:
            return
        watch = MemoryWatch()
        figures = validate(
            self.average, self._validation, self._context, self._device, self._autocast, watch=watch
        ) | dict(watch.metrics())
        frozen = validate(self.average, self._validation, ChunkContext.FROZEN, self._device, self._autocast)
        guessing = validate(self.average, self._validation, self._context, self._device, self._autocast, False)
        figures |= {f"frozen_{name}": frozen[name] for name in ("depth", "translation", "seam_spread", "scale_error")}
        figures |= {f"memory_gain_{name}": frozen[name] - figures[name] for name in ("scale_error", "depth_in_unit")}
        figures |= {f"uncalibrated_{name}": guessing[name] for name in ("translation", "rotation_deg")}
        score = figures["depth"] + figures["translation"] + figures["rotation_deg"] / 5
        recorder.add("validation", self.progress.step, figures | {"score": score})
        if self.progress.best is None or score < self.progress.best:
            self.progress = replace(self.progress, best=score)
            save_checkpoint(self.average, self._folder / BEST)
        shown = answers(self.average, self._validation[:_PICTURES], self._context, self._device, self._autocast)
        for number, (batch, outputs) in enumerate(shown):
            write_picture(self._folder / "pictures" / f"{number}.png", batch, outputs)


def to_channels_last(module: nn.Module) -> None:
    """Lays the weights of all convolutions out as a CPU convolves fastest."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)


def _start(config: TrainingConfig) -> Scal3R:
    preset = preset_named(config.preset)
    if config.checkpoint:
        path = Path(config.checkpoint).expanduser()
        model = load_backbone(path, preset, config.seed) if config.new_memory else load_checkpoint(path, preset)
        if config.new_memory:
            prepare_memory(model)
    else:
        model = random_model(preset, config.seed)
        prepare_from_scratch(model, config.layer_scale)
        if config.features:
            load_features(model, Path(config.features).expanduser())
    if config.loss.points == 0 and model.point_head is not None:
        model.point_head.requires_grad_(False)
    return model


def _ahead(plan: Plan, start: int, until: int) -> Iterator[StepData]:
    """The data of the steps from `start` on, the next being made ready while one is trained on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(plan.step, start) if start < until else None
        for step in range(start, until):
            assert coming is not None, "the next step's data were asked for"
            data = coming.result()
            coming = pool.submit(plan.step, step + 1) if step + 1 < until else None
            yield data
