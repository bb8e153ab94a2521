"""The state of the memory: the rules by which it learns from chunk to chunk, its snapshots and its exchange.

Notation as in unit.py: G accumulated gradient, W fast weights, g_t the gradient of chunk t.

    running     G ← λ·G + g_t at W0,  W_t = W(G + G of the peers)
    sequential  W_t = colnorm(W_{t−1} + NS5(g_t at W_{t−1}))
    frozen      W_t = W0

The fourth rule, offline, needs all chunks before it answers the first: see offline.py. Memory and time per chunk are
constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from scal3r_ros.errors import ModelError
from scal3r_ros.model.memory.snapshot import Snapshot, read_snapshot, write_snapshot
from scal3r_ros.model.memory.unit import AdaptiveMemoryUnit, FastWeights, Projections, fast_weights, gradient, step
from scal3r_ros.model.weights.presets import Preset

_SAMPLE_STEP = 16


class MemoryRule(Enum):
    """How gradients become fast weights."""

    RUNNING = "running"
    SEQUENTIAL = "sequential"
    FROZEN = "frozen"


class Synchronizer(Protocol):
    """Sums the gradients of chunks that advance in step, one per process."""

    def begin(self) -> int:
        """Called at the first memory unit: the number of processes that bring a chunk there, this one included."""

    def reduce(self, g: FastWeights) -> FastWeights:
        """The sum of the gradient over all processes, which are all at the same unit."""


class Peers(Protocol):
    """What other robots have learnt so far; never waits for them."""

    def accumulated_gradient(self, layer: int) -> FastWeights | None:
        """Sum of the peers' latest gradients for the unit after `layer`, on that unit's device; None without any."""


class MemoryMark(NamedTuple):
    """A point in a memory's life, see `MemoryState.mark`."""

    chunks_seen: int
    gradients: Mapping[int, FastWeights]
    weights: Mapping[int, FastWeights]
    samples: Mapping[int, tuple[Tensor, Tensor]]


