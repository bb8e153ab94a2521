"""The truth costs nothing, and each error costs what it should."""

import dataclasses
import math

import pytest
import torch

from scal3r_ros.model import DenseMaps
from scal3r_ros.training.data.batches import in_time
from scal3r_ros.training.forward import Outputs
from scal3r_ros.training.losses import (
    LossConfig,
    depth_loss,
    gradient_loss,
    loss_of,
    neighbour_loss,
    points_loss,
    relative_poses,
    relative_size,
    scale_errors,
    scale_losses,
)

CONFIG = LossConfig()


def predicted(values: torch.Tensor, confidence: float = 1.0) -> DenseMaps:
    return DenseMaps(values, torch.full(values.shape[:3], confidence))


@pytest.mark.parametrize("error", ["log", "linear", "relative"])
def test_the_truth_costs_nothing(batch_of, error):
    batch = batch_of(1, 2, 3)
    config = dataclasses.replace(CONFIG, depth_error=error, plain=2.0, points=1.0)
    height, width = batch.depth.shape[1:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rays = torch.stack((u, v, torch.ones_like(u)), -1).float() @ torch.linalg.inv(batch.K).mT[:, None]
    points = (batch.depth[..., None] * rays) @ batch.T_chunk_cam[:, None, :3, :3].mT
    points = points + batch.T_chunk_cam[:, None, None, :3, 3]
    dense = list(range(6))
    loss = loss_of(Outputs([batch.poses] * 4, predicted(batch.depth), predicted(points)), batch, dense, config)
    for name, value in loss.parts.items():
        assert float(value) == pytest.approx(0.0, abs=2e-3), name


def test_neighbours_are_compared_in_angle_and_share_of_the_distance(batch_of):
    batch = batch_of(1, 1, 4)
    wrong = batch.poses.clone()
    wrong[:, :3] *= 1.1  # every step is a tenth too long
    rotation, translation = neighbour_loss(wrong, batch)
    assert float(rotation) == pytest.approx(0.0, abs=1e-4)
    distance = relative_poses(in_time(batch.poses, batch))[1].norm(dim=-1)
    assert float(translation) == pytest.approx(float((0.1 * distance / (distance + 0.02)).mean()), rel=0.05)


def test_a_factor_in_depth_costs_its_logarithm_and_has_no_gradients_within(batch_of):
    batch = batch_of(1, 1, 2)
    config = dataclasses.replace(CONFIG, confidence=0.0)
    assert float(depth_loss(predicted(1.2 * batch.depth), batch.depth, batch.sky, config)) == pytest.approx(
        0.1823, abs=1e-3
    )


def test_depth_too_large_costs_its_share_and_depth_too_small_its_logarithm():
    ratios = torch.tensor([0.25, 0.5, 1.0, 1.1, 2.0, 3.0, 30.0], requires_grad=True)
    size = relative_size(ratios.log())
    expected = [math.log(4), math.log(2), 0.0, 0.1, 1.0, 2.0, 2.0 + 3.0 * math.log(10)]
    torch.testing.assert_close(size, torch.tensor(expected))
    size.sum().backward()
    assert torch.isfinite(ratios.grad).all()


def test_plain_error_counts_however_little_is_believed(batch_of):
    batch = batch_of(1, 1, 2)
    config = dataclasses.replace(CONFIG, confidence=0.0, plain=2.0)
    for confidence in (1.0, 5.0):
        loss = depth_loss(predicted(1.2 * batch.depth, confidence), batch.depth, batch.sky, config)
        unconfident = depth_loss(predicted(batch.depth, confidence), batch.depth, batch.sky, config)
        assert float(loss - unconfident) == pytest.approx((confidence + 2.0) * math.log(1.2), abs=5e-3)


def test_the_scale_of_whole_chunks_costs_what_their_depths_share(batch_of):
    batch = batch_of(1, 2, 3)
    wrong = batch.depth.clone()
    wrong[:3] *= 1.2
    wrong[3:, ::2] *= 1.1  # half of the rows too far, half of them too near
    wrong[3:, 1::2] /= 1.1
    every = list(range(6))
    scales = scale_errors(predicted(wrong), batch, every)
    assert scales.tolist() == pytest.approx([0.1823, 0.0], abs=1e-2)
    parts = scale_losses(scales, None, batch.layout)
    assert float(parts["scale"]) == pytest.approx(0.1823 / 2, abs=5e-3)
    assert float(parts["agreement"]) == pytest.approx(0.1823, abs=1e-2)
    alone = scale_errors(predicted(wrong[3:]), batch, [3, 4, 5])
    assert math.isnan(float(alone[0]))
    assert {name: float(value) for name, value in scale_losses(alone, None, batch.layout).items()} == pytest.approx(
        {"scale": 0.0, "agreement": 0.0, "scale_sigma": 0.0}, abs=1e-2
    )


def test_the_sigma_that_costs_least_is_the_mean_error_of_scale(batch_of):
    """A Laplace distribution: over many chunks its likelihood is highest where σ is the mean absolute error."""
    layout = batch_of(1, 2, 3).layout
    layout = dataclasses.replace(layout, sequences=400, chunks=2)
    torch.manual_seed(0)
    scales = torch.stack((torch.zeros(400), 0.2 * torch.randn(400)), dim=1).flatten()
    sigmas = torch.linspace(0.05, 0.5, 46)
    costs = [float(scale_losses(scales, s.log().expand(800), layout)["scale_sigma"]) for s in sigmas]
    assert float(sigmas[costs.index(min(costs))]) == pytest.approx(float(scales[1::2].abs().mean()), abs=0.011)


def test_unknown_depth_costs_nothing_and_sky_costs_confidence(batch_of):
    batch = batch_of(1, 1, 2)
    hole = batch.depth.clone()
    hole[:, :4] = 0
    wild = batch.depth.clone()
    wild[:, :4] = 1000.0
    unknown = torch.zeros_like(batch.sky)
    assert float(depth_loss(predicted(wild), hole, unknown, CONFIG)) == pytest.approx(0.0, abs=1e-6)
    costs = [float(depth_loss(predicted(wild, c), hole, hole == 0, CONFIG)) for c in (1.0, 2.0, 4.0)]
    free = [float(depth_loss(predicted(wild, c), hole, unknown, CONFIG)) for c in (1.0, 2.0, 4.0)]
    grown = [cost - without for cost, without in zip(costs, free, strict=True)]
    assert grown[0] < grown[1] < grown[2]


def test_gradients_see_edges_not_offsets():
    flat = torch.full((1, 8, 8, 1), 0.3)
    edge = flat.clone()
    edge[:, :, 4:] += 1.0
    known = torch.ones(1, 8, 8, dtype=torch.bool)
    assert float(gradient_loss(flat, known)) == 0.0
    assert float(gradient_loss(edge, known)) > 0.05


def test_points_are_held_against_depth_and_camera(batch_of):
    batch = batch_of(1, 1, 2)
    nothing = torch.zeros(*batch.depth.shape, 3)
    assert float(points_loss(predicted(nothing), batch, [0, 1], CONFIG)) > 0.5
