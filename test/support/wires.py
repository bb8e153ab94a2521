"""Two connected ends, by each transport that this machine has."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.distributed import HashStore

from scal3r_ros.sync.transport.connecting import Meeting, connect
from scal3r_ros.sync.transport.handshake import Seal, shake_hands
from scal3r_ros.sync.transport.memory import memory_pair
from scal3r_ros.sync.transport.nccl import usable
from scal3r_ros.sync.transport.wire import Wire

End = tuple[Wire, Seal]
KEYS = (b"sixteen bytes and", b"sixteen bytes and")
NO_NCCL = pytest.mark.skipif(
    not (torch.cuda.device_count() > 1 and usable(torch.device("cuda"))), reason="needs two GPUs and NCCL"
)
TRANSPORTS = ["tcp", "gloo", "memory", pytest.param("nccl", marks=NO_NCCL)]


def both(first: Callable[[], End], second: Callable[[], End]) -> tuple[End, End]:
    """What two ends make of it at the same time; the first error of either."""
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(first), pool.submit(second)]
        one, two = (future.result(30.0) for future in futures)
        return one, two


def connected(
    transport: str, keys: tuple[bytes, bytes] = KEYS, refused: list[str] | None = None, timeout_s: float = 5.0
) -> tuple[End, End]:
    """Both ends of a new connection and their seals."""
    if transport == "memory":
        ends = memory_pair()

        def shake(rank: int) -> End:
            return ends[rank], shake_hands(ends[rank], rank, keys[rank], "here", timeout_s)

        return both(lambda: shake(0), lambda: shake(1))
    store = HashStore()

    def meet(rank: int) -> End:
        device = torch.device("cuda", rank) if transport == "nccl" else torch.device("cpu")
        meeting = Meeting(store, "token", rank, "127.0.0.1", keys[rank], "here", timeout_s, device)
        return connect(transport, meeting, (refused if refused is not None else []).append)

    return both(lambda: meet(0), lambda: meet(1))
