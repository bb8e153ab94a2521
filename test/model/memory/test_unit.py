"""The memory's mathematics against autograd and against what it promises."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scal3r_ros.model.layers.rope import rotary_of, token_positions
from scal3r_ros.model.memory import unit as memory
from scal3r_ros.model.memory.unit import (
    AdaptiveMemoryUnit,
    FastWeights,
    MemoryConfig,
    Projections,
    apply,
    fast_weights,
    gradient,
    newton_schulz,
)


def random_case(heads: int, tokens: int = 23, channels: int = 8, hidden: int = 24, dtype=torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    W = FastWeights(normal(heads, channels, hidden), normal(heads, hidden, channels), normal(heads, channels, hidden))
    lr = torch.rand(3, heads, tokens, 1, generator=generator, dtype=torch.float64).to(dtype)
    return Projections(*(normal(heads, tokens, channels) for _ in range(3)), lr), W


def autograd_gradient(projections: Projections, W: FastWeights) -> FastWeights:
    """Σ_i lr_i ∂(f_W(k_i) · v_i)/∂W, one weight matrix at a time, the learning rates taking part as constants."""
    parts = []
    for j in range(3):
        weights = [w.clone().requires_grad_(i == j) for i, w in enumerate(W)]
        answers = apply(projections.k, FastWeights(*weights))
        inner = (projections.lr[j] * answers * projections.v).sum()
        parts.append(torch.autograd.grad(inner, weights[j])[0])
    return FastWeights(*parts)


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_closed_form_gradient_equals_autograd_in_double_precision(heads):
    projections, W = random_case(heads)
    for ours, theirs in zip(gradient(projections, W), autograd_gradient(projections, W), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_closed_form_gradient_holds_in_narrower_types(dtype, tolerance):
    projections, W = random_case(2, dtype=dtype)
    wide = gradient(Projections(*(p.double() for p in projections)), FastWeights(*(w.double() for w in W)))
    for ours, theirs in zip(gradient(projections, W), wide, strict=True):
        assert (ours.double() - theirs).norm() < tolerance * theirs.norm()


def test_gradient_and_answer_do_not_depend_on_how_many_tokens_are_worked_on_at_once(monkeypatch):
    projections, W = random_case(2)
    whole_g, whole_y = gradient(projections, W), apply(projections.q, W)
    monkeypatch.setattr(memory, "_TOKENS_AT_ONCE", 5)
    torch.testing.assert_close(apply(projections.q, W), whole_y)
    for ours, theirs in zip(gradient(projections, W), whole_g, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradient_of_two_chunks_is_the_sum_of_their_gradients():
    projections, W = random_case(1, tokens=20)
    first, second = (Projections(*(p[..., part, :] for p in projections)) for part in (slice(8), slice(8, None)))
    for ours, theirs in zip(gradient(first, W).plus(gradient(second, W)), gradient(projections, W), strict=True):
        torch.testing.assert_close(ours, theirs)


@given(st.integers(0, 1000), st.sampled_from([(1, 16, 64), (2, 64, 16), (3, 32, 32)]))
def test_newton_schulz_brings_singular_values_near_one_and_keeps_the_direction(seed, shape):
    G = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    X = newton_schulz(G, steps=5).float()
    u, s, vh = torch.linalg.svd(G, full_matrices=False)
    well_above_nothing = s > 0.05 * s.amax(dim=-1, keepdim=True)
    along = (u.mT @ X @ vh.mT).diagonal(dim1=-2, dim2=-1)
    assert ((along > 0.4) & (along < 1.4))[well_above_nothing].all()


def test_newton_schulz_is_free_of_scale():
    G = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(newton_schulz(G, 5), newton_schulz(1024 * G, 5), rtol=0.02, atol=0.02)


def test_fast_weights_keep_the_column_norms_of_the_start():
    projections, W0 = random_case(2, dtype=torch.float32)
    W = fast_weights(W0, gradient(projections, W0))
    for moved, start in zip(W, W0, strict=True):
        torch.testing.assert_close(moved.norm(dim=-2), start.norm(dim=-2), rtol=1e-4, atol=0)
        assert (moved - start).norm() > 0.01 * start.norm()


def test_no_gradient_leaves_the_start():
    _, W0 = random_case(1, dtype=torch.float32)
    nothing = FastWeights(*(torch.zeros_like(w) for w in W0))
    for moved, start in zip(fast_weights(W0, nothing), W0, strict=True):
        torch.testing.assert_close(moved, start, rtol=1e-4, atol=0)


def test_learning_lowers_the_inner_loss():
    projections, W0 = random_case(1, tokens=64, dtype=torch.float32)
    W = fast_weights(W0, gradient(projections, W0))

    def inner_loss(weights):
        return -(apply(projections.k, weights) * projections.v).sum()

    assert inner_loss(W) < inner_loss(W0)


def test_unit_projects_unit_length_keys_and_positive_learning_rates():
    torch.manual_seed(0)
    unit = AdaptiveMemoryUnit(32, MemoryConfig(layers=(0,), heads=2, base_lr=0.01))
    torch.nn.init.zeros_(unit.lrs.weight)
    torch.nn.init.zeros_(unit.lrs.bias)
    rotary = rotary_of(token_positions(2, 3, 0, torch.device("cpu")), 16, 100.0)
    projections = unit.project(torch.randn(4, 6, 32), rotary)
    assert projections.k.shape == (2, 24, 16)
    torch.testing.assert_close(projections.k.pow(2).mean(-1), torch.ones(2, 24), rtol=1e-3, atol=0)
    torch.testing.assert_close(projections.lr, torch.full((3, 2, 24, 1), 0.01))


def test_gradients_reach_the_slow_weights_through_a_memory_step():
    torch.manual_seed(0)
    unit = AdaptiveMemoryUnit(32, MemoryConfig(layers=(0,), heads=1))
    rotary = rotary_of(token_positions(2, 3, 0, torch.device("cpu")), 32, 100.0)
    projections = unit.project(torch.randn(2, 6, 32), rotary)
    W = fast_weights(unit.initial, gradient(projections, unit.initial))
    unit.read(projections.q, W).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in unit.parameters())
    assert unit.w0.grad.norm() > 0
    assert unit.lrs.weight.grad.norm() > 0
