"""The rendezvous: one hosts, the others find it, and it stays as small as the number of names."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from scal3r_ros.sync.peers import rendezvous
from scal3r_ros.sync.peers.member import Member
from scal3r_ros.sync.peers.rendezvous import Offer, Rendezvous, RendezvousError
from scal3r_ros.sync.transport.interfaces import Address, address_towards

A = Member("town/a", "session of a", "preset", "weights", 5.0, 10.0)
B = dataclasses.replace(A, name="b c", session="session of b")


@pytest.fixture
def address() -> Address:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", probe.getsockname()[1])


def test_members_beats_and_offers_are_seen_by_those_they_concern(address):
    a, b = Rendezvous(address, A.name), Rendezvous(address, B.name)
    assert a.read().members == {}
    for side, member in ((a, A), (b, B)):
        side.register(member)
        side.beat(member, 1)
    for side in (a, b):
        assert side.read().members == {A.name: A, B.name: B}
    before = a.read().beats
    b.beat(B, 2)
    after = a.read().beats
    assert after[A.name] == before[A.name]
    assert after[B.name] != before[B.name]
    offer = Offer("token", (A.session, B.session))
    a.offer(B.name, offer)
    assert b.read().offers == {A.name: offer}
    assert a.read().offers == {}


def test_it_does_not_grow_with_restarts_and_connections(address):
    a = Rendezvous(address, A.name)

    def live(session: str) -> int:
        a.register(dataclasses.replace(A, session=session))
        a.beat(A, 1)
        a.offer(B.name, Offer(session, (session, "other")))
        store = a.link_store(5.0)
        for rank in (0, 1):
            store.set(f"{a.prefix(session)}/0/{rank}", "where")
        a.forget_offer(B.name, session)
        return store.num_keys()

    assert len({live(f"session {number}") for number in range(5)}) == 1


def test_who_leaves_frees_its_name_but_not_that_of_its_successor(address):
    host, old, new = (Rendezvous(address, name) for name in ("host", A.name, A.name))
    host.read()
    old.register(A)
    old.leave(A)
    assert host.read().members == {}
    old.register(A)
    successor = dataclasses.replace(A, session="a later one")
    new.register(successor)
    old.leave(A)
    assert host.read().members == {A.name: successor}


def test_who_finds_it_gone_hosts_it_again(address):
    host, guest = Rendezvous(address, A.name), Rendezvous(address, B.name)
    host.register(A)
    guest.register(B)
    host.leave(A)
    with pytest.raises(RendezvousError, match="cannot be reached"):
        guest.read()
    guest.register(B)
    assert Rendezvous(address, A.name).read().members == {B.name: B}


def test_nobody_there_and_an_address_of_another_machine_is_one_error(monkeypatch):
    monkeypatch.setattr(rendezvous, "_STORE_TIMEOUT_S", 0.5)
    # A network that is reserved for documentation: no machine has this address.
    with pytest.raises(RendezvousError, match=r"203\.0\.113\.1:29500 cannot be reached"):
        Rendezvous(Address("203.0.113.1", 29500), "a").read()


def test_the_way_to_this_machine_begins_at_its_loopback():
    assert address_towards(Address("127.0.0.1", 29500)) == "127.0.0.1"
