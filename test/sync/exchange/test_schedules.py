"""Random lives of three nodes: whoever is killed, stopped or started again, no learning is lost or counted twice."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest
import torch

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.layout import GradientLayout
from scal3r_ros.sync.exchange.receiver import GradientReceiver
from scal3r_ros.sync.exchange.sender import GradientSender
from scal3r_ros.sync.exchange.shares import ShareId, Shares
from scal3r_ros.sync.transport.memory import Fault, memory_pair
from scal3r_ros.sync.transport.wire import LinkError

SHAPES = (torch.Size((1, 2, 3)), torch.Size((1, 3, 2)), torch.Size((1, 2, 3)))
LAYOUT = GradientLayout({0: SHAPES, 1: SHAPES})
NAMES = "abc"
MOST_STARTS = 4
ROUNDING = 5e-3
"""Of a share whose node was killed after the first of the rounds that correct bfloat16."""


class Start:
    """One start of a node: it learns, and is stopped or killed."""

    def __init__(self, name: str, number: int) -> None:
        self.shares = Shares(ShareId(name, str(number)), torch.device("cpu"))
        self.G: dict[int, FastWeights] = {}
        self.shares.gradients = lambda: dict(self.G)
        self.stopped = False
        self.delivered: dict[ShareId, int] = {}
        """Versions that their node itself has sent here in a whole round."""

    def learn(self, generator: torch.Generator) -> None:
        layer = int(torch.randint(2, (1,), generator=generator))
        g = FastWeights(*(torch.randn(shape, generator=generator) for shape in SHAPES))
        self.G[layer] = self.G[layer].plus(g) if layer in self.G else g


class Team:
    """The nodes and their connections, each of which ends with its first fault, as `Link` has it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.alive: dict[str, Start] = {}
        self.starts: defaultdict[str, int] = defaultdict(int)
        self.learned: dict[ShareId, dict[int, dict[int, FastWeights]]] = defaultdict(dict)
        self.links: dict[tuple[str, str], tuple[object, ...]] = {}
        self.faults = True
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        self.starts[name] += 1
        self.alive[name] = Start(name, self.starts[name])

    def kill(self, name: str) -> None:
        del self.alive[name]
        for pair in [pair for pair in self.links if name in pair]:
            self.hang_up(pair)

    def hang_up(self, pair: tuple[str, str]) -> None:
        for way in (pair, pair[::-1]):
            self.links.pop(way, None)

    def _fault(self, _: int) -> Fault | None:
        return self.random.choice(list(Fault)) if self.faults and self.random.random() < 0.03 else None

    def link(self, pair: tuple[str, str]):
        if pair not in self.links:
            one, two = memory_pair(self._fault, self._fault)
            for way, wires in ((pair, (one, two)), (pair[::-1], (two, one))):
                inventories: list[object] = [None]  # what the end that sends knows of the other
                self.links[way] = (*wires, GradientSender(LAYOUT), GradientReceiver(LAYOUT), inventories)
        return self.links[pair]

    def round(self, pair: tuple[str, str]) -> int:
        """The first of a pair sends the second a round; what the second's own rounds tell the first is in the link."""
        source, sink = (self.alive[name] for name in pair)
        here, there, sender, receiver, theirs = self.link(pair)
        shares = source.shares.for_peer(pair[1], theirs[0], sender.begun, lambda name: name not in self.alive)
        own = shares[source.shares.own_id]
        self.learned[source.shares.own_id][own.version] = dict(own.gradients)
        try:
            sent = sender.send(here, shares, 0.0, inventory=source.shares.inventory())
            received = receiver.receive(there, 0.0, 0.0)
        except LinkError:
            self.hang_up(pair)
            return 0
        for name, share in received.shares.items():
            sink.shares.take(name, share, pair[0])
        sink.delivered[source.shares.own_id] = own.version
        if received.inventory is not None:
            self.links[pair[::-1]][4][0] = received.inventory
        return sent

    def act(self) -> None:
        name = self.random.choice(NAMES)
        node = self.alive.get(name)
        what = self.random.random()
        if node is None:
            if what < 0.3 and self.starts[name] < MOST_STARTS:
                self.start(name)
        elif what < 0.25:
            node.learn(self.generator)
        elif what < 0.29 and len(self.alive) > 1:
            self.kill(name)
        elif what < 0.34:
            node.stopped = not node.stopped
        elif what < 0.36:
            self.hang_up((name, self.random.choice(NAMES)))
        else:
            other = self.random.choice([other for other in NAMES if other != name])
            if other in self.alive and not node.stopped and not self.alive[other].stopped:
                self.round((name, other))

    def rest(self) -> None:
        """All that still live go on, without faults, until nobody has news."""
        self.faults = False
        for pair in list(self.links):
            self.hang_up(pair)
        for _ in range(40):
            pairs = list(itertools.permutations(sorted(self.alive), 2))
            if sum(self.round(pair) for pair in pairs) == 0 and _ > 3:
                return
        raise AssertionError("the nodes never come to rest")


def total(node: Start) -> dict[int, FastWeights]:
    sums = dict(node.shares.totals())
    for layer, G in node.G.items():
        sums[layer] = sums[layer].plus(G) if layer in sums else G
    return sums


def distance(one: dict[int, FastWeights], two: dict[int, FastWeights]) -> float:
    zero = FastWeights(*(torch.zeros(shape) for shape in SHAPES))
    pairs = [(one.get(layer, zero), two.get(layer, zero)) for layer in LAYOUT.shapes]
    return sum(float((a - b).norm() ** 2) for A, B in pairs for a, b in zip(A, B, strict=True)) ** 0.5


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_the_living_agree_and_nothing_that_arrived_is_lost_or_counted_twice(seed):
    team = Team(seed)
    for _ in range(120):
        team.act()
    arrived: dict[ShareId, int] = {}
    known: dict[ShareId, int] = {}
    for node in team.alive.values():
        node.stopped = False
        for name, version in node.delivered.items():
            arrived[name] = max(version, arrived.get(name, -1))
        for name, version in node.shares.inventory().items():
            known[name] = max(version, known.get(name, -1))
    team.rest()

    living = {node.shares.own_id: node for node in team.alive.values()}
    assert all(known.get(name, version) >= version for name, version in arrived.items())
    expected: dict[int, FastWeights] = {}
    scale = 0.0
    for G in [node.G for node in living.values()] + [
        team.learned[name][version] for name, version in known.items() if name not in living
    ]:
        scale += distance(G, {})
        for layer, g in G.items():
            expected[layer] = expected[layer].plus(g) if layer in expected else g
    sums = [total(node) for node in team.alive.values()]
    for one in sums:
        assert distance(one, expected) <= ROUNDING * scale
