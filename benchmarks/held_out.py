"""How good weights are on worlds, textures and ways that were never trained on, the network alone.

    python benchmarks/held_out.py                                   # the weights that ship
    python benchmarks/held_out.py --checkpoint out/tiny/best.safetensors --clips 48

Renders the clips (seeds that no training run uses, the split `held_out`), shows each to the network as three chunks of
six frames, and prints the metrics of validation: their value over all clips, and what 95 of 100 draws of as many clips
lie in (bootstrap). The lens is known, as of a camera with CameraInfo, and `uncalibrated` where the network says it.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from scal3r_ros.model import Scal3R, load_checkpoint, preset_named
from scal3r_ros.model.layers.cpu_kernels import attend_by_products
from scal3r_ros.reconstruction.network.bundled_weights import bundled_weights
from scal3r_ros.simulation.worlds.clips import SequenceSpec
from scal3r_ros.training.data.batches import Batch, Unit
from scal3r_ros.training.data.clips import Clip, ClipFolder
from scal3r_ros.training.data.rendering import render_clip
from scal3r_ros.training.data.sampling import ChunkShape
from scal3r_ros.training.forward import ChunkContext
from scal3r_ros.training.records.errors import ChunkErrors, summary
from scal3r_ros.training.records.validation import answers, batch_errors, validation_batches

SHAPE, STRIDE, CLIP_FRAMES = ChunkShape(chunks=3, frames=6, shared=2), 2, 40
FIRST_SEED = 900_000_000
DRAWS = 2000


def main() -> None:
    """Renders, measures, prints, writes held_out.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=None)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--size", default="224x112")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/held_out"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    path = arguments.checkpoint or bundled_weights(arguments.preset)
    if path is None:
        parser.error(f"no weights come with the package for {arguments.preset}: give --checkpoint")
    model = load_checkpoint(path, preset_named(arguments.preset))
    attend_by_products(model)
    width, height = map(int, arguments.size.split("x"))
    clips = rendered(arguments.out / f"clips_{arguments.size}", arguments.clips, width, height)
    batches = list(validation_batches(clips, SHAPE, Unit.TYPICAL_DEPTH, STRIDE))
    rows = {
        "memory running": (ChunkContext.RUNNING, True),
        "memory frozen": (ChunkContext.FROZEN, True),
        "running, uncalibrated": (ChunkContext.RUNNING, False),
    }
    summary = {}
    for name, (context, calibrated) in rows.items():
        errors, frames_per_second = measured(model, batches, context, calibrated)
        summary[name] = with_intervals(errors) | {"frames_per_second": (frames_per_second,) * 3}
        print(f"\n{name}, {len(batches)} clips")
        for figure, (value, low, high) in summary[name].items():
            print(f"  {figure:24} {value:8.4f}   {low:8.4f} … {high:8.4f}")
    print(f"\nlargest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    (arguments.out / "held_out.json").write_text(json.dumps(summary, indent=2))


def rendered(folder: Path, count: int, width: int, height: int) -> list[Clip]:
    """The clips, rendered unless they lie in `folder`."""
    store = ClipFolder(folder)
    for number in range(count):
        if number not in store:
            spec = SequenceSpec(FIRST_SEED + number, CLIP_FRAMES, width, height, "held_out")
            store.save(number, render_clip(spec))
    return [store.load(number) for number in range(count)]


def measured(
    model: Scal3R, batches: Sequence[Batch], context: ChunkContext, calibrated: bool
) -> tuple[list[list[ChunkErrors]], float]:
    """Errors of each clip's chunks, and frames a second of the network."""
    errors, spent = [], 0.0
    answered = answers(model, batches, context, torch.device("cpu"), autocast=True, calibrated=calibrated)
    started = time.perf_counter()
    for batch, outputs in answered:
        spent += time.perf_counter() - started
        errors.append(batch_errors(outputs, batch, model.preset.confidence_half))
        started = time.perf_counter()
    return errors, sum(batch.layout.all_frames for batch in batches) / spent


def with_intervals(errors: list[list[ChunkErrors]]) -> dict[str, tuple[float, float, float]]:
    """Each figure, and the 2.5 and 97.5 % quantiles over draws of as many clips."""
    rng = np.random.default_rng(0)
    value = summary(errors)
    draws = [summary([errors[i] for i in rng.integers(0, len(errors), len(errors))]) for _ in range(DRAWS)]
    return {
        name: (value[name], *map(float, np.quantile([draw[name] for draw in draws], [0.025, 0.975]))) for name in value
    }


if __name__ == "__main__":
    main()
