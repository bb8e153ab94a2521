"""`scal3r doctor` runs to its end on any machine, and says what it has left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from scal3r_ros.cli.doctor import command, network
from scal3r_ros.cli.doctor.report import Check, Finding, Status
from scal3r_ros.cli.main import app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def findings(tmp_path: Path, *words: str) -> tuple[int, str, dict[str, dict]]:
    out = tmp_path / "doctor.json"
    done = CliRunner().invoke(app, ["doctor", "-o", str(out), *words], env={"COLUMNS": "200"})
    rows = json.loads(out.read_text())
    return done.exit_code, done.stdout, {row["check"]: row for row in rows}


def test_it_names_what_it_could_not_check_and_measures_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_LONGEST_SPEED_S", 3.0)  # the smaller presets, measured like the larger ones
    code, table, rows = findings(tmp_path, "--seconds", "200")
    assert code == 0, rows
    assert set(rows) == {check.name for check in command.CHECKS}
    for name, row in rows.items():
        assert name in table
        assert row["status"] in ("ok", "left out")
        assert row["sentence"]
    exchange = rows["two nodes share a memory"]
    assert exchange["status"] == "ok"
    assert exchange["numbers"]["bytes_each"] >= 3 * 2 * 256 * 1024
    assert rows["network: precision"]["numbers"]["relative_error"]["fp32"] < 1e-4
    assert rows["all GPUs together"]["numbers"]["bus_gb_per_s"] > 0
    assert rows["network: speed"]["numbers"]["presets"]["nano"]["frames_per_s"] > 0
    if not torch.cuda.is_available():
        for name in ("GPUs", "each GPU alone", "all GPUs together", "two nodes over NCCL"):
            assert rows[name]["status"] == "left out"


def test_a_check_that_fails_is_one_line_and_code_1_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(seconds: float) -> Finding:
        raise RuntimeError("CUDA error: device is gone\nmore lines")

    checks = (Check("breaks", breaks), Check("works", lambda seconds: Finding(Status.OK, "fine")))
    monkeypatch.setattr(command, "CHECKS", checks)
    code, _, rows = findings(tmp_path)
    assert code == 1
    assert rows["breaks"]["sentence"] == "RuntimeError: CUDA error: device is gone"
    assert rows["works"]["status"] == "ok"


def test_a_network_that_computes_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    depths = network._depths
    monkeypatch.setattr(network, "_depths", lambda config: depths(config) * (1.1 if config.onednn else 1.0))
    assert network.parity(60.0).status is Status.FAILED


def test_without_time_everything_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(command.time, "monotonic", lambda: float(next(clock)))
    code, _, rows = findings(tmp_path, "--seconds", "1")
    assert code == 0
    assert {row["status"] for row in rows.values()} == {"left out"}
