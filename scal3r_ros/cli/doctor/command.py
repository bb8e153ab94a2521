"""`scal3r doctor`: what this machine can do for the network, measured in the first minutes on it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scal3r_ros.cli.doctor import machine, network, sharing
from scal3r_ros.cli.doctor.report import Check, Finding, Row, Status, as_json, as_table, left_out
from scal3r_ros.errors import Scal3rError

CHECKS = (
    Check("machine", machine.describe),
    Check("GPUs", machine.gpus),
    Check("each GPU alone", machine.each_gpu),
    Check("all GPUs together", sharing.all_reduce),
    Check("network: precision", network.parity),
    Check("two nodes share a memory", sharing.two_nodes),
    Check("two nodes over NCCL", sharing.two_nodes_nccl),
    Check("real-time factor", network.real_time_factor),
    Check("network: speed", network.speed),
)


def doctor(
    out: Annotated[Path, typer.Option("--out", "-o", help="File for all findings, as JSON.")] = Path("doctor.json"),
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Time for all checks; what does not fit is left out.")
    ] = 150.0,
) -> None:
    """Check GPUs, network and memory sharing on this machine: a table to read, and a JSON file to send.

    Ends with code 1 where a check failed. On a machine without a GPU it names what it left out.

    Example: scal3r doctor -o doctor.json
    """
    console = Console(highlight=False)
    end_s = time.monotonic() + seconds
    rows: list[Row] = []
    for check in CHECKS:
        with console.status(check.name):
            rows.append(_run(check, end_s - time.monotonic()))
    console.print(as_table(rows))
    try:
        out.write_text(json.dumps(as_json(rows), indent=1), encoding="utf-8")
    except OSError as error:
        raise Scal3rError(f"the findings could not be written to {out}: {error.strerror}") from error
    console.print(f"\nall numbers: {out}", markup=False)
    if any(row.finding.status is Status.FAILED for row in rows):
        raise typer.Exit(1)


def _run(check: Check, seconds: float) -> Row:
    if seconds <= 0:
        return Row(check.name, left_out("no time was left: give more with --seconds"), 0.0)
    begin = time.monotonic()
    try:
        finding = check.run(seconds)
    except Exception as error:  # a broken driver fails in many ways, and the other checks still count
        finding = Finding(Status.FAILED, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    return Row(check.name, finding, time.monotonic() - begin)
