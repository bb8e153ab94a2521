"""What every transport does: numbers arrive whole and in order, and nothing that the other end does stops a thread."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from wires import TRANSPORTS, connected

from scal3r_ros.sync.transport.gloo import GlooWire
from scal3r_ros.sync.transport.wire import LinkError, RefusedError, Wire

SOON_S = 20.0


@pytest.fixture(params=TRANSPORTS)
def ends(request: pytest.FixtureRequest):
    """Two ends of one connection."""
    (one, _), (two, _) = connected(request.param)
    yield one, two
    one.close()
    two.close()


def numbers(seed: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_numbers_arrive_bit_for_bit_in_order_and_both_ways_at_once(ends: tuple[Wire, Wire]) -> None:
    """Four megabytes each way: more than any socket keeps, so each end has to receive while it sends."""
    sent = [numbers(i, 1 + 500_000 * i, dtype) for i, dtype in enumerate((torch.float32, torch.bfloat16, torch.int64))]

    def send(wire: Wire) -> None:
        for tensor in sent:
            wire.send(tensor, SOON_S)

    def receive(wire: Wire) -> list[torch.Tensor]:
        received = [torch.empty_like(tensor) for tensor in sent]
        for tensor in received:
            wire.receive(tensor, SOON_S)
        return received

    with ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(send, wire) for wire in ends]
        receivers = [pool.submit(receive, wire) for wire in ends]
        for sender in senders:
            sender.result(SOON_S)
        for receiver in receivers:
            assert all(torch.equal(a, b) for a, b in zip(receiver.result(SOON_S), sent, strict=True))


def test_silence_ends_a_receive_at_its_deadline(ends: tuple[Wire, Wire]) -> None:
    begin = time.monotonic()
    with pytest.raises(LinkError, match="does not answer"):
        ends[0].receive(torch.zeros(4), 0.3)
    assert 0.25 < time.monotonic() - begin < SOON_S


@pytest.mark.parametrize("size", [3, 5, 200_000], ids=["short", "long", "huge"])
def test_a_message_of_another_size_is_refused_and_nothing_of_it_used(ends: tuple[Wire, Wire], size: int) -> None:
    buffer = torch.zeros(4)

    def send() -> None:
        with contextlib.suppress(LinkError):
            ends[1].send(torch.ones(size), 2.0)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(RefusedError, match=f"{4 * size} bytes where 16 were due"):
        ends[0].receive(buffer, SOON_S)
    assert not buffer.any()
    ends[0].close()
    sender.join(SOON_S)
    assert not sender.is_alive()


def test_the_other_end_is_gone(ends: tuple[Wire, Wire]) -> None:
    ends[1].close()
    with pytest.raises(LinkError):
        ends[0].receive(torch.zeros(4), 1.0 if isinstance(ends[0], GlooWire) else SOON_S)


def test_closing_frees_a_thread_that_waits(ends: tuple[Wire, Wire]) -> None:
    ended = threading.Event()

    def wait() -> None:
        try:
            ends[0].receive(torch.zeros(4), 2.0 if isinstance(ends[0], GlooWire) else 60.0)
        except LinkError:
            ended.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    time.sleep(0.2)
    ends[0].close()
    ends[0].close()
    assert ended.wait(SOON_S)
