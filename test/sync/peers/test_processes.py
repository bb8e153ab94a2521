"""Nodes as processes of their own that share a memory: they agree, and no fate of one holds up another."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from scal3r_ros.cli.main import app
from scal3r_ros.model import PRESETS, random_model
from scal3r_ros.sync.exchange.layout import SharedNetwork
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.peers.peers import MemoryPeers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PATIENCE_S = 100.0
EXACT = 1e-6
"""Relative difference of two totals: float32 sums of the same numbers."""
NO_WAIT_S = 1.5
"""Below every deadline (2 s), far above what a busy machine puts a process aside for."""


class Node:
    """A process of memory_node.py."""

    def __init__(self, folder: Path, rendezvous: str, name: str, **settings: object) -> None:
        self.name = name
        self._folder = folder
        self._log = folder / f"{name}_{time.monotonic_ns()}.log"
        given = json.dumps({"name": name, "rendezvous": rendezvous, **settings})
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("memory_node.py")), given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=Path(__file__).parents[3],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def ready(self) -> Node:
        assert self._answer() == "ready"
        return self

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        return json.loads(line)

    def metrics(self) -> dict[str, float]:
        return self.ask("metrics")

    def gradient(self, which: str) -> dict[str, Any]:
        return load_file(self.ask(f"{which} {self._folder / self.name}.safetensors"))

    def said(self) -> str:
        return self._log.read_text()

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def start(tmp_path: Path, address: str) -> Iterator[Callable[..., Node]]:
    """Starts a node; all are ended with the test."""
    nodes: list[Node] = []

    def make(name: str, **settings: object) -> Node:
        nodes.append(Node(tmp_path, address, name, **settings))
        return nodes[-1]

    yield make
    for node in nodes:
        node.process.kill()
        node.process.wait()
        assert "Traceback" not in node.said()


def within(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def difference(one: dict[str, Any], two: dict[str, Any]) -> float:
    if one.keys() != two.keys() or not one:
        return float("inf")
    off = sum(float((one[key] - two[key]).norm() ** 2) for key in one)
    return (off / sum(float(one[key].norm() ** 2) for key in one)) ** 0.5


def agree(*nodes: Node) -> bool:
    totals = [node.gradient("totals") for node in nodes]
    return all(difference(totals[0], total) < EXACT for total in totals[1:])


def connected(node: Node, number: int) -> Callable[[], bool]:
    return lambda: node.metrics()["peers"] == number


def test_two_halves_of_a_drive_make_one_memory(start, tmp_path):
    a, b = start("a"), start("b")
    a.ready().ask("learn 0 3")
    b.ready().ask("learn 3 6")
    assert within(lambda: agree(a, b)), (a.said(), b.said())
    own_a, own_b, total = a.gradient("own"), b.gradient("own"), a.gradient("totals")
    assert difference(total, {key: own_a[key] + own_b[key] for key in own_a}) < EXACT
    assert difference(total, own_a) > 0.1
    figures = a.metrics()
    assert figures["peers"] == figures["peers_known"] == 1
    assert figures["peer_age_s_b"] < PATIENCE_S
    assert figures["peer_bytes_in_b"] == b.metrics()["peer_bytes_out_a"] > 0

    def rests() -> bool:
        before = a.metrics()
        assert within(lambda: a.metrics()["peer_rounds_b"] > before["peer_rounds_b"] + 5)
        return a.metrics()["peer_bytes_in_b"] == before["peer_bytes_in_b"]

    assert within(rests)
    assert difference(a.gradient("totals"), b.gradient("totals")) == 0.0

    a.ask("reset")
    assert within(lambda: difference(b.gradient("totals"), own_b) == 0.0)

    a.ask("learn 6 8")  # and leaves at once: what it has learnt is told in the farewell
    last = a.gradient("own")
    assert a.ask("close") < PATIENCE_S
    assert a.end() == 0
    assert within(lambda: difference(b.gradient("totals"), {key: last[key] + own_b[key] for key in last}) < EXACT)
    assert within(connected(b, 0))
    assert b.said().count("has ended") == 1
    assert "is lost" not in b.said()


@pytest.mark.parametrize("hosting", [False, True], ids=["a guest", "the host of the rendezvous"])
def test_a_stopped_peer_is_not_waited_for_and_comes_back(hosting, start):
    first = start("b" if hosting else "a").ready()  # who comes first hosts
    second = start("a" if hosting else "b").ready()
    a, b = (second, first) if hosting else (first, second)
    a.ask("learn 0 1")
    b.ask("learn 1 2")
    assert within(lambda: agree(a, b))
    alone_s = a.ask("learn 2 4")
    b.signal(signal.SIGSTOP)
    assert a.ask("learn 4 6") < alone_s + NO_WAIT_S
    assert a.ask("ask 3.5") < NO_WAIT_S
    assert within(connected(a, 0))
    assert a.said().count("memory peer b is lost: it does not answer") == 1
    assert a.metrics()["peer_age_s_b"] > 2.0
    assert a.ask("learn 6 8") < alone_s + NO_WAIT_S
    b.signal(signal.SIGCONT)
    assert within(lambda: connected(a, 1)() and connected(b, 1)()), (a.said(), b.said())
    assert within(lambda: agree(a, b))
    assert a.said().count("memory peer b is back") == 1
    b.signal(signal.SIGSTOP)
    assert a.ask("close") < PATIENCE_S
    assert a.end() == 0
    b.signal(signal.SIGCONT)
    assert b.end() == 0  # without a close of its own


def test_the_end_of_the_process_waits_for_what_close_left_behind(start, address, monkeypatch):
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    config = MemoryPeersConfig(name="a", rendezvous=address, period_s=0.2, deadline_s=8.0)
    peers = MemoryPeers(config, "a", SharedNetwork.of(random_model(PRESETS["nano"], 0)))
    peers.start(dict)
    b = start("b").ready()
    assert within(lambda: peers.metrics()["peers"] == 1)
    b.signal(signal.SIGSTOP)
    ending = at_exit.copy()  # what is registered while they run, the interpreter does not call
    for function in ending:
        function()
    assert not [thread.name for thread in threading.enumerate() if "peer" in thread.name]


def test_a_killed_host_holds_up_nobody_and_gets_back_what_it_had_learned(start, tmp_path):
    a = start("a").ready()
    b, c = start("b"), start("c")
    for index, node in enumerate((a, b.ready(), c.ready())):
        node.ask(f"learn {index} {index + 1}")
    assert within(lambda: all(node.metrics()["peers"] == 2 for node in (a, b, c))), (a.said(), b.said(), c.said())
    assert within(lambda: agree(a, b, c))
    lost, saved = a.gradient("own"), tmp_path / "memory.safetensors"
    a.ask(f"save {saved}")
    a.signal(signal.SIGKILL)
    taught = b.gradient("totals")
    assert b.ask("ask 1") < NO_WAIT_S
    assert within(lambda: connected(b, 1)() and connected(c, 1)())
    rounds = b.metrics()["peer_rounds_c"]
    assert within(lambda: b.metrics()["peer_rounds_c"] > rounds + 3)
    assert difference(b.gradient("totals"), taught) < EXACT  # what it had taught stays

    again = start("a").ready()
    again.ask("learn 7 8")
    assert within(lambda: all(node.metrics()["peers"] == 2 for node in (again, b, c))), (again.said(), b.said())
    assert within(lambda: agree(again, b, c))
    own = [lost, *(node.gradient("own") for node in (again, b, c))]
    assert within(lambda: "has returned what this node had learned earlier" in again.said())
    assert within(lambda: agree(again, b, c))
    assert difference(b.gradient("totals"), {key: sum(G[key] for G in own) for key in own[0]}) < EXACT

    again.signal(signal.SIGKILL)
    third = start("a").ready()
    third.ask(f"load {saved}")  # what the first start had learned: its peers have it, too
    assert within(lambda: agree(third, b, c)), (third.said(), b.said())
    assert within(lambda: difference(b.gradient("totals"), {key: sum(G[key] for G in own) for key in own[0]}) < EXACT)
    third.ask("reset")
    rest = {key: sum(G[key] for G in own[2:]) for key in own[0]}
    assert within(lambda: all(difference(node.gradient("totals"), rest) < EXACT for node in (third, b, c)))


def test_another_network_is_refused_by_both_and_another_name_is_asked_for(start):
    a, b, twin = start("a"), start("b", seed=1), start("a")
    for node in (a, b, twin):
        node.ready().ask("learn 0 1")
    assert within(lambda: "memory peer b is refused: its network has other weights" in a.said() + twin.said())
    assert within(lambda: "memory peer a is refused: its network has other weights" in b.said())
    assert within(lambda: "another node shares its memory under the name 'a'" in a.said() + twin.said())
    time.sleep(3.0)
    said = a.said() + twin.said() + b.said()
    assert said.count("under the name 'a'") == 1
    assert b.said().count("is refused") == 1
    for node in (a, b, twin):
        assert node.metrics()["peers"] == 0
        assert difference(node.gradient("totals"), node.gradient("own")) == 0.0


def test_something_else_on_the_port_is_told_and_outlived(start, address):
    host, port = address.split(":")
    ended = threading.Event()
    stranger = socket.create_server((host, int(port)))

    def talk() -> None:
        while not ended.is_set():
            try:
                caller, _ = stranger.accept()
                caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
                caller.close()
            except OSError:
                return

    threading.Thread(target=talk, daemon=True).start()
    a, b = start("a").ready(), start("b").ready()
    a.ask("learn 0 1")
    assert within(lambda: "cannot be reached" in a.said())
    assert a.ask("ask 1") < NO_WAIT_S
    ended.set()
    stranger.shutdown(socket.SHUT_RDWR)
    stranger.close()
    assert within(lambda: connected(a, 1)() and connected(b, 1)(), 60.0), (a.said(), b.said())

    for garbage in (b"GET / HTTP/1.1\r\n\r\n" * 50, os.urandom(5000)):
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(garbage)
    rounds = a.metrics()["peer_rounds_b"]
    assert within(lambda: a.metrics()["peer_rounds_b"] > rounds + 5)
    assert psutil.pid_exists(b.process.pid)


def test_what_a_replay_learns_reaches_a_node_before_the_command_ends(start, address, tmp_path):
    node = start("node").ready()
    bag, out = tmp_path / "street.bag", tmp_path / "out"
    simulate = ["simulate", "-o", str(bag), "--length", "24", "--width", "240", "--height", "96"]
    assert CliRunner().invoke(app, simulate).exit_code == 0
    settings = {
        "reconstructor": "scal3r",
        "network.preset": "nano",
        "network.allow_random_weights": "true",
        "network.device": "cpu",
        "window.size": 5,
        "window.overlap": 2,
        "memory_peers.rendezvous": address,
        "memory_peers.name": "replay",
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(app, ["replay", str(bag), "-o", str(out), *words])
    assert done.exit_code == 0, done.exception
    counts = yaml.safe_load((out / "run.yaml").read_text())["counts"]
    assert counts["peers"] == counts["peers_known"] == 1
    assert counts["peer_bytes_out_node"] > 0
    for layer in {key.split(".")[0] for key in node.gradient("totals")}:
        held = [tensor for key, tensor in node.gradient("totals").items() if key.startswith(f"{layer}.")]
        norm = sum(float(tensor.norm()) ** 2 for tensor in held) ** 0.5
        assert norm == pytest.approx(counts[f"memory_norm_{layer}"], rel=1e-5)
    assert within(lambda: "memory peer replay has ended" in node.said())
