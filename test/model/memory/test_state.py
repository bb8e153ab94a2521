"""Rules, marks, merging, snapshots and exchange of the streaming memory."""

import itertools
import subprocess
import sys

import pytest
import torch

from scal3r_ros.errors import ModelError
from scal3r_ros.model import FastWeights, MemoryRule, MemoryState, frozen, random_model
from scal3r_ros.model.memory.unit import fast_weights, gradient
from scal3r_ros.model.weights.presets import NANO, SMALL

LAYERS = NANO.memory.layers


def chunk(index: int, frames: int = 3) -> torch.Tensor:
    return torch.rand(frames, 3, 32, 64, generator=torch.Generator().manual_seed(index))


@pytest.fixture(scope="module")
def model():
    return random_model(NANO, seed=1)


def pass_chunks(model, memory, chunks):
    with torch.no_grad():
        return [model(images, memory) for images in chunks][-1]


def gradients_at_start(model, images) -> dict[int, FastWeights]:
    """g of one chunk at W0 for every unit, the tokens being answered by a frozen memory."""
    found = {}

    def source(layer, unit, projections):
        found[layer] = gradient(projections, unit.initial)
        return unit.initial

    pass_chunks(model, source, [images])
    return found


def assert_equal(ours: FastWeights, theirs: FastWeights):
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def assert_close(ours: FastWeights, theirs: FastWeights, relative: float = 1e-5):
    assert all((a - b).norm() <= relative * b.norm() for a, b in zip(ours, theirs, strict=True))


def test_running_gradient_at_the_first_unit_is_the_decayed_sum_of_gradients(model):
    decay = 0.5
    memory = MemoryState(NANO, decay=decay)
    pass_chunks(model, memory, [chunk(i) for i in range(3)])
    g = [gradients_at_start(model, chunk(i))[LAYERS[0]] for i in range(3)]
    assert_close(memory.accumulated_gradient()[LAYERS[0]], g[0].times(decay**2).plus(g[1].times(decay)).plus(g[2]))
    assert memory.chunks_seen == 3


def test_running_gradient_at_the_first_unit_does_not_depend_on_the_order_of_chunks(model):
    forward, backward = MemoryState(NANO), MemoryState(NANO)
    pass_chunks(model, forward, [chunk(i) for i in range(3)])
    pass_chunks(model, backward, [chunk(i) for i in reversed(range(3))])
    assert_close(forward.accumulated_gradient()[LAYERS[0]], backward.accumulated_gradient()[LAYERS[0]])


def test_frozen_equals_a_memory_that_never_saw_anything(model):
    memory = MemoryState(NANO, MemoryRule.FROZEN)
    ours = pass_chunks(model, memory, [chunk(i) for i in range(3)])
    for never_taught in (MemoryState(NANO).recall, frozen):
        theirs = pass_chunks(model, never_taught, [chunk(2)])
        assert torch.equal(ours.depth.values, theirs.depth.values)
        assert torch.equal(ours.pose_encoding, theirs.pose_encoding)
    assert not memory.accumulated_gradient()


def test_a_memory_that_learns_answers_differently(model):
    learning = pass_chunks(model, MemoryState(NANO), [chunk(0)])
    assert not torch.equal(learning.depth.values, pass_chunks(model, frozen, [chunk(0)]).depth.values)


def test_recall_answers_without_learning(model):
    memory = MemoryState(NANO)
    pass_chunks(model, memory, [chunk(0)])
    before = memory.accumulated_gradient()
    pass_chunks(model, memory.recall, [chunk(1)])
    assert memory.chunks_seen == 1
    assert all(memory.accumulated_gradient()[layer] is before[layer] for layer in LAYERS)


def test_sequential_starts_like_running_and_then_goes_its_own_way(model):
    running, sequential = MemoryState(NANO), MemoryState(NANO, MemoryRule.SEQUENTIAL)
    unit = model.aggregator.unit(LAYERS[0])
    for memory in (running, sequential):
        pass_chunks(model, memory, [chunk(0)])
    assert_equal(sequential.weights(LAYERS[0], unit), running.weights(LAYERS[0], unit))
    for memory in (running, sequential):
        pass_chunks(model, memory, [chunk(1)])
    assert not torch.equal(sequential.weights(LAYERS[0], unit).w0, running.weights(LAYERS[0], unit).w0)
    for w, start in zip(sequential.weights(LAYERS[0], unit), unit.initial, strict=True):
        torch.testing.assert_close(w.norm(dim=-2), start.norm(dim=-2), rtol=1e-4, atol=0)


