"""Untrained units that can be used, and the figures that tell whether they are."""

import pytest
import torch

from scal3r_ros.model import random_model
from scal3r_ros.model.memory.unit import FastWeights, Projections, fast_weights, gradient
from scal3r_ros.model.weights.presets import NANO
from scal3r_ros.training.memory_units import LARGEST_START, MemoryWatch, hold_start_small, prepare_memory, step_norm


@pytest.fixture
def model():
    return random_model(NANO, 0)


def projections_of(unit, tokens: torch.Tensor) -> Projections:
    from scal3r_ros.model.layers.rope import rotary_of, token_positions

    rows, columns = 2, tokens.shape[1] // 2
    rotary = rotary_of(token_positions(rows, columns, 0, tokens.device), 32, 100.0)
    return unit.project(tokens, rotary)


def test_prepared_units_ask_as_they_were_told(model):
    """What a chunk has just taught is what the same chunk is answered; an unprepared unit answers something else."""
    torch.manual_seed(0)
    likeness = {}
    for prepared in (False, True):
        if prepared:
            prepare_memory(model)
        for layer, unit in model.aggregator.units():
            with torch.no_grad():
                taught = projections_of(unit, torch.randn(1, 8, 64))
                W = fast_weights(unit.initial, gradient(taught, unit.initial))
                answer = (torch.nn.functional.silu(taught.q @ W.w0) * (taught.q @ W.w2)) @ W.w1
            likeness[layer, prepared] = float(torch.cosine_similarity(answer, taught.v, dim=-1).mean())
    for layer, _ in model.aggregator.units():
        assert likeness[layer, False] < 0.3
        assert likeness[layer, True] > 0.6


def test_the_start_is_held_small_and_what_is_small_is_left(model):
    hold_start_small(model, LARGEST_START)
    starts = [[w.clone() for w in unit.initial] for _, unit in model.aggregator.units()]
    for weights in starts:
        for w in weights:
            assert float(w.detach().norm(dim=-2).max()) <= LARGEST_START * step_norm(w) * 1.0001
    hold_start_small(model, 2 * LARGEST_START)
    for weights, (_, unit) in zip(starts, model.aggregator.units(), strict=True):
        for before, after in zip(weights, unit.initial, strict=True):
            torch.testing.assert_close(before, after)


def test_step_norm_is_that_of_orthogonal_rows_or_columns():
    for shape in ((3, 16, 40), (3, 40, 16)):
        u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        norms = (u @ v).norm(dim=-2)
        assert float(norms.square().mean().sqrt()) == pytest.approx(step_norm(torch.empty(shape)), rel=1e-4)


def test_figures_of_a_memory_that_has_learnt_nothing_and_of_one_turned_round(model):
    _, unit = next(model.aggregator.units())
    q = torch.randn(1, 2, 5, 32)
    tokens = torch.randn(1, 5, 64)
    learnt_nothing, turned = MemoryWatch(), MemoryWatch()
    start = FastWeights(*(w[None] for w in unit.initial))
    learnt_nothing.see(1, unit, q, start, (tokens, tokens))
    assert dict(learnt_nothing.metrics()) == pytest.approx(
        {"memory_same_answer_1": 1.0, "memory_change_1": 0.0, "memory_answer_share_1": 0.0}, abs=1e-6
    )
    turned.see(1, unit, q, start._replace(w1=-start.w1), (tokens, 1.5 * tokens))
    figures = dict(turned.metrics())
    assert figures["memory_same_answer_1"] == pytest.approx(-1.0, abs=1e-5)
    assert figures["memory_answer_share_1"] == pytest.approx(0.5, rel=1e-5)
    size = sum(float(w.square().sum()) for w in unit.initial)
    expected = (4 * float(unit.w1.square().sum()) / size) ** 0.5
    assert figures["memory_change_1"] == pytest.approx(expected, rel=1e-4)
