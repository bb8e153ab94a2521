"""What two nodes send each other: it becomes exact, costs nothing at rest, and garbage is refused."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from wires import TRANSPORTS, connected

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.exchange.layout import GradientLayout
from scal3r_ros.sync.exchange.receiver import GradientReceiver, ReceivedRound
from scal3r_ros.sync.exchange.sender import GradientSender
from scal3r_ros.sync.exchange.shares import Share, ShareId
from scal3r_ros.sync.transport.memory import Fault, memory_pair
from scal3r_ros.sync.transport.wire import BrokenGradientError, LinkError, RefusedError

SHAPES = (torch.Size((1, 4, 8)), torch.Size((1, 8, 4)), torch.Size((1, 4, 8)))
LAYOUT = GradientLayout({2: SHAPES, 5: SHAPES})
OWN = ShareId("a", "session")


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

    versions = itertools.count()
    last: list[object] = [None, 0]

    def go(own: dict[int, FastWeights], farewell: bool = False) -> tuple[int, ReceivedRound]:
        if last[0] is not own:
            last[:] = own, next(versions)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(sender.send, here, {OWN: Share(last[1], own)}, 20.0, farewell=farewell)
            received = receiver.receive(there, 20.0, 20.0)
            sent = sending.result(20.0)
        assert received.bytes == sent
        assert received.farewell == farewell
        return sent, received

    yield go
    here.close()
    there.close()


def copies(received: ReceivedRound) -> Mapping[int, FastWeights]:
    return received.shares[OWN].gradients


def error(own: dict[int, FastWeights], received: ReceivedRound) -> float:
    if OWN not in received.shares:
        return 0.0  # nothing has changed, for the copy is exact
    off = sum(
        float((a - b).norm() ** 2) for layer in own for a, b in zip(own[layer], copies(received)[layer], strict=True)
    )
    return (off / sum(float(a.norm() ** 2) for G in own.values() for a in G)) ** 0.5


def test_rounding_is_made_good_until_the_copy_is_exact(round_of):
    own = gradients(1)
    rounds = [round_of(own)[1] for _ in range(8)]
    errors = [error(own, received) for received in rounds if received.shares]
    assert 1e-4 < errors[0] < 4e-3  # bfloat16 alone
    assert errors[1] < 1e-5
    assert errors[-1] == 0.0
    assert not rounds[-1].shares


def test_the_copy_follows_a_gradient_that_grows(round_of):
    for step in range(1, 20):
        own = gradients(3, scale=float(step))
        assert error(own, round_of(own)[1]) < 4e-3 / step + 1e-6
    received = [round_of(own)[1] for _ in range(4)]
    assert error(own, [one for one in received if one.shares][-1]) == 0.0


def test_at_rest_a_round_is_a_header(round_of):
    own = gradients(1)
    sent = [round_of(own)[0] for _ in range(8)]
    whole = 2 * sum(LAYOUT.size(layer) for layer in LAYOUT.shapes)
    assert sent[0] == whole
    assert sent[-1] == sent[-2] == 0
    assert sum(sent) <= 5 * whole


def test_a_reset_empties_the_copy_at_once_and_learning_begins_again(round_of):
    round_of(gradients(1))
    assert round_of({}) == (0, ReceivedRound({OWN: Share(1, {})}, 0))
    own = gradients(2)
    assert error(own, round_of(own)[1]) < 4e-3


def test_nothing_that_is_not_finite_is_sent(round_of):
    good = gradients(1)
    for _ in range(5):
        round_of(good)
    bad = {**good, 5: good[5].times(float("nan"))}
    sent, after = round_of(bad)
    assert sent == 0
    assert torch.equal(copies(after)[5].w0, good[5].w0)


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


def share(number: int = 0, content: object = ("a", "session", 3)) -> list[torch.Tensor]:
    text = json.dumps(content).encode()
    return [
        header(5, number=number, size=len(text), numbers=text),
        torch.frombuffer(bytearray(text), dtype=torch.uint8),
    ]


def hear(*messages: torch.Tensor) -> ReceivedRound:
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
    received = hear(*share(), *layer_of(ONES, number=1), header(3, number=2))
    assert received.shares[OWN].version == 3
    assert float(copies(received)[2].w0.sum()) == copies(received)[2].w0.numel()


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
        header(2, layer=2),
        header(5),
        header(6, size=2**40),
        torch.zeros(5_000_000, dtype=torch.uint8),
    ],
    ids=[
        "magic", "kind", "zero", "replayed", "layer", "negative layer", "one number more", "oversized",
        "negative size", "end with numbers", "another key", "no key", "short", "no share", "share without a name",
        "oversized list", "huge",
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(first):
    with pytest.raises(RefusedError):
        hear(first)


def test_a_layer_sent_twice_is_refused():
    with pytest.raises(RefusedError, match="layer 2"):
        hear(*share(), header(2, layer=2, number=1), header(2, layer=2, number=2))


@pytest.mark.parametrize(
    "content",
    [["a", "session"], ["a", "session", -1], ["a", 3, "session"], ["a", "session", 2**63], {"a": 1}, "a", [["a"]]],
)
def test_what_names_no_share_is_refused(content):
    with pytest.raises(RefusedError):
        hear(*share(content=content), header(3, number=1))


def test_more_shares_than_any_team_has_are_refused():
    many = [message for i in range(65) for message in share(i, content=("a", str(i), 0))]
    with pytest.raises(RefusedError, match="not due"):
        hear(*many, header(3, number=65))


def test_a_list_that_differs_from_what_the_header_signed_is_refused():
    with pytest.raises(RefusedError, match="changed on the way"):
        hear(share()[0], share(content=("b", "session", 3))[1], header(3, number=1))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_mean_a_broken_peer(value):
    with pytest.raises(BrokenGradientError, match="not finite"):
        hear(*share(), *layer_of(torch.full((SIZE,), value, dtype=torch.bfloat16), number=1))


def test_huge_numbers_mean_a_broken_peer():
    with pytest.raises(BrokenGradientError, match="norm"):
        hear(*share(), *layer_of(torch.full((SIZE,), 1e30, dtype=torch.bfloat16), number=1))


def test_numbers_that_differ_from_what_the_header_signed_are_refused():
    other = ONES.clone()
    other[3] = 2.0
    with pytest.raises(RefusedError, match="changed on the way"):
        hear(*share(), layer_of(ONES, number=1)[0], other)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(9))
def test_no_fault_of_the_network_changes_a_number(fault, number):
    """The message with that number of two rounds suffers the fault: what was heard before stays, and no more is."""
    here, there = memory_pair(lambda index: fault if index == number else None)
    sender, receiver = GradientSender(LAYOUT, KEY), GradientReceiver(LAYOUT, KEY)
    own = [gradients(1, layers=(2,)), gradients(1, scale=2.0, layers=(2,))]
    heard: list[ReceivedRound] = []
    for version, G in enumerate(own):
        sender.send(here, {OWN: Share(version, G)}, 0.0)
    with contextlib.suppress(LinkError):
        heard += (receiver.receive(there, 0.0, 0.0) for _ in range(3))
    assert len(heard) < 3
    for G, received in zip(own, heard, strict=False):
        assert error(G, received) < 4e-3
