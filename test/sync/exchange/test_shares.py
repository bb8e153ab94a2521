"""Shares of many starts of many nodes: each counts once, whatever way it came and whoever was killed meanwhile."""

from __future__ import annotations

import threading

import pytest
import torch

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.shares import FORGOTTEN, Share, ShareId, Shares

SHAPES = (torch.Size((1, 4, 8)), torch.Size((1, 8, 4)), torch.Size((1, 4, 8)))


def gradients(seed: int, layers: tuple[int, ...] = (2, 5)) -> dict[int, FastWeights]:
    generator = torch.Generator().manual_seed(seed)
    return {layer: FastWeights(*(torch.randn(shape, generator=generator) for shape in SHAPES)) for layer in layers}


def shares(name: str = "me", session: str = "1") -> Shares:
    return Shares(ShareId(name, session), torch.device("cpu"))


def take(node: Shares, name: str, G: dict[int, FastWeights], version: int = 1, session: str = "1", source: str = ""):
    return node.take(ShareId(name, session), Share(version, G), source or name)


def equal(node: Shares, *parts: dict[int, FastWeights]) -> bool:
    for layer in (2, 5):
        found, here = node.total(layer), [part[layer] for part in parts if layer in part]
        if found is None or not here:
            if found is not None or here:
                return False
            continue
        for index, w in enumerate(found):
            torch.testing.assert_close(w, sum(part[index] for part in here))
    return True


def test_the_sum_of_shares_is_that_of_the_latest_and_does_not_depend_on_the_order_they_came_in():
    one, two = shares(), shares()
    a, b, c = gradients(1), gradients(2), gradients(3, layers=(5,))
    for version, (name, share) in enumerate((("a", c), ("a", a), ("b", b), ("c", c))):
        assert take(one, name, share, version)
    for name, share in (("c", c), ("b", b), ("a", a)):
        assert take(two, name, share, 1)
    assert equal(one, a, b, c)
    for layer in (2, 5):
        assert all(torch.equal(w, v) for w, v in zip(one.total(layer), two.total(layer), strict=True))
    for name in "abc":
        assert one.forget(name)
    assert one.total(2) is one.total(5) is None


def test_a_sum_that_was_read_is_never_changed():
    node = shares()
    take(node, "a", gradients(1))
    before = node.total(2)
    copy = before.w0.clone()
    threads = [threading.Thread(target=take, args=(node, name, gradients(i))) for i, name in enumerate("bcd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(before.w0, copy)
    assert node.total(2) is not before


def test_what_earlier_starts_have_learned_stays_beside_what_the_new_one_learns():
    node = shares()
    take(node, "a", gradients(1), session="1")
    take(node, "a", gradients(2), session="2")
    assert equal(node, gradients(1), gradients(2))


def test_an_older_version_by_way_of_another_node_is_no_news():
    node = shares()
    take(node, "a", gradients(2), version=2)
    assert not take(node, "a", gradients(1), version=1, source="b")
    assert not take(node, "a", gradients(1), version=2, source="b")
    assert equal(node, gradients(2))
    assert take(node, "a", gradients(3), version=3, source="b")
    assert equal(node, gradients(3))


def test_what_was_taken_out_returns_only_from_its_node_itself():
    node = shares()
    take(node, "a", gradients(1))
    assert node.forget("a")
    assert node.inventory() == {ShareId("a", "1"): FORGOTTEN}
    assert not take(node, "a", gradients(1), source="b")
    assert take(node, "a", gradients(1), source="a")


def test_a_peer_is_sent_what_it_lacks_of_its_own_of_this_node_and_of_the_absent():
    node = shares("me", "2")
    node.gradients = lambda: gradients(9)
    for name, session in (("me", "1"), ("a", "1"), ("b", "1"), ("gone", "1")):
        take(node, name, gradients(1), session=session, source="b")

    def sent(theirs, begun=()):
        return [tuple(name) for name in node.for_peer("a", theirs, begun, lambda name: name == "gone")]

    assert sent(None) == [("me", "2")]
    assert sent({}) == [("me", "2"), ("me", "1"), ("a", "1"), ("gone", "1")]
    assert sent({ShareId("a", "1"): 1, ShareId("me", "1"): FORGOTTEN}) == [("me", "2"), ("gone", "1")]
    assert sent({ShareId("a", "1"): 1}, begun=[ShareId("a", "1")]) == sent({})


def test_what_a_loaded_map_contains_is_counted_once():
    node = shares("me", "2")
    take(node, "me", gradients(1), session="1", source="b")
    assert node.contain(["1", "2"])
    assert equal(node)
    assert not take(node, "me", gradients(1), session="1", source="c")
    assert sorted(node.sessions()) == ["1", "2"]
    peer = shares("a")
    take(peer, "me", gradients(1), session="1")
    for name, share in node.for_peer("a", {}, (), lambda _: False).items():
        peer.take(name, share, "me")
    assert equal(peer)


def test_a_node_that_is_started_again_and_again_fills_no_memory():
    node = shares()
    for session in range(40):
        take(node, "a", gradients(session), session=f"{session:02}")
    assert equal(node, *(gradients(session) for session in range(35, 40)))
    assert not take(node, "a", gradients(0), session="00", source="b")


@pytest.mark.parametrize("version", [0, FORGOTTEN])
def test_an_own_share_is_never_taken_from_others(version):
    node = shares()
    assert not take(node, "me", gradients(1), version=version, source="a")
