"""What two nodes send each other: it becomes exact, costs nothing at rest, and garbage is refused."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from wires import TRANSPORTS, connected

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.peers.exchange import (
    GradientLayout,
    GradientReceiver,
    GradientSender,
    ReceivedGradients,
)
from scal3r_ros.sync.peers.peer_state import PeerStates
from scal3r_ros.sync.transport.memory import Fault, memory_pair
from scal3r_ros.sync.transport.wire import BrokenGradientError, LinkError, RefusedError

SHAPES = (torch.Size((1, 4, 8)), torch.Size((1, 8, 4)), torch.Size((1, 4, 8)))
LAYOUT = GradientLayout({2: SHAPES, 5: SHAPES})


def gradients(seed: int, scale: float = 1.0, layers: tuple[int, ...] = (2, 5)) -> dict[int, FastWeights]:
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: FastWeights(*(scale * torch.randn(shape, generator=generator) for shape in SHAPES)) for layer in layers
    }


@pytest.fixture(params=TRANSPORTS)
def round_of(request):
    """Sends one round over each transport; the bytes it took and what was received."""
    (here, mine), (there, theirs) = connected(request.param)
    sender, receiver = GradientSender(LAYOUT, mine.sending), GradientReceiver(LAYOUT, theirs.receiving)

    def go(own: dict[int, FastWeights], farewell: bool = False) -> tuple[int, ReceivedGradients]:
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(sender.send, here, own, 20.0, farewell)
            received = receiver.receive(there, 20.0, 20.0)
            sent = sending.result(20.0)
        assert received.bytes == sent
        assert received.farewell == farewell
        return sent, received

    yield go
    here.close()
    there.close()


def error(own: dict[int, FastWeights], received: ReceivedGradients) -> float:
    off = sum(
        float((a - b).norm() ** 2) for layer in own for a, b in zip(own[layer], received.gradients[layer], strict=True)
    )
    return (off / sum(float(a.norm() ** 2) for G in own.values() for a in G)) ** 0.5


def test_rounding_is_made_good_until_the_copy_is_exact(round_of):
    own = gradients(1)
    errors = [error(own, round_of(own)[1]) for _ in range(5)]
    assert 1e-4 < errors[0] < 4e-3  # bfloat16 alone
    assert errors[1] < 1e-5
    assert errors[-1] == 0.0


def test_the_copy_follows_a_gradient_that_grows(round_of):
    for step in range(1, 20):
        own = gradients(3, scale=float(step))
        assert error(own, round_of(own)[1]) < 4e-3 / step + 1e-6
    for _ in range(4):
        received = round_of(own)[1]
    assert error(own, received) == 0.0


def test_at_rest_a_round_is_a_header(round_of):
    own = gradients(1)
    sent = [round_of(own)[0] for _ in range(8)]
    whole = 2 * sum(LAYOUT.size(layer) for layer in LAYOUT.shapes)
    assert sent[0] == whole
    assert sent[-1] == sent[-2] == 0
    assert sum(sent) <= 5 * whole


def test_a_reset_empties_the_copy_at_once_and_learning_begins_again(round_of):
    round_of(gradients(1))
    assert round_of({}) == (0, ReceivedGradients({}, 0, False))
    own = gradients(2)
    assert error(own, round_of(own)[1]) < 4e-3


def test_nothing_that_is_not_finite_is_sent(round_of):
    good = gradients(1)
    for _ in range(5):
        received = round_of(good)[1]
    bad = {**good, 5: good[5].times(float("nan"))}
    sent, after = round_of(bad)
    assert sent == 0
    assert torch.equal(after.gradients[5].w0, received.gradients[5].w0)


def test_a_farewell_is_received(round_of):
    assert round_of({}, farewell=True)[1].farewell


KEY = b"what both ends agreed on"
FIELDS = struct.Struct("<5q32s")


def header(
    kind: int, layer: int = 0, number: int = 0, size: int = 0, magic: int = 0x5CA13, key: bytes = KEY,
    numbers: bytes = b"",
) -> torch.Tensor:  # fmt: skip
    fields = FIELDS.pack(magic, kind, layer, number, size, hashlib.sha256(numbers).digest())
    signature = hmac.digest(key, len(fields).to_bytes(8, "little") + fields, "sha256")
    return torch.frombuffer(bytearray(fields + signature), dtype=torch.uint8)


def hear(*messages: torch.Tensor) -> ReceivedGradients:
    here, there = memory_pair()
    for message in messages:
        here.send(message, 1.0)
    return GradientReceiver(LAYOUT, KEY).receive(there, 0.0, 0.0)


def layer_of(values: torch.Tensor, layer: int = 2, number: int = 0) -> list[torch.Tensor]:
    raw = values.view(torch.uint8).numpy().tobytes()
    return [header(1, layer=layer, number=number, size=len(values), numbers=raw), values]


SIZE = LAYOUT.size(2)
ONES = torch.ones(SIZE, dtype=torch.bfloat16)


def test_a_round_made_by_hand_is_heard():
    received = hear(*layer_of(ONES), header(3, number=1))
    assert float(received.gradients[2].w0.sum()) == received.gradients[2].w0.numel()


@pytest.mark.parametrize(
    "first",
    [
        header(3, magic=7),
        header(9),
        header(0),
        header(3, number=4),
        header(1, layer=3),
        header(2, layer=-1),
        header(1, layer=2, size=SIZE + 1),
        header(1, layer=2, size=2**40),
        header(1, layer=2, size=-1),
        header(3, size=5),
        header(3, key=b"another"),
        header(3, key=b""),
        header(3)[:-1],
        torch.zeros(5_000_000, dtype=torch.uint8),
    ],
    ids=[
        "magic", "kind", "zero", "replayed", "layer", "negative layer", "one number more", "oversized",
        "negative size", "end with numbers", "another key", "no key", "short", "huge",
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(first):
    with pytest.raises(RefusedError):
        hear(first)


def test_a_layer_sent_twice_is_refused():
    with pytest.raises(RefusedError, match="layer 2"):
        hear(header(2, layer=2), header(2, layer=2, number=1))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_mean_a_broken_peer(value):
    with pytest.raises(BrokenGradientError, match="not finite"):
        hear(*layer_of(torch.full((SIZE,), value, dtype=torch.bfloat16)))


def test_huge_numbers_mean_a_broken_peer():
    with pytest.raises(BrokenGradientError, match="norm"):
        hear(*layer_of(torch.full((SIZE,), 1e30, dtype=torch.bfloat16)))


def test_numbers_that_differ_from_what_the_header_signed_are_refused():
    other = ONES.clone()
    other[3] = 2.0
    with pytest.raises(RefusedError, match="changed on the way"):
        hear(layer_of(ONES)[0], other)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(5))
def test_no_fault_of_the_network_changes_a_number(fault, number):
    """The message with that number of two rounds suffers the fault: what was heard before stays, and no more is."""
    here, there = memory_pair(lambda index: fault if index == number else None)
    sender, receiver = GradientSender(LAYOUT, KEY), GradientReceiver(LAYOUT, KEY)
    own = [gradients(1, layers=(2,)), gradients(1, scale=2.0, layers=(2,))]
    heard: list[ReceivedGradients] = []
    for G in own:
        sender.send(here, G, 0.0)
    with contextlib.suppress(LinkError):
        heard += (receiver.receive(there, 0.0, 0.0) for _ in range(3))
    assert len(heard) < 3
    for G, received in zip(own, heard, strict=False):
        assert error(G, received) < 4e-3


def test_the_sum_of_shares_is_that_of_the_latest_and_does_not_depend_on_the_order_they_came_in():
    one, two = PeerStates(torch.device("cpu")), PeerStates(torch.device("cpu"))
    a, b, c = gradients(1), gradients(2), gradients(3, layers=(5,))
    for name, share in (("a", c), ("a", a), ("b", b), ("c", c)):
        one.put(name, share)
    for name, share in (("c", c), ("b", b), ("a", a)):
        two.put(name, share)
    for layer in (2, 5):
        parts = [share[layer] for share in (a, b, c) if layer in share]
        for index, w in enumerate(one.total(layer)):
            torch.testing.assert_close(w, sum(part[index] for part in parts))
            assert torch.equal(w, two.total(layer)[index])
    for name in "abc":
        one.put(name, {})
    assert one.total(2) is one.total(5) is None


def test_a_sum_that_was_read_is_never_changed():
    shares = PeerStates(torch.device("cpu"))
    shares.put("a", gradients(1))
    before = shares.total(2)
    copy = before.w0.clone()
    threads = [threading.Thread(target=shares.put, args=(name, gradients(seed))) for seed, name in enumerate("bcd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(before.w0, copy)
    assert shares.total(2) is not before
