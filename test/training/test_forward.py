"""Many chunks at once are what the network says of them one by one, and gradients go through the memory."""

import pytest
import torch

from scal3r_ros.model import MemoryRule, MemoryState, reconstruct_offline
from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.model.offline import InMemory
from scal3r_ros.training.data.batches import in_time
from scal3r_ros.training.forward import ChunkContext, forward_chunks
from scal3r_ros.training.losses import LossConfig, loss_of

# Newton-Schulz steps are bfloat16 and enlarge the last bit of what is summed in another order.
ROUNDING = 2e-2


def forward(model, batch, context=ChunkContext.RUNNING, **options):
    every = list(range(batch.layout.all_frames))
    return forward_chunks(
        model, batch.images, batch.previous, batch.layout, every, within=batch.within, context=context, **options
    )


@pytest.mark.parametrize(
    ("context", "rule"), [(ChunkContext.RUNNING, MemoryRule.RUNNING), (ChunkContext.FROZEN, MemoryRule.FROZEN)]
)
def test_chunks_at_once_are_chunks_one_after_another(model, batch_of, context, rule):
    batch = batch_of(2, 3, 4)
    with torch.no_grad():
        together = forward(model, batch, context)
        frames, place = batch.layout.frames, 0
        for _ in range(2):
            memory = MemoryState(model.preset, rule)
            for _ in range(3):
                chunk = slice(place, place + frames)
                # The first frame's predecessor is in another chunk: it is encoded beforehand.
                whole = model.encode(batch.images, previous=batch.previous)
                encoding = Encoding(*(rows[chunk] for rows in whole))
                grid = model.grid(batch.images)
                features = model.aggregate(encoding.patches, grid, memory)
                alone = model.decode(features, grid, encoding, previous=batch.within)
                torch.testing.assert_close(together.poses[-1][chunk], alone.pose_encoding, atol=ROUNDING, rtol=ROUNDING)
                torch.testing.assert_close(
                    together.depth.values[chunk], alone.depth.values, atol=ROUNDING, rtol=ROUNDING
                )
                place += frames


def test_joint_context_is_the_released_algorithm(model, batch_of):
    batch = batch_of(1, 2, 4)
    with torch.no_grad():
        together = forward(model, batch, ChunkContext.JOINT)
        within = [place - 4 * (place // 4) for place in batch.previous[:4]]
        chunks = list(batch.images.split(4))
        # Offline, every chunk starts without a frame before it.
        batch.previous[4:] = [4 + place for place in within]
        together = forward(model, batch, ChunkContext.JOINT)
        apart = list(reconstruct_offline(model, chunks, InMemory(), previous=lambda _: within))
    for chunk, prediction in enumerate(apart):
        predicted = together.poses[-1][4 * chunk : 4 * chunk + 4]
        torch.testing.assert_close(predicted, prediction.pose_encoding, atol=ROUNDING, rtol=ROUNDING)


def test_what_a_chunk_says_depends_on_those_before_it_alone(model, batch_of):
    batch = batch_of(1, 3, 3)
    with torch.no_grad():
        before = in_time(forward(model, batch).poses[-1], batch)
        batch.images[6:] = torch.rand_like(batch.images[6:])
        running = in_time(forward(model, batch).poses[-1], batch)
        joint = in_time(forward(model, batch, ChunkContext.JOINT).poses[-1], batch)
    torch.testing.assert_close(running[:2], before[:2])
    assert (joint[0] - before[0]).abs().max() > 1e-6


def test_gradients_reach_what_made_the_evidence(model, batch_of):
    """The loss of the second chunk alone moves the first chunk's keys, through G and the Newton-Schulz steps."""
    batch = batch_of(1, 2, 3)
    batch.images.requires_grad_(True)
    outputs = forward(model, batch)
    outputs.poses[-1][3:].square().sum().backward()
    through_memory = batch.images.grad[:2]  # the third frame is shared, and shown to the second chunk's stem
    assert through_memory.isfinite().all()
    assert through_memory.abs().max() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.aggregator.memory_units.parameters())


def test_gradient_through_the_memory_is_that_of_finite_differences(model, batch_of):
    """Newton-Schulz in double precision: in bfloat16 a finite difference drowns in rounding."""
    from scal3r_ros.model.memory import unit as memory

    unit = model.aggregator.unit(1).double()
    k, v = torch.randn(2, 3, 32, dtype=torch.float64), torch.randn(2, 3, 32, dtype=torch.float64)
    projections = memory.Projections(k, k, v, torch.full((3, 2, 3, 1), 0.1, dtype=torch.float64))

    def answer(direction: float, which: str) -> torch.Tensor:
        W0 = memory.FastWeights(**{n: p + direction * (n == which) * moves[n] for n, p in start.items()})
        W = memory.fast_weights(W0, memory.gradient(projections, W0), 5, torch.float64)
        return memory.apply(k, W).square().sum()

    start = {n: p.detach().clone().requires_grad_(True) for n, p in unit.initial._asdict().items()}
    moves = {n: torch.randn_like(p) for n, p in start.items()}
    gradients = dict(zip(start, torch.autograd.grad(answer(0.0, ""), list(start.values())), strict=True))
    for name in start:
        with torch.no_grad():
            numeric = (answer(1e-6, name) - answer(-1e-6, name)) / 2e-6
        assert float(numeric) == pytest.approx(float((gradients[name] * moves[name]).sum()), rel=1e-4)


def test_the_released_bfloat16_steps_have_nearly_the_gradient_of_exact_ones(model, batch_of):
    """Through bfloat16 the direction of the gradient survives."""
    from scal3r_ros.model.memory.unit import newton_schulz

    torch.manual_seed(0)
    G = torch.randn(2, 24, 48, requires_grad=True)
    target = torch.randn(2, 24, 48)
    (rough,) = torch.autograd.grad((newton_schulz(G, 5).float() * target).sum(), G)
    X = G / G.norm(dim=(-2, -1), keepdim=True)
    for _ in range(5):
        A = X @ X.mT
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    (exact,) = torch.autograd.grad((X * target).sum(), G)
    assert torch.cosine_similarity(rough.flatten(), exact.flatten(), dim=0) > 0.95


def test_all_that_learns_gets_a_gradient_in_bfloat16(model, batch_of):
    batch = batch_of(2, 2, 3)
    dense = [0, 5, 7]
    with torch.autocast("cpu", torch.bfloat16):
        outputs = forward_chunks(model, batch.images, batch.previous, batch.layout, dense, within=batch.within)
    loss_of(outputs, batch, dense, LossConfig()).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
