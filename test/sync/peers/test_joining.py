"""Who may join, and what they can do: nobody without the key, and nothing that is not a plausible gradient, counts."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.layout import GradientLayout, SharedNetwork
from scal3r_ros.sync.exchange.sender import GradientSender
from scal3r_ros.sync.peers import link
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.peers.peers import MemoryPeers

SHAPES = (torch.Size((1, 4, 8)), torch.Size((1, 8, 4)), torch.Size((1, 4, 8)))
NETWORK = SharedNetwork("preset", "weights", GradientLayout({2: SHAPES, 5: SHAPES}), torch.device("cpu"))
SOON_S = 60.0

pytestmark = pytest.mark.timeout(200)


def learned(seed: int, scale: float = 1.0) -> dict[int, FastWeights]:
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: FastWeights(*(scale * torch.randn(shape, generator=generator) for shape in SHAPES))
        for layer in NETWORK.layout.shapes
    }


class Robot:
    """A node without a network: what it has learned is given."""

    def __init__(self, name: str, address: str, G: dict[int, FastWeights], network: SharedNetwork, **given: object):
        config = MemoryPeersConfig(address, name=name, period_s=0.05, deadline_s=2.0, **given)
        self.G = G
        self.peers = MemoryPeers(config, name, network)
        self.peers.start(lambda: self.G)

    def heard(self) -> dict[int, FastWeights | None]:
        return {layer: self.peers.accumulated_gradient(layer) for layer in NETWORK.layout.shapes}

    def has_heard(self, *others: dict[int, FastWeights]) -> bool:
        for layer, total in self.heard().items():
            if total is None:
                return not others
            for index, w in enumerate(total):
                expected = sum(G[layer][index] for G in others)
                if not isinstance(expected, torch.Tensor) or not torch.allclose(w, expected, rtol=1e-5, atol=1e-6):
                    return False
        return bool(others)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Robot]]:
    """Starts robots that meet at one address; a key is given by its text."""
    robots: list[Robot] = []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"

    def make(name: str, G: dict[int, FastWeights], key: str = "", network: SharedNetwork = NETWORK, **given: object):
        file = tmp_path / f"key of {name}"
        file.write_text(key)
        file.chmod(0o600)
        robots.append(Robot(name, address, G, network, key_file=str(file) if key else "", **given))
        return robots[-1]

    yield make
    for robot in robots:
        robot.peers.close()


def within(condition: Callable[[], object], seconds: float = SOON_S) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("backend", ["auto", "gloo"])
def test_who_knows_the_key_joins(start, backend, caplog):
    caplog.set_level(logging.INFO, "scal3r_ros")
    a, b = (start(name, learned(i), key="0123456789abcdef", backend=backend) for i, name in enumerate("ab"))
    assert within(lambda: a.has_heard(b.G) and b.has_heard(a.G))
    assert a.peers.metrics()["peer_refusals"] == 0
    assert sum("peers need the key" in record.message for record in caplog.records) == 2


def test_without_a_key_the_log_says_to_what_the_exchange_is_bound(start, caplog):
    caplog.set_level(logging.INFO, "scal3r_ros")
    start("a", learned(0), interface="lo")
    start("b", learned(1))
    bound = [record.message for record in caplog.records if "is bound to" in record.message]
    assert len(bound) == 2
    assert "127.0.0.1" in bound[0]
    assert "the loopback" in bound[1]


@pytest.mark.parametrize("other", ["", "another key of 16"])
def test_who_does_not_know_the_key_is_refused_by_both_once_and_changes_nothing(start, other, caplog):
    a, b = start("a", learned(0), key="0123456789abcdef"), start("b", learned(1), key="0123456789abcdef")
    assert within(lambda: a.has_heard(b.G) and b.has_heard(a.G))
    stranger = start("stranger", learned(2), key=other)
    assert within(lambda: a.peers.metrics()["peer_refusals"] and stranger.peers.metrics()["peer_refusals"])
    time.sleep(1.0)
    assert a.has_heard(b.G)
    assert b.has_heard(a.G)
    assert stranger.has_heard()
    lines = [record.message for record in caplog.records if "memory peer stranger is refused" in record.message]
    assert len(lines) == 2  # one by a, one by b
    assert all("another key" in line for line in lines)
    assert a.peers.metrics()["peer_refusals"] == 1


def test_another_preset_is_refused_and_changes_nothing(start):
    a = start("a", learned(0))
    old = start("old", learned(1), network=SharedNetwork("old", "weights", NETWORK.layout, torch.device("cpu")))
    assert within(lambda: a.peers.metrics()["peer_refusals"] == 1 and old.peers.metrics()["peer_refusals"] == 1)
    assert a.has_heard()
    assert old.has_heard()


class Broken(GradientSender):
    """Sends not-a-number for whatever has changed, duly signed, once its robot is `ill`."""

    ill = threading.Event()

    def _news(self, to_peer, share):
        for layer, change in super()._news(to_peer, share):
            yield layer, torch.full_like(change, float("nan")) if self.ill.is_set() else change


@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
@pytest.mark.parametrize("kind", ["nan", "huge", "late huge"])
def test_a_broken_robot_is_put_aside_and_its_earlier_share_can_be_taken_out(start, kind, forget, monkeypatch, caplog):
    Broken.ill.clear()
    own_layout = GradientLayout(NETWORK.layout.shapes)

    def sender(layout: GradientLayout, key: bytes) -> GradientSender:
        to_a = threading.current_thread().name == "peer a"
        return (Broken if to_a and layout is own_layout else GradientSender)(layout, key)

    monkeypatch.setattr(link, "GradientSender", sender)
    a = start("a", {} if kind == "late huge" else learned(0), forget_broken=forget)
    sick = start("sick", learned(1), network=replace(NETWORK, layout=own_layout))
    well = start("well", learned(2))
    before = sick.G
    assert within(lambda: a.has_heard(before, well.G))
    a.G = a.G or learned(0)
    if kind == "nan":
        Broken.ill.set()
    sick.G = learned(3, scale={"nan": 1.0, "huge": 1e12, "late huge": 1e20}[kind])
    assert within(lambda: a.peers.metrics()["peer_refusals"])
    time.sleep(1.0)
    # Nothing of it came through, and no further attempt was made.
    assert a.has_heard(*([] if forget else [before]), well.G)
    assert a.peers.metrics()["peer_refusals"] == 1
    lines = [record.message for record in caplog.records if "what it has taught before" in record.message]
    assert len(lines) == (1 if kind == "nan" else 2)  # one by each robot that it was sent to
    taken_out = sum("is taken out" in line for line in lines)  # by a alone: the other keeps what it has heard
    assert taken_out == int(forget)


def test_excluded_peers_are_not_shared_with_and_others_are(start):
    a, b, c = start("a", learned(0)), start("b", learned(1)), start("c", learned(2), excluded=("a",))
    assert within(lambda: a.has_heard(b.G) and c.has_heard(b.G) and b.has_heard(a.G, c.G))
    time.sleep(0.5)
    assert a.has_heard(b.G)
    assert c.has_heard(b.G)