def test_merge_order_does_not_matter_within_rounding(model):
    robots = []
    for i in range(3):
        memory = MemoryState(NANO)
        pass_chunks(model, memory, [chunk(10 * i), chunk(10 * i + 1)])
        robots.append(memory.accumulated_gradient())
    merged = []
    for order in itertools.permutations(robots):
        memory = MemoryState(NANO)
        for gradients in order:
            memory.merge(gradients, chunks=2)
        merged.append(memory)
    for other in merged[1:]:
        assert other.chunks_seen == merged[0].chunks_seen == 6
        for layer in LAYERS:
            assert_close(other.accumulated_gradient()[layer], merged[0].accumulated_gradient()[layer], relative=1e-6)


def test_two_merged_robots_know_at_the_first_unit_what_one_that_drove_both_halves_knows(model):
    one, left, right = MemoryState(NANO), MemoryState(NANO), MemoryState(NANO)
    pass_chunks(model, one, [chunk(i) for i in range(4)])
    pass_chunks(model, left, [chunk(0), chunk(1)])
    pass_chunks(model, right, [chunk(2), chunk(3)])
    left.merge(right.accumulated_gradient(), right.chunks_seen)
    assert_close(left.accumulated_gradient()[LAYERS[0]], one.accumulated_gradient()[LAYERS[0]])


def test_synchronizer_sees_every_gradient_once_and_its_sum_is_what_is_learnt(model):
    class OneMoreChunk:
        def __init__(self):
            self.seen = []

        def begin(self):
            return 2

        def reduce(self, g):
            self.seen.append(g)
            return g.plus(g)

    synchronizer = OneMoreChunk()
    memory = MemoryState(NANO, synchronizer=synchronizer)
    pass_chunks(model, memory, [chunk(0)])
    assert len(synchronizer.seen) == len(LAYERS)
    assert memory.chunks_seen == 2
    assert_equal(memory.accumulated_gradient()[LAYERS[0]], synchronizer.seen[0].times(2))


def test_peers_gradients_change_the_weights_but_not_the_own_gradient(model):
    theirs = gradients_at_start(model, chunk(7))

    class OnePeer:
        def accumulated_gradient(self, layer):
            return theirs[layer]

    alone, together = MemoryState(NANO), MemoryState(NANO, peers=OnePeer())
    for memory in (alone, together):
        pass_chunks(model, memory, [chunk(0)])
    layer, unit = LAYERS[0], model.aggregator.unit(LAYERS[0])
    assert_equal(together.accumulated_gradient()[layer], alone.accumulated_gradient()[layer])
    total = alone.accumulated_gradient()[layer].plus(theirs[layer])
    with torch.no_grad():
        assert_equal(together.weights(layer, unit), fast_weights(unit.initial, total))


@pytest.mark.parametrize("rule", [MemoryRule.RUNNING, MemoryRule.SEQUENTIAL])
def test_rewound_memory_repeats_a_chunk_as_if_it_had_never_failed(model, rule):
    once, twice = MemoryState(NANO, rule), MemoryState(NANO, rule)
    pass_chunks(model, once, [chunk(0), chunk(1)])
    pass_chunks(model, twice, [chunk(0)])
    mark = twice.mark()
    pass_chunks(model, twice, [chunk(5)])
    twice.rewind(mark)
    pass_chunks(model, twice, [chunk(1)])
    assert twice.chunks_seen == 2
    for layer, unit in model.aggregator.units():
        assert_equal(twice.weights(layer, unit), once.weights(layer, unit))


