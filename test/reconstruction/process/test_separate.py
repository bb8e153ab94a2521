"""A reconstructor in a process of its own: the same answers as in this one, and what a lost process costs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from scal3r_ros.assembly import CoreConfig, build_reconstructor
from scal3r_ros.errors import ReconstructionError
from scal3r_ros.model.memory.snapshot import read_snapshot
from scal3r_ros.reconstruction.process.reconstructor import SeparateReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous, Reconstructor
from scal3r_ros.sync.peers.config import MemoryPeersConfig

from .conftest import GEOMETRIC, NETWORK, SHARED

pytestmark = pytest.mark.timeout(300)
Maker = Callable[[CoreConfig], SeparateReconstructor]
ARRAYS = ("T_chunk_cam", "depth", "confidence", "descriptors")


def in_turn(reconstructor: Reconstructor, chunks: Sequence[Chunk], previous: Previous | None = None) -> list[Previous]:
    done: list[Previous] = []
    for chunk in chunks:
        done.append(Previous(chunk, reconstructor.reconstruct(chunk, done[-1] if done else previous)))
    return done


def assert_equal(one: ChunkGeometry, other: ChunkGeometry) -> None:
    """Byte for byte."""
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.health, one.note, one.intrinsics) == (other.health, other.note, other.intrinsics)
    assert (one.tracks is None) == (other.tracks is None)
    if one.tracks is not None and other.tracks is not None:
        np.testing.assert_array_equal(one.tracks.points_chunk, other.tracks.points_chunk)


def kill_at_work(reconstructor: SeparateReconstructor, chunk: Chunk, previous: Previous | None) -> ChunkGeometry:
    """The process is killed while it has a chunk."""
    pid, found = reconstructor.pid, []
    os.kill(pid, signal.SIGSTOP)  # so that it cannot be done before
    work = threading.Thread(target=lambda: found.append(reconstructor.reconstruct(chunk, previous)))
    work.start()
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    work.join(60)
    return found[0]


@pytest.mark.parametrize("config", [GEOMETRIC, NETWORK], ids=["geometric", "network"])
def test_chunks_come_out_as_in_one_process(separate: Maker, chunks: list[Chunk], config: CoreConfig) -> None:
    there = separate(config)
    with closing(build_reconstructor(config)) as here:
        for ours, theirs in zip(in_turn(here, chunks), in_turn(there, chunks), strict=True):
            assert_equal(theirs.geometry, ours.geometry)
        assert (there.name, there.max_parallel_chunks) == (here.name, here.max_parallel_chunks)
        assert (there.memory is None, there.recall is None) == (here.memory is None, here.recall is None)
        assert here.metrics().items() <= there.metrics().items()


def test_the_memory_is_written_read_asked_and_forgotten_there(
    separate: Maker, chunks: list[Chunk], tmp_path: Path
) -> None:
    there = separate(NETWORK)
    with closing(build_reconstructor(NETWORK)) as here:
        for reconstructor, path in ((here, tmp_path / "here"), (there, tmp_path / "there")):
            in_turn(reconstructor, chunks[:2])
            assert reconstructor.memory is not None
            reconstructor.memory.snapshot(path)
        written, expected = read_snapshot(tmp_path / "there"), read_snapshot(tmp_path / "here")
        assert written.layers.keys() == expected.layers.keys() != set()
        for layer, weights in written.layers.items():
            assert all(map(torch.equal, weights, expected.layers[layer]))
        assert here.recall is not None
        assert there.recall is not None
        ours, theirs = here.recall(chunks[3]), there.recall(chunks[3])
        assert ours is not None
        assert theirs is not None
        assert_equal(theirs, ours)
    there.reset()
    assert there.metrics().get("memory_chunks", 0) == 0
    there.restore(tmp_path / "here")
    again = there.recall(chunks[3])
    assert again is not None
    assert_equal(again, ours)


def test_metrics_come_between_chunks_too(separate: Maker) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    sharing = MemoryPeersConfig(address, name="a", period_s=0.2)
    there = separate(replace(NETWORK, memory_peers=sharing))
    end = time.monotonic() + 60.0
    while "peers_known" not in there.metrics() and time.monotonic() < end:
        time.sleep(0.05)
    assert there.metrics()["peers_known"] == 0


def test_a_process_killed_at_work_costs_one_chunk(
    separate: Maker, chunks: list[Chunk], caplog: pytest.LogCaptureFixture
) -> None:
    there = separate(GEOMETRIC)
    first = in_turn(there, chunks[:1])[0]
    with caplog.at_level(logging.WARNING, "scal3r_ros"):
        lost = kill_at_work(there, chunks[1], first)
    assert lost.health is ChunkHealth.LOST
    assert "killed by SIGKILL" in lost.note
    assert "killed by SIGKILL" in caplog.text
    assert not lost.depth.any()
    assert there.metrics()["reconstructor_restarts"] == 1
    later = in_turn(there, chunks[2:], Previous(chunks[1], lost))
    assert [item.geometry.health for item in later] == [ChunkHealth.OK] * 2
    # The points known before keep the scale over the gap: the shared frames are where they were.
    for before, after in ((lost, later[0].geometry), (later[0].geometry, later[1].geometry)):
        ways = [np.linalg.norm(T[-1, :3, 3] - T[0, :3, 3]) for T in (before.T_chunk_cam[-SHARED:], after.T_chunk_cam)]
        assert 1.0 < ways[1] / ways[0] < 4.0
    assert there.metrics()["reconstructor_restarts"] == 1


def test_the_memory_outlives_its_process(separate: Maker, chunks: list[Chunk]) -> None:
    there = separate(NETWORK)
    done = in_turn(there, chunks[:2])
    there.metrics()
    lost = kill_at_work(there, chunks[2], done[-1])
    assert lost.health is ChunkHealth.LOST
    in_turn(there, chunks[3:], Previous(chunks[2], lost))
    assert there.metrics()["memory_chunks"] >= 2  # at least the first, which is written at once, and the last


def test_a_lost_first_chunk_of_an_uncalibrated_camera_is_an_error(separate: Maker, chunks: list[Chunk]) -> None:
    there = separate(NETWORK)
    bare = replace(chunks[0], frames=tuple(replace(frame, intrinsics=None) for frame in chunks[0].frames))
    os.kill(there.pid, signal.SIGKILL)
    with pytest.raises(ReconstructionError, match="killed by SIGKILL"):
        there.reconstruct(bare, None)
    assert there.reconstruct(bare, None).depth.any()


def test_what_it_refuses_and_what_it_logs_arrive_here(
    separate: Maker, chunks: list[Chunk], caplog: pytest.LogCaptureFixture
) -> None:
    bare = replace(chunks[0], frames=tuple(replace(frame, intrinsics=None) for frame in chunks[0].frames))
    with pytest.raises(ReconstructionError, match="needs a calibrated camera"):
        separate(GEOMETRIC).reconstruct(bare, None)
    wrong = replace(NETWORK, network=replace(NETWORK.network, allow_random_weights=False))
    with pytest.raises(ReconstructionError, match="weights"):
        separate(wrong)


def test_it_ends_when_closed_also_at_work(separate: Maker, chunks: list[Chunk]) -> None:
    idle, busy = separate(GEOMETRIC), separate(GEOMETRIC)
    pids = idle.pid, busy.pid
    os.kill(busy.pid, signal.SIGSTOP)
    refused: list[str] = []

    def work() -> None:
        try:
            busy.reconstruct(chunks[0], None)
        except ReconstructionError as error:
            refused.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    idle.close()
    busy.close()
    thread.join(30)
    assert refused == ["the reconstructor was closed"]
    assert not any(psutil.pid_exists(pid) for pid in pids)


PARENT = """
import sys, time
from functools import partial
from scal3r_ros.assembly import build_reconstructor, core_config
from scal3r_ros.reconstruction.process.reconstructor import SeparateReconstructor

reconstructor = SeparateReconstructor(partial(build_reconstructor, core_config({})[0]))
print(reconstructor.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_a_parent_that_is_killed_and_leaves_nothing_on_disk_or_in_shared_memory(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    threads = [psutil.Process(thread.id) for thread in worker.threads()]
    assert min(thread.nice() for thread in threads) > psutil.Process(parent.pid).nice()
    assert list(tmp_path.glob("scal3r_*"))
    shared = {Path(file.path) for file in (*worker.memory_maps(), *worker.open_files()) if "/dev/shm" in file.path}
    parent.kill()
    parent.wait()
    worker.wait(30)
    assert not list(tmp_path.glob("scal3r_*"))
    assert not [path for path in shared if path.exists()]
    parent.stdout.close()
