"""What a box shares with others goes beside its chunks: none of them waits for a file."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from thread_workers import NETWORK, Faults, gradient_of, launcher

from scal3r_ros.model import FastWeights
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.protocol import Chunk
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor
from scal3r_ros.sync.devices.memory import box_memory
from scal3r_ros.sync.devices.memory.background import PeerSums
from scal3r_ros.sync.devices.memory.box_memory import BoxMemory, read_gradients, write_gradients
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.peers.peers import MemoryPeers

PATIENCE_S = 60.0


@pytest.fixture
def peers() -> MemoryPeers:
    """Of a box that is alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    return MemoryPeers(MemoryPeersConfig(address, period_s=0.1, deadline_s=1.0), "box", NETWORK)


class _SlowDisk(PeerSums):
    """Does not come back from writing until it is `free`."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"), lambda reply: None)
        self.asked, self.free = threading.Event(), threading.Event()

    def write(self, path: Path, gradients: object) -> None:
        self.asked.set()
        assert self.free.wait(PATIENCE_S)


@pytest.fixture
def disk() -> Iterator[_SlowDisk]:
    disk = _SlowDisk()
    yield disk
    disk.free.set()


def test_a_chunk_does_not_wait_until_a_worker_has_written_what_was_learned(peers: MemoryPeers, disk: _SlowDisk) -> None:
    config = NetworkConfig(preset="nano", devices=("a", "b"), step_timeout_s=PATIENCE_S / 4)
    chunks = [Chunk(index, (), 0) for index in range(4)]
    box = ChunkParallelReconstructor(config, share=lambda network: peers, launch=launcher(Faults(sums=disk)).launch)
    geometries = [box.reconstruct(chunk, None, chunks[index + 1 : 2]) for index, chunk in enumerate(chunks[:2])]
    assert disk.asked.wait(PATIENCE_S)
    assert not disk.free.is_set()
    assert box.metrics()["workers_lost"] == 0
    disk.free.set()
    geometries += [box.reconstruct(chunk, None, chunks[index + 3 :]) for index, chunk in enumerate(chunks[2:])]
    assert [int(geometry.depth[0, 0, 0]) for geometry in geometries] == [0, 1, 2, 3]
    learned = box.accumulated_gradient()
    for layer, G in learned.items():
        for index, w in enumerate(G):
            assert torch.equal(w, sum(gradient_of(chunk)[layer][index] for chunk in chunks))
    assert 0 < box.metrics()["peer_wait_s"] < PATIENCE_S
    box.close()


def test_a_reply_of_a_worker_does_not_wait_until_the_gradient_before_it_is_read(
    peers: MemoryPeers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, read = threading.Event(), threading.Event()

    def slowly(path: Path) -> dict[int, FastWeights]:
        assert free.wait(PATIENCE_S)
        read.set()
        return gradient_of(Chunk(1, (), 0))

    monkeypatch.setattr(box_memory, "read_gradients", slowly)
    asked: list[Path] = []
    box = BoxMemory(peers, tmp_path, lambda path, version: None, asked.append)
    box.learned(1)
    reader = threading.Thread(target=box.written, args=asked, daemon=True)
    reader.start()
    reader.join(PATIENCE_S / 4)
    assert not reader.is_alive()
    assert not read.is_set()
    free.set()
    assert read.wait(PATIENCE_S)
    box.close()


def test_a_file_of_gradients_gives_back_every_bit_and_one_that_has_none_is_an_error(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    G = {3: FastWeights(numbers(1, 4, 8), numbers(1, 8, 4), numbers(1, 8, 4).mT), 11: gradient_of(Chunk(0, (), 0))[3]}
    write_gradients(tmp_path / "own", G)
    read = read_gradients(tmp_path / "own")
    (tmp_path / "own").unlink()
    assert list(read) == [3, 11]
    for layer, expected in G.items():
        assert all(torch.equal(one, other) for one, other in zip(read[layer], expected, strict=True))
    write_gradients(tmp_path / "nothing", {})
    assert read_gradients(tmp_path / "nothing") == {}
    (tmp_path / "torn").write_bytes(b"{}"[:1])
    for name in ("gone", "torn"):
        with pytest.raises(OSError, match=name):
            read_gradients(tmp_path / name)
