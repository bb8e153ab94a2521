"""`scal3r view`, `scal3r replay --view`: pages of results, and a page changes nothing about the result."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Page

from scal3r_ros.cli.replay import replay

Scal3r = Callable[..., Any]
SMALL = ["geometric.sweep.width=64", "geometric.sweep.planes=8", "window.size=8", "window.overlap=3"]


@pytest.fixture(scope="module")
def result(street_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seen") / "out"
    replay(street_bag, out, settings=SMALL)
    return out


class Running:
    """The command as a process of its own, until it is interrupted."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "scal3r_ros.cli.main", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "500"},
            # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.lines: list[str] = []
        self.arrived = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            with self.arrived:
                self.lines.append(line)
                self.arrived.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in what it wrote."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: re.search(pattern, "".join(self.lines)), timeout=120), self.lines
        found = re.search(pattern, "".join(self.lines))
        assert found is not None
        return found

    def interrupt(self) -> int:
        """Ctrl-C; gives the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def test_a_result_is_shown_until_ctrl_c(result: Path, street_bag: Path) -> None:
    running = Running("view", result, "--port", 0, "--truth", street_bag)
    url = running.wait_for(r"view: (http://127\.0\.0\.1:\d+) \(only this machine")[1]
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert b"<canvas" in answer.read() or answer.status == 200
    assert running.interrupt() == 0


def test_a_result_becomes_one_file(scal3r: Scal3r, result: Path, tmp_path: Path, page: Page) -> None:
    assert scal3r("view", result, "--html", tmp_path / "map.html").code == 0
    page.open((tmp_path / "map.html").as_uri())
    page.wait_until(lambda: page.points() > 100)


def test_a_report_has_a_page_of_the_map_beside_it(scal3r: Scal3r, result: Path, street_bag: Path) -> None:
    done = scal3r("evaluate", result, "--truth", street_bag)
    assert done.code == 0, done.err
    assert 'href="map.html"' in (result / "report" / "report.html").read_text()
    assert (result / "report" / "map.html").stat().st_size > 500_000


def test_a_page_changes_nothing_about_the_result(
    scal3r: Scal3r, street_bag: Path, result: Path, tmp_path: Path
) -> None:
    small = [word for setting in SMALL for word in ("--set", setting)]
    running = Running("replay", street_bag, "-o", tmp_path / "seen", "--view", "--view-port", 0, *small)
    running.wait_for("the view stays until Ctrl-C")
    assert running.interrupt() == 0
    for name in ("trajectory.tum", "map.ply"):
        assert (tmp_path / "seen" / name).read_bytes() == (result / name).read_bytes()


def test_what_is_no_result_is_one_line(scal3r: Scal3r, tmp_path: Path) -> None:
    done = scal3r("view", tmp_path)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "no result folder" in done.err


def test_an_address_of_another_machine_is_one_line(scal3r: Scal3r, result: Path) -> None:
    done = scal3r("view", result, "--host", "192.0.2.1")
    assert done.code == 1
    assert "192.0.2.1" in done.err
