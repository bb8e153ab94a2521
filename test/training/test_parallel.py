"""Processes that share chunks or batches learn what one process would from all of it."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scal3r_ros.errors import TrainingError
from scal3r_ros.training.data.batches import Unit, make_batch
from scal3r_ros.training.data.sampling import NONE, ChunkShape, cut_sequence
from scal3r_ros.training.parallel import join_run

PROCESS = Path(__file__).with_name("gradients_of_a_process.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
# Newton-Schulz steps in bfloat16 see the sum of two parts in another order.
ROUNDING = 0.05


@pytest.mark.parametrize("group", [2, 1], ids=["chunks_of_one_sequence", "sequences"])
def test_two_processes_have_the_gradients_of_one(tmp_path: Path, model, make_clip, group):
    shape, rng = ChunkShape(2, 3, 1), np.random.default_rng(0)
    cut = [cut_sequence(make_clip(seed), shape, rng, NONE) for seed in range(2)]
    # The stem of a process does not see frames of another's chunk: chunks start without a frame before them.
    whole = make_batch(cut, Unit.TYPICAL_DEPTH, forget=[True] * 4)
    if group == 2:
        parts = [make_batch(cut, Unit.TYPICAL_DEPTH, range(i, i + 1)) for i in range(2)]
    else:
        parts = [make_batch([one], Unit.TYPICAL_DEPTH, forget=[True] * 2) for one in cut]

    def gradients(launcher: tuple[str, ...], parts: list, group: int, name: str) -> list[torch.Tensor]:
        (tmp_path / name).write_bytes(pickle.dumps((parts, model)))
        command = [
            sys.executable,
            *launcher,
            str(PROCESS),
            str(tmp_path / name),
            str(group),
            str(tmp_path / f"{name}_out"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return [torch.load(path) for path in sorted(tmp_path.glob(f"{name}_out.*"))]

    first, second = gradients(TORCHRUN, parts, group, "together")
    (alone,) = gradients((), [whole], 1, "alone")
    assert torch.equal(first, second)
    assert float((first - alone).norm() / alone.norm()) < ROUNDING


def test_sharing_chunks_takes_several_processes(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(TrainingError, match="start the run by torchrun"):
        join_run(2, ("cpu",))
    assert join_run(1, ("cpu",)).place.leads