_CONTINUE = """
import sys, torch
from pathlib import Path
from scal3r_ros.model import MemoryRule, MemoryState, random_model
from scal3r_ros.model.weights.presets import NANO
torch.set_num_threads(1)
folder, rule = Path(sys.argv[1]), MemoryRule(sys.argv[2])
memory = MemoryState(NANO, rule, decay=0.75)
memory.restore(folder / "half.safetensors")
images = torch.rand(3, 3, 32, 64, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    prediction = random_model(NANO, seed=1)(images, memory)
torch.save(prediction.depth.values, folder / "depth.pt")
memory.snapshot(folder / "continued.safetensors")
"""


@pytest.mark.parametrize("rule", [MemoryRule.RUNNING, MemoryRule.SEQUENTIAL])
def test_restored_in_a_new_process_continues_bit_for_bit(model, rule, tmp_path):
    memory = MemoryState(NANO, rule, decay=0.75)
    pass_chunks(model, memory, [chunk(0)])
    memory.snapshot(tmp_path / "half.safetensors")
    depth = pass_chunks(model, memory, [chunk(1)]).depth.values
    memory.snapshot(tmp_path / "whole.safetensors")
    subprocess.run([sys.executable, "-c", _CONTINUE, str(tmp_path), rule.value], check=True, timeout=100)
    assert torch.equal(torch.load(tmp_path / "depth.pt", weights_only=True), depth)
    continued, whole = MemoryState(NANO, rule), MemoryState(NANO, rule)
    continued.restore(tmp_path / "continued.safetensors")
    whole.restore(tmp_path / "whole.safetensors")
    assert continued.chunks_seen == whole.chunks_seen == 2
    for layer, unit in model.aggregator.units():
        assert_equal(continued.weights(layer, unit), whole.weights(layer, unit))


@pytest.mark.parametrize("rule", MemoryRule)
def test_snapshot_before_the_first_chunk_restores_an_empty_memory(model, rule, tmp_path):
    MemoryState(NANO, rule).snapshot(tmp_path / "empty.safetensors")
    memory = MemoryState(NANO, rule)
    pass_chunks(model, memory, [chunk(0)])
    memory.restore(tmp_path / "empty.safetensors")
    assert memory.chunks_seen == 0
    assert not memory.norms()


def test_snapshot_of_another_preset_or_rule_is_refused(model, tmp_path):
    memory = MemoryState(NANO)
    pass_chunks(model, memory, [chunk(0)])
    memory.snapshot(tmp_path / "memory.safetensors")
    with pytest.raises(ModelError, match="another preset"):
        MemoryState(SMALL).restore(tmp_path / "memory.safetensors")
    with pytest.raises(ModelError, match="rule running"):
        MemoryState(NANO, MemoryRule.SEQUENTIAL).restore(tmp_path / "memory.safetensors")


def test_what_is_no_snapshot_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ModelError, match="cannot be read"):
        MemoryState(NANO).restore(tmp_path / "text.safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        MemoryState(NANO).restore(tmp_path / "absent.safetensors")
    with pytest.raises(ModelError, match="cannot be written"):
        MemoryState(NANO).snapshot(tmp_path / "no" / "such" / "folder.safetensors")


def test_impossible_settings_are_refused(model):
    with pytest.raises(ModelError, match="decay"):
        MemoryState(NANO, decay=0.0)
    with pytest.raises(ModelError, match="merge"):
        MemoryState(NANO, MemoryRule.FROZEN).merge({}, chunks=0)
    with pytest.raises(ModelError, match="peers"):
        MemoryState(NANO, MemoryRule.SEQUENTIAL, peers=object())
    memory = MemoryState(NANO)
    pass_chunks(model, memory, [chunk(0)])
    foreign = FastWeights(*(torch.zeros(1, 2, 3) for _ in range(3)))
    with pytest.raises(ModelError, match="other shapes"):
        memory.merge({LAYERS[0]: foreign}, chunks=1)


def test_figures_tell_of_a_memory_that_settles(model):
    memory = MemoryState(NANO)
    pass_chunks(model, memory, [chunk(0)])
    first = memory.changes()
    assert set(first) == set(memory.norms()) == set(LAYERS)
    assert all(change > 0 for change in first.values())
    pass_chunks(model, memory, [chunk(0)])
    assert memory.changes()[LAYERS[0]] < 0.1 * first[LAYERS[0]]
    memory.reset()
    assert memory.chunks_seen == 0
    assert not memory.norms()
    assert not memory.changes()
