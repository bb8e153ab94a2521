"""What two nodes send each other: it becomes exact, costs nothing at rest, and garbage is refused."""

from __future__ import annotations

import queue
import threading

import pytest
import torch

from scal3r_ros.model import FastWeights
from scal3r_ros.sync.peers.exchange import (
    GradientLayout,
    GradientReceiver,
    GradientSender,
    LinkError,
    ReceivedGradients,
)
from scal3r_ros.sync.peers.peer_state import PeerStates

SHAPES = (torch.Size((1, 4, 8)), torch.Size((1, 8, 4)), torch.Size((1, 4, 8)))
LAYOUT = GradientLayout({2: SHAPES, 5: SHAPES})


class Pipe:
    """One direction of a wire, within this process."""

    def __init__(self) -> None:
        self.messages: queue.Queue[torch.Tensor] = queue.Queue()

    def send(self, tensor: torch.Tensor, timeout_s: float) -> None:
        self.messages.put(tensor.clone())

    def receive(self, tensor: torch.Tensor, timeout_s: float) -> None:
        try:
            tensor.copy_(self.messages.get_nowait())
        except queue.Empty:
            raise LinkError("does not answer") from None


def gradients(seed: int, scale: float = 1.0, layers: tuple[int, ...] = (2, 5)) -> dict[int, FastWeights]:
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: FastWeights(*(scale * torch.randn(shape, generator=generator) for shape in SHAPES)) for layer in layers
    }


@pytest.fixture
def round_of():
    """Sends one round through a pipe; the bytes it took and what was received."""
    pipe, sender, receiver = Pipe(), GradientSender(LAYOUT), GradientReceiver(LAYOUT)

    def go(own: dict[int, FastWeights], farewell: bool = False) -> tuple[int, ReceivedGradients]:
        sent = sender.send(pipe, own, 1.0, farewell)
        received = receiver.receive(pipe, 1.0, 1.0)
        assert pipe.messages.empty()
        assert received.bytes == sent
        assert received.farewell == farewell
        return sent, received

    return go


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


def hear(*messages: torch.Tensor) -> ReceivedGradients:
    pipe = Pipe()
    for message in messages:
        pipe.send(message, 1.0)
    return GradientReceiver(LAYOUT).receive(pipe, 1.0, 1.0)


def header(kind: int, layer: int = 0, number: int = 0, magic: int = 0x5CA13) -> torch.Tensor:
    return torch.tensor([magic, kind, layer, number])


@pytest.mark.parametrize(
    "first",
    [header(3, magic=7), header(9), header(0), header(3, number=4), header(1, layer=3), header(2, layer=-1)],
    ids=["magic", "kind", "zero", "round", "layer", "negative layer"],
)
def test_what_is_no_message_ends_the_link(first):
    with pytest.raises(LinkError):
        hear(first)


def test_a_layer_sent_twice_ends_the_link():
    with pytest.raises(LinkError, match="layer 2"):
        hear(header(2, layer=2), header(2, layer=2))


def test_numbers_that_are_not_finite_end_the_link():
    size = LAYOUT.size(2)
    with pytest.raises(LinkError, match="not finite"):
        hear(header(1, layer=2), torch.full((size,), float("inf"), dtype=torch.bfloat16))


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
