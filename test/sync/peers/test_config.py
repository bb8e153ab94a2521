"""Addresses, names, members and metrics: what is checked before anything is sent."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from scal3r_ros.assembly import build_mapper, build_offline_mapper, core_config
from scal3r_ros.errors import ConfigurationError
from scal3r_ros.sync.peers.config import check_name, parse_address, tidy_name
from scal3r_ros.sync.peers.heartbeats import DEAD_AFTER_S, Heartbeats
from scal3r_ros.sync.peers.member import Member
from scal3r_ros.sync.peers.registry import PeerBook

ME = Member("a", "1", "preset", "weights", 5.0, 10.0)


@pytest.mark.parametrize("text", ["", "host", "host:", ":29500", "host:port", "host:0", "host:70000", "host:-1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigurationError, match="must be host:port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "host", "port"), [("robot:29500", "robot", 29500), (" 10.0.0.1:1 ", "10.0.0.1", 1), ("[::1]:9", "::1", 9)]
)
def test_an_address(text, host, port):
    assert parse_address(text) == (host, port)


def test_names_are_checked_and_can_be_made_of_anything():
    assert check_name("car-2/front.cam") == "car-2/front.cam"
    with pytest.raises(ConfigurationError, match=r"memory_peers\.name"):
        check_name("two words")
    for text in ("two words", "", "ü", "x" * 300):
        assert check_name(tidy_name(text))


def test_only_the_same_network_and_protocol_are_shared_with_and_both_sides_agree_on_it():
    assert ME.refusal(dataclasses.replace(ME, name="b", session="2", period_s=1.0)) is None
    for change, word in (({"preset": "x"}, "preset"), ({"weights": "x"}, "weights"), ({"protocol": 9}, "protocol")):
        other = dataclasses.replace(ME, name="b", **change)
        assert word in ME.refusal(other)
        assert word in other.refusal(ME)


def test_both_sides_choose_the_same_transport():
    gpu = dataclasses.replace(ME, name="g", backends=("nccl", "tcp", "gloo"))
    for one, other, chosen in (
        (gpu, gpu, "nccl"),
        (gpu, ME, "tcp"),
        (dataclasses.replace(gpu, wanted="gloo"), dataclasses.replace(gpu, wanted="gloo"), "gloo"),
        (dataclasses.replace(gpu, wanted="gloo"), gpu, None),
        (dataclasses.replace(gpu, wanted="nccl"), ME, None),
    ):
        assert one.backend_with(other) == other.backend_with(one) == chosen
        assert (one.refusal(other) is None) == (chosen is not None)


def test_a_member_survives_the_rendezvous_and_garbage_is_none():
    assert Member.from_json(ME.to_json().encode()) == ME
    for text in (b"", b"\xff\xfe", b"[]", b"{}", b'{"name": 3}', b"null", ME.to_json().replace("5.0", "1e99").encode()):
        assert Member.from_json(text) is None
    assert Member.from_json(ME.to_json().replace("5.0", '"soon"').encode()) is None


def test_metrics_give_a_peers_age_and_what_went_to_and_fro():
    clock = [0.0]
    book = PeerBook(lambda: clock[0])
    assert book.metrics() == {"peers": 0, "peers_known": 0, "peer_refusals": 0}
    book.knows("b")
    book.connected("b")
    book.received("b", 100)
    book.sent("b", 50)
    clock[0] = 2.5
    metrics = book.metrics()
    assert metrics["peers"] == metrics["peers_known"] == metrics["peer_rounds_b"] == 1
    assert (metrics["peer_age_s_b"], metrics["peer_bytes_in_b"], metrics["peer_bytes_out_b"]) == (2.5, 100, 50)
    book.lost("b", "does not answer")
    assert (book.metrics()["peers"], book.metrics()["peers_known"]) == (0, 1)
    assert book.silent_for(2.0) == ["b"]
    assert book.silent_for(3.0) == []


def test_every_notice_is_given_once(caplog):
    caplog.set_level(logging.INFO, "scal3r_ros")
    book = PeerBook()
    for _ in range(3):
        book.refused("c", "its network has other weights")
        book.log_once("rendezvous", logging.WARNING, "it cannot be reached")
    book.connected("b")
    book.lost("b", "does not answer")
    book.connected("b")
    book.left("b")
    said = [record.getMessage() for record in caplog.records]
    assert [
        sum(word in line for line in said) for word in ("refused", "reached", "joined", "lost", "is back", "has ended")
    ] == [1] * 6
    book.log_again("rendezvous")
    book.log_once("rendezvous", logging.WARNING, "it cannot be reached")
    assert len(caplog.records) == 7


SHARING = {"memory_peers.rendezvous": "127.0.0.1:29500", "reconstructor": "scal3r"}
NETWORK = {"network.preset": "nano", "network.allow_random_weights": True, "network.device": "cpu"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"memory_peers.rendezvous": "192.0.2.7:29500"}, "there is no key"),
        ({"memory_peers.key_file": "/nonexistent"}, "cannot be read"),
        ({"memory_peers.interface": "nosuch0"}, "this machine has only"),
        ({"memory_peers.backend": "nccl"}, "set auto"),
        ({"reconstructor": "geometric"}, "has no memory"),
        ({"network.memory.rule": "sequential"}, "rule sequential"),
        ({"network.memory.rule": "frozen"}, "rule frozen"),
        ({"memory_peers.rendezvous": "nowhere"}, "host:port"),
        ({"memory_peers.name": "two words"}, "memory_peers.name"),
    ],
)
def test_what_contradicts_sharing_is_one_error(change, word):
    config, _ = core_config({**NETWORK, **SHARING, **change})
    with pytest.raises(ConfigurationError, match=word):
        build_mapper(config)


def test_an_offline_memory_is_not_shared(tmp_path):
    config, _ = core_config({**NETWORK, **SHARING})
    with pytest.raises(ConfigurationError, match="offline"):
        build_offline_mapper(config, [], tmp_path)


def test_who_lives_is_who_was_seen_to_beat_and_only_silence_frees_a_name():
    clock = [0.0]
    heartbeats = Heartbeats(lambda: clock[0])
    heartbeats.update({"b": b"s 1"})
    assert heartbeats.recent("b")
    assert not heartbeats.alive("b")  # may be what a dead one left
    clock[0] = 1.0
    heartbeats.update({"b": b"s 2"})
    assert heartbeats.alive("b")
    clock[0] = 1.0 + DEAD_AFTER_S
    for old in (b"s 2", b"s 1", b""):
        heartbeats.update({"b": old})
    assert not heartbeats.recent("b")
    assert not heartbeats.recent("never heard of")
