"""The command as a whole: help, mistakes, and errors as one line."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scal3r_ros.cli.main import COMMANDS, imported, main

Scal3r = Callable[..., Any]


def test_help_names_every_command_and_a_first_look(scal3r: Scal3r) -> None:
    done = scal3r("--help")
    assert done.code == 0
    shown = " ".join(done.out.split())
    for command in COMMANDS:
        assert f" {command} {summary_of(command)}" in shown


def summary_of(command: str) -> str:
    """The first sentence of a command's own help."""
    return str(imported(command).help).split("\n")[0]


def test_a_command_has_its_own_options_and_help(scal3r: Scal3r) -> None:
    done = scal3r("weights", "--help")
    assert done.code == 0
    assert summary_of("weights") in done.out
    assert "Example: scal3r weights" in done.out
    assert "--bfloat16" in done.out
    assert "Usage: scal3r weights" in done.out


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"]])
def test_a_command_waits_for_no_library_that_it_does_not_use(arguments: list[str]) -> None:
    script = (
        "import sys; from scal3r_ros.cli.main import app; app(sys.argv[1:], standalone_mode=False);"
        "sys.exit(','.join({'torch', 'open3d', 'matplotlib', 'numba', 'viser'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert "Usage" in done.stdout
    assert done.stderr.strip() == ""


def test_no_arguments_are_answered_with_help(scal3r: Scal3r) -> None:
    done = scal3r()
    assert "Usage" in done.out + done.err


@pytest.mark.parametrize("arguments", [["nonsense"], ["replay"], ["replay", "x", "-o", "y", "--max-frames", "0"]])
def test_a_mistyped_command_line_is_usage_and_not_a_traceback(scal3r: Scal3r, arguments: list[str]) -> None:
    done = scal3r(*arguments)
    assert done.code == 2
    assert "Usage" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["missing.bag", "[/x].bag", "[red]bag"])
def test_an_error_is_one_line_whatever_the_name(scal3r: Scal3r, tmp_path: Path, name: str) -> None:
    done = scal3r("replay", tmp_path / name, "-o", tmp_path / "out")
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1
    assert name in done.err


def test_the_process_ends_with_1_and_one_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "scal3r_ros.cli.main",
        "replay",
        str(tmp_path / "no.bag"),
        "-o",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_circuit_is_driven_and_an_unknown_one_refused(scal3r: Scal3r, tmp_path: Path) -> None:
    small = ("--width", "64", "--height", "32", "--max-frames", "12")
    assert scal3r("simulate", "-o", str(tmp_path / "eight"), "--circuit", "eight", *small).code == 0
    assert (tmp_path / "eight" / "metadata.yaml").is_file()
    refused = scal3r("simulate", "-o", str(tmp_path / "nine"), "--circuit", "nine", *small)
    assert refused.code == 1
    assert "choose one of block, eight, delivery" in refused.err
    both = scal3r("simulate", "-o", str(tmp_path / "x"), "--circuit", "eight", "--trajectory", "x.txt", *small)
    assert "either --trajectory or --circuit" in both.err


def test_an_interrupt_ends_with_130(scal3r: Scal3r, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scal3r_ros.cli.main.app", interrupted)
    assert scal3r("info").code == 130


@pytest.mark.parametrize(("name", "shown"), [("caf\udce9", b"caf\\udce9"), ("Straße", b"Stra\\xdfe")])
def test_a_name_that_the_terminal_cannot_show_ends_no_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, shown: bytes
) -> None:
    """As of files from a system with another encoding, or where output goes to a pipe that has none."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "argv", ["scal3r", "replay", str(tmp_path / name), "-o", str(tmp_path / "out")])
    assert main() == 1
    assert shown + b" does not exist" in terminal.buffer.getvalue()
