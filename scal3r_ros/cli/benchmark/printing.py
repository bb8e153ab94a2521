"""Prints a benchmark's tables: one that is wider than the terminal goes into parts below each other, as it is."""

from __future__ import annotations

from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from scal3r_ros.cli.benchmark.tables import Table

BETWEEN = 3
"""Columns of characters that a column takes beside its content: a space on each side, and the line between two."""
EDGES = 2


def print_table(table: Table, console: Console) -> None:
    """The table with its notes; no cell is shortened, however narrow the console."""
    for part in in_parts(table, console.width):
        printed = Printed(title=part.title, box=box.SIMPLE_HEAD, title_justify="left")
        for number, name in enumerate(part.header):
            printed.add_column(Text(name), justify="right" if number else "left", width=_width(part, number))
        for row in part.rows:
            printed.add_row(*map(Text, row))
        console.print(printed)
    for note in table.notes:
        console.print(note, soft_wrap=True)


def in_parts(table: Table, width: int) -> list[Table]:
    """The table as several of at most `width` characters, each with the first column; as one where it fits."""
    widths = [_width(table, number) + BETWEEN for number in range(len(table.header))]
    groups: list[list[int]] = [[]]
    for number in range(1, len(widths)):
        taken = EDGES + widths[0] + sum(widths[each] for each in groups[-1])
        if groups[-1] and taken + widths[number] > width:
            groups.append([])
        groups[-1].append(number)
    return [
        replace(
            table,
            title=table.title if group is groups[0] else f"{table.title}, continued",
            header=_of(table.header, group),
            rows=tuple(_of(row, group) for row in table.rows),
        )
        for group in groups
    ]


def _of(cells: tuple[str, ...], group: list[int]) -> tuple[str, ...]:
    return (cells[0], *(cells[number] for number in group))


def _width(table: Table, number: int) -> int:
    """Of the longest cell of a column; a header may stand on several lines, word by word."""
    words = table.header[number].split() if number else [table.header[number]]
    return max(map(len, [*words, *(row[number] for row in table.rows)]))
