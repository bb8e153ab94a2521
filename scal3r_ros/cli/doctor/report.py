"""What each check found, as a table to read and JSON to send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from rich.table import Table
from rich.text import Text


class Status(Enum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Finding:
    """What one check found: a sentence, and numbers by name (units in the names)."""

    status: Status
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """Something to check: `run` gets the seconds it may take, about, and may raise anything."""

    name: str
    run: Callable[[float], Finding]


@dataclass(frozen=True)
class Row:
    """A check that was run, and how long it took."""

    name: str
    finding: Finding
    seconds: float


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """All findings, for a file."""
    return [
        {"check": row.name, "seconds": round(row.seconds, 2), **asdict(row.finding), "status": row.finding.status.value}
        for row in rows
    ]


def as_table(rows: Iterable[Row]) -> Table:
    """All findings, to read."""
    colours = {Status.OK: "green", Status.FAILED: "bold red", Status.LEFT_OUT: "yellow"}
    table = Table("check", "", "found", "s", box=None)
    for row in rows:
        status = row.finding.status
        table.add_row(row.name, Text(status.value, colours[status]), Text(row.finding.sentence), f"{row.seconds:.1f}")
    return table


def left_out(why: str) -> Finding:
    """A check that could not be made here."""
    return Finding(Status.LEFT_OUT, why)
