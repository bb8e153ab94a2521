"""Heads: what their numbers mean, and what they may not depend on."""

from dataclasses import replace

import pytest
import torch

from scal3r_ros.model import frozen, random_model
from scal3r_ros.model.encoder.encoder import StemConfig
from scal3r_ros.model.heads.camera import CameraHead, CameraHeadConfig
from scal3r_ros.model.heads.dpt import depth_of, points_of
from scal3r_ros.model.weights.presets import NANO


@pytest.fixture(scope="module")
def model():
    return random_model(NANO, seed=4)


@pytest.fixture(scope="module")
def chunk(model):
    images = torch.rand(5, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.aggregate(model.encode(images).patches, model.grid(images), frozen), model.grid(images)


def test_dense_maps_do_not_depend_on_how_many_frames_are_worked_on_at_once(model, chunk):
    features, grid = chunk
    with torch.no_grad():
        for head in (model.depth, model.points):
            whole, batched = head(features, grid, frames_at_once=8), head(features, grid, frames_at_once=2)
            torch.testing.assert_close(whole.values, batched.values)
            torch.testing.assert_close(whole.confidence, batched.confidence)


def test_some_frames_can_be_decoded_without_the_others(model, chunk):
    features, grid = chunk
    with torch.no_grad():
        some = model.depth([tokens[[1, 3]] for tokens in features], grid)
        torch.testing.assert_close(some.values, model.depth(features, grid).values[[1, 3]])


def test_detail_is_learnt_from_and_shows_between_patches():
    preset = replace(NANO, encoder=StemConfig(channels=64, patch=8, sees_previous=True), has_point_head=False)
    model = random_model(preset, 0)
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        grid, encoding = model.grid(images), model.encode(images)
        features = model.aggregate(encoding.patches, grid, frozen)
        untaught = model.depth(features, grid, encoding.detail).values
        torch.testing.assert_close(untaught, model.depth(features, grid).values)
        torch.nn.init.normal_(model.depth_head.detail.weight, std=0.1)
        edge = torch.zeros_like(encoding.detail)
        edge[0, :, 5, 7] = 1.0
        change = (model.depth(features, grid, edge).values / untaught).log().abs()
    assert edge.shape == (2, 16, 16, 24)
    assert change[0, 6:14, 10:18].max() > 10 * change[0, :, 30:].max()  # near the edge, not across the image
    torch.testing.assert_close(change[1], torch.zeros_like(change[1]), atol=1e-5, rtol=0)


def test_depth_is_positive_and_confidence_above_one(model, chunk):
    features, grid = chunk
    with torch.no_grad():
        depth = model.depth(features, grid)
    assert depth.values.shape == depth.confidence.shape == (5, 24, 32)
    assert (depth.values > 0).all()
    assert (depth.confidence > 1).all()


def test_meanings_undo_logarithms():
    x = torch.linspace(-30, 30, 61)
    torch.testing.assert_close(points_of(x.sign() * x.abs().log1p()), x)
    torch.testing.assert_close(depth_of(x.abs().add(0.1).log()), x.abs() + 0.1)


def test_camera_head_refines_as_often_as_asked_and_never_sees_negative_angles():
    torch.manual_seed(0)
    head = CameraHead(32, CameraHeadConfig(depth=1, heads=2, iterations=3))
    estimates = head.refinements(torch.randn(6, 9, 32))
    assert len(estimates) == 3
    assert all(estimate.shape == (6, 9) for estimate in estimates)
    assert all((estimate[:, 7:] >= 0).all() for estimate in estimates)


def test_camera_head_reads_camera_tokens_only():
    torch.manual_seed(0)
    head, tokens = CameraHead(32, CameraHeadConfig(depth=1, heads=2)), torch.randn(3, 9, 32)
    other = tokens.clone()
    other[:, 1:] = 0
    assert torch.equal(head(tokens), head(other))
