"""Heads: what their numbers mean, and what they may not depend on."""

import pytest
import torch

from scal3r_ros.model import frozen, random_model
from scal3r_ros.model.camera_head import CameraHead, CameraHeadConfig
from scal3r_ros.model.dpt_head import depth_of, points_of
from scal3r_ros.model.presets import NANO


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
            whole, batched = head(features, grid, 8), head(features, grid, 2)
            torch.testing.assert_close(whole.values, batched.values)
            torch.testing.assert_close(whole.confidence, batched.confidence)


def test_some_frames_can_be_decoded_without_the_others(model, chunk):
    features, grid = chunk
    with torch.no_grad():
        some = model.depth([tokens[[1, 3]] for tokens in features], grid)
        torch.testing.assert_close(some.values, model.depth(features, grid).values[[1, 3]])


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
