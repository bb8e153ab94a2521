"""What is asked of NCCL, against a fake: how communicators are made, waited for, aborted. No GPU takes part."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import HashStore

from scal3r_ros.sync.transport import nccl
from scal3r_ros.sync.transport.connecting import backends_of
from scal3r_ros.sync.transport.nccl import ENVIRONMENT, NcclWire
from scal3r_ros.sync.transport.wire import LinkError, RefusedError

CPU = torch.device("cpu")


class FakeWork:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.failed = False

    def is_completed(self) -> bool:
        if self.failed:
            raise RuntimeError("NCCL communicator was aborted")
        return self.done.is_set()


class FakeGroup:
    """Pairs sends with receives of the other rank, as NCCL does, one operation of a communicator at a time."""

    made: list[FakeGroup] = []  # noqa: RUF012
    lock = threading.Lock()

    class Options:
        def __init__(self) -> None:
            self._timeout = timedelta(minutes=10)
            self.is_high_priority_stream = True
            self.config = SimpleNamespace(blocking=1)

    def __init__(self, store: object, rank: int, size: int, options: Options) -> None:
        self.rank, self.size, self.options = rank, size, options
        self.store, self.aborted, self.queue = store, False, []
        FakeGroup.made.append(self)

    def send(self, tensors, other, tag):
        return self._add("send", tensors[0], other, tag)

    def recv(self, tensors, other, tag):
        return self._add("recv", tensors[0], other, tag)

    def abort(self) -> None:
        self.aborted = True
        for _, _, work in self.queue:
            work.failed = True

    def _add(self, kind, tensor, other, tag):
        assert other == 1 - self.rank
        assert len(self.queue) == 0, "an operation would wait behind another one of the same communicator"
        work = FakeWork()
        with FakeGroup.lock:
            self.queue.append((kind, tensor, work))
            partner = self._partner()
            if partner is not None and partner.queue and not partner.aborted:
                (_, one, w1), (_, two, w2) = self.queue.pop(), partner.queue.pop()
                source, target = (one, two) if kind == "send" else (two, one)
                target.copy_(source)
                w1.done.set()
                w2.done.set()
        return work

    def _partner(self):
        mine = [g for g in FakeGroup.made if g.rank == self.rank].index(self)
        others = [g for g in FakeGroup.made if g.rank != self.rank]
        return others[mine] if mine < len(others) else None


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("NCCL_SOCKET_IFNAME", raising=False)
    FakeGroup.made.clear()
    store = HashStore()
    return [NcclWire(store, "token", rank, "127.0.0.1", CPU, FakeGroup) for rank in (0, 1)]


def test_communicators_never_block_and_torch_never_ends_the_process(ends, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    assert {name: os.environ[name] for name in ENVIRONMENT} == ENVIRONMENT
    assert os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0"
    assert os.environ["TORCH_NCCL_USE_COMM_NONBLOCKING"] == "1"
    assert os.environ["NCCL_SOCKET_IFNAME"] == "=lo"
    assert len(FakeGroup.made) == 4  # a communicator for each direction at each end
    for group in FakeGroup.made:
        assert group.size == 2
        assert group.options.config.blocking == 0
        assert not group.options.is_high_priority_stream
        assert group.options._timeout >= timedelta(hours=1)  # torch's own watchdog stays out of it


def test_both_ends_send_while_they_receive(ends) -> None:
    with ThreadPoolExecutor(4) as pool:
        buffers = [torch.zeros(1000), torch.zeros(1000)]
        receivers = [pool.submit(end.receive, buffer, 10.0) for end, buffer in zip(ends, buffers, strict=True)]
        senders = [pool.submit(end.send, torch.full((1000,), float(i + 1)), 10.0) for i, end in enumerate(ends)]
        for future in (*receivers, *senders):
            future.result(20.0)
    assert float(buffers[0].mean()) == 2.0
    assert float(buffers[1].mean()) == 1.0


def test_a_missed_deadline_aborts_both_communicators_of_this_end_and_no_other(ends) -> None:
    begin = time.monotonic()
    with pytest.raises(LinkError, match="does not answer"):
        ends[0].receive(torch.zeros(3), 0.2)
    assert time.monotonic() - begin < 5.0
    assert [group.aborted for group in FakeGroup.made] == [True, True, False, False]
    with pytest.raises(LinkError, match="closed"):
        ends[0].send(torch.zeros(3), 1.0)


def test_an_abort_frees_the_thread_that_waits_and_comes_from_any_other(ends) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ends[0].receive, torch.zeros(3), 60.0)
        time.sleep(0.1)
        ends[0].close()
        with pytest.raises(LinkError, match="closed"):
            waiting.result(10.0)


def test_another_size_is_refused(ends) -> None:
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(ends[0].send, torch.zeros(9), 1.0)
        with pytest.raises(RefusedError, match="36 bytes where 12 were due"):
            ends[1].receive(torch.zeros(3), 10.0)
        with pytest.raises(LinkError):
            sending.result(10.0)


def test_only_a_gpu_with_nccl_offers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 1)
    monkeypatch.setattr(nccl.dist, "is_nccl_available", lambda: True)
    assert backends_of(CPU) == ("tcp", "gloo")
    assert backends_of(gpu) == ("nccl", "tcp", "gloo")
    monkeypatch.setattr(nccl.dist, "is_nccl_available", lambda: False)
    assert backends_of(gpu) == ("tcp", "gloo")