class MemoryState:
    """The memory of one drive, called at every memory unit that a chunk passes (a `FastWeightSource`).

    Args:
        preset: of the network this is the memory of.
        rule: how gradients become fast weights.
        decay: λ in (0, 1] of the running rule; 1 remembers all, 1 − 1/32 keeps to what training saw.
        synchronizer: sums gradients over processes; None for one process alone.
        peers: accumulated gradients of other robots, added by the running rule.

    Tensors are replaced, never changed in place, so another thread may read `accumulated_gradient()` at any time.
    """

    def __init__(
        self,
        preset: Preset,
        rule: MemoryRule = MemoryRule.RUNNING,
        decay: float = 1.0,
        synchronizer: Synchronizer | None = None,
        peers: Peers | None = None,
    ) -> None:
        if not 0 < decay <= 1:
            raise ModelError(f"memory decay is {decay}, but it must lie in 0 (not included) … 1")
        if peers is not None and rule is not MemoryRule.RUNNING:
            raise ModelError(f"a {rule.value} memory cannot learn from peers: use the rule running")
        self.preset = preset
        self.rule = rule
        self.decay = decay
        self.synchronizer = synchronizer
        self.peers = peers
        self.chunks_seen = 0
        self._gradients: dict[int, FastWeights] = {}
        self._weights: dict[int, FastWeights] = {}
        self._samples: dict[int, tuple[Tensor, Tensor]] = {}
        self._sessions: tuple[str, ...] = ()

    def __call__(self, layer: int, unit: AdaptiveMemoryUnit, projections: Projections) -> FastWeights:
        """Learns from a chunk at one unit; returns the weights that answer its queries."""
        return self._learn(layer, unit, lambda W: gradient(projections, W))

    def stand_by(self, units: Iterable[tuple[int, AdaptiveMemoryUnit]]) -> None:
        """Takes part in the sums at all `units`, in order, without a chunk: learns from those of other processes."""
        for layer, unit in units:
            self._learn(layer, unit, lambda W: FastWeights(*map(torch.zeros_like, W)))

    def weights(self, layer: int, unit: AdaptiveMemoryUnit) -> FastWeights:
        """The weights without a new chunk; W0 before the first."""
        if self.rule is MemoryRule.SEQUENTIAL:
            return self._weights.get(layer, unit.initial)
        G = self._total_gradient(layer)
        return (
            unit.initial
            if G is None
            else fast_weights(unit.initial, G, unit.config.newton_schulz_steps, unit.config.step_dtype)
        )

    def accumulated_gradient(self) -> Mapping[int, FastWeights]:
        """G of this robot alone by layer, float32; empty for rules without."""
        return dict(self._gradients)

    def recall(self, layer: int, unit: AdaptiveMemoryUnit, projections: Projections) -> FastWeights:
        """Answers a chunk without learning from it: for loops, or to compare."""
        return self.weights(layer, unit)

    def mark(self) -> MemoryMark:
        """The current state, to return to if a chunk fails half way; makes no copy."""
        return MemoryMark(self.chunks_seen, dict(self._gradients), dict(self._weights), dict(self._samples))

    def rewind(self, mark: MemoryMark) -> None:
        """Forgets everything learnt since `mark`, so that the chunk can be given again."""
        self.chunks_seen = mark.chunks_seen
        self._gradients, self._weights = dict(mark.gradients), dict(mark.weights)
        self._samples = dict(mark.samples)

    def merge(self, gradients: Mapping[int, FastWeights], chunks: int) -> None:
        """Adds what another drive has gathered in `chunks` chunks, as if this one had seen them too (running rule).

        Raises:
            ModelError: the rule accumulates no gradient, or the shapes are those of another network.
        """
        if self.rule is not MemoryRule.RUNNING:
            raise ModelError(f"a {self.rule.value} memory accumulates no gradient to merge with: use the rule running")
        for layer, other in gradients.items():
            own = self._gradients.get(layer)
            if own is not None and [w.shape for w in own] != [w.shape for w in other]:
                raise ModelError(f"gradient for layer {layer} has other shapes than this memory: use the same preset")
            self._gradients[layer] = other if own is None else own.plus(other)
        self.chunks_seen += chunks

    def reset(self) -> None:
        """Forgets everything."""
        self.chunks_seen = 0
        self._gradients, self._weights, self._samples = {}, {}, {}
        self._sessions = ()

    def norms(self) -> dict[int, float]:
        """‖G‖ by layer, or of W where the rule keeps that instead."""
        kept = self._weights if self.rule is MemoryRule.SEQUENTIAL else self._gradients
        return {
            layer: float(torch.stack([w.detach().norm() for w in tensors]).norm()) for layer, tensors in kept.items()
        }

    def changes(self) -> dict[int, float]:
        """‖W_t − W_{t−1}‖ / ‖W_{t−1}‖ by layer over the last chunk, measured on every 16th row and column."""
        return {
            layer: float((after - before).norm() / before.norm()) for layer, (before, after) in self._samples.items()
        }

    def snapshot(self, path: Path, sessions: Iterable[str] = ()) -> None:
        """Writes all that was learnt as safetensors, with the preset's fingerprint.

        `sessions` are the starts of this node under which peers know it; those of a restored memory are kept.
        """
        kept = self._weights if self.rule is MemoryRule.SEQUENTIAL else self._gradients
        names = tuple(sorted({*self._sessions, *sessions}))
        write_snapshot(path, Snapshot(self.preset.fingerprint(), self.rule.value, self.chunks_seen, kept, names))

    def restore(self, path: Path, device: torch.device | str = "cpu") -> tuple[str, ...]:
        """Continues from the memory that wrote `path`, bit for bit; returns the sessions that it was saved with.

        Raises:
            ModelError: no such file, no snapshot, or one of another preset or rule.
        """
        snapshot = read_snapshot(path, device)
        if snapshot.preset != self.preset.fingerprint():
            raise ModelError(
                f"memory snapshot {path} belongs to another preset than {self.preset.name}: start with an empty memory"
                " or use the preset it was made with"
            )
        if snapshot.rule != self.rule.value:
            raise ModelError(
                f"memory snapshot {path} was made by the rule {snapshot.rule}, but this memory's is {self.rule.value}"
            )
        self.chunks_seen = snapshot.chunks
        self._sessions = snapshot.sessions
        kept = dict(snapshot.layers)
        self._samples = {}
        self._weights, self._gradients = (kept, {}) if self.rule is MemoryRule.SEQUENTIAL else ({}, kept)
        return snapshot.sessions

    def _learn(
        self, layer: int, unit: AdaptiveMemoryUnit, gradient_at: Callable[[FastWeights], FastWeights]
    ) -> FastWeights:
        if self.preset.memory is not None and layer == self.preset.memory.layers[0]:
            self.chunks_seen += 1 if self.synchronizer is None else self.synchronizer.begin()
        if self.rule is MemoryRule.FROZEN:
            return unit.initial
        rule = self._sequential if self.rule is MemoryRule.SEQUENTIAL else self._running
        before = self._samples[layer][1] if layer in self._samples else _sample(unit.initial)
        W = rule(layer, unit, gradient_at)
        self._samples[layer] = (before, _sample(W))
        return W

    def _running(
        self, layer: int, unit: AdaptiveMemoryUnit, gradient_at: Callable[[FastWeights], FastWeights]
    ) -> FastWeights:
        g = self._reduced(gradient_at(unit.initial))
        before = self._gradients.get(layer)
        if before is not None:
            g = (before if self.decay == 1 else before.times(self.decay)).plus(g)
        self._gradients[layer] = g
        return self.weights(layer, unit)

    def _sequential(
        self, layer: int, unit: AdaptiveMemoryUnit, gradient_at: Callable[[FastWeights], FastWeights]
    ) -> FastWeights:
        before = self._weights.get(layer, unit.initial)
        g = self._reduced(gradient_at(before))
        after = step(before, g, unit.initial, unit.config.newton_schulz_steps, unit.config.step_dtype)
        self._weights[layer] = after
        return after

    def _reduced(self, g: FastWeights) -> FastWeights:
        return g if self.synchronizer is None else self.synchronizer.reduce(g)

    def _total_gradient(self, layer: int) -> FastWeights | None:
        own = self._gradients.get(layer)
        others = self.peers.accumulated_gradient(layer) if self.peers is not None else None
        if own is None or others is None:
            return own if others is None else others
        return own.plus(others)


def _sample(W: FastWeights) -> Tensor:
    return torch.cat([w.detach()[..., ::_SAMPLE_STEP, ::_SAMPLE_STEP].flatten() for w in W])


def frozen(layer: int, unit: AdaptiveMemoryUnit, projections: Projections) -> FastWeights:
    """A memory that never learns: W0 for every chunk."""
    return unit.initial
