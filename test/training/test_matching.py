"""True motion is where the pictures agree, and a stem that says so has the least loss."""

import pytest
import torch

from scal3r_ros.training.matching import matching_loss, true_motion


@pytest.fixture
def batch(batch_of):
    return batch_of(1, 2, 3)


def test_places_show_the_same_in_both_frames(batch_of):
    batch = batch_of(1, 1, 9)
    batch.previous[:] = [1] * 9  # compared with the first in time: a long way
    moved, seen = true_motion(batch, 4)
    assert seen.float().mean() > 0.3
    x, y = (moved[..., axis] for axis in (0, 1))
    columns, rows = torch.meshgrid(torch.arange(0, 48, 4), torch.arange(0, 32, 4), indexing="xy")
    here = batch.images[:, :, ::4, ::4].flatten(2)
    there_x, there_y = (columns.flatten() + x).round().long(), (rows.flatten() + y).round().long()
    before = batch.images[batch.previous]
    index = (there_y.clamp(0, 31) * 48 + there_x.clamp(0, 47))[:, None].expand(-1, 3, -1)
    there = before.flatten(2).gather(2, index)
    moving = seen & (moved.norm(dim=-1) > 2)
    assert moving.any()
    error = (here - there).abs().mean(1)
    staying = (here - before[:, :, ::4, ::4].flatten(2)).abs().mean(1)
    assert error[moving].mean() < 0.5 * staying[moving].mean()


def test_a_frame_without_one_before_it_counts_for_nothing(batch):
    _, seen = true_motion(batch, 4)
    alone = [i for i, before in enumerate(batch.previous) if i == before]
    assert len(alone) == 1
    assert not seen[alone].any()


def test_the_truth_has_the_least_loss(batch):
    moved, _ = true_motion(batch, 4)
    steps = torch.arange(-3, 4)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    offsets = torch.stack((x, y), -1).flatten(0, 1)

    def likeness(motion: torch.Tensor) -> torch.Tensor:
        distance = (motion[..., None, :] / 4 - offsets).norm(dim=-1)
        return (-8 * distance).mT.unflatten(-1, (8, 12))

    true = float(matching_loss(likeness(moved), batch))
    assert true < 1.0
    assert true < float(matching_loss(likeness(moved + 4), batch)) - 1
    assert true < float(matching_loss(likeness(moved.flip(-1)), batch))
