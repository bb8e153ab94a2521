"""A benchmark's table, as text cells, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scal3r_ros.cli.benchmark.published import AVERAGE
from scal3r_ros.cli.benchmark.scoring import Row
from scal3r_ros.cli.benchmark.sets import Protocol

DASH = "–"
SEQUENCE_COLUMNS = (
    "sequence", "images", "posed", "ATE Sim(3) [m]", "ATE SE(3) [m]", "RPE [%]", "RPE [deg/m]", "RPE over [m]", "scale",
    "images/s", "RAM [MiB]", "GPU [MiB]",
)  # fmt: skip
SEGMENT_COLUMNS = ("t_rel [%]", "r_rel [deg/100 m]")


@dataclass(frozen=True)
class Table:
    """Cells under a header, and sentences on what they mean."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


DEPTH_COLUMNS = (
    "sequence", "keyframes", "pixels [%]", "median error [%]", "within 1.25 [%]", "median error, one scale [%]",
)  # fmt: skip
"""Errors are of the pixels whose estimate is confident, which are so many of those with true depth."""


def sequence_table(rows: Sequence[Row], with_segments: bool) -> Table:
    """One row a sequence, and their average; `with_segments` with KITTI's relative errors."""
    lines = [_cells(row) + (_segment_cells(row) if with_segments else ()) for row in rows]
    done = [row for row in rows if row.comparison is not None]
    if done:
        metrics = [row.comparison.metrics for row in done if row.comparison is not None]
        mean = [
            _figure(_mean([getattr(each, name) for each in metrics]))
            for name in (
                "ate_sim3_rmse_m", "ate_se3_rmse_m", "rpe_translation_percent", "rpe_rotation_deg_per_m",
            )
        ]  # fmt: skip
        label = AVERAGE if len(done) == len(rows) else f"{AVERAGE} of {len(done)} of {len(rows)}"
        ends = [each.segments for each in done]
        by_segments = (
            _figure(_mean([None if each is None else each.translation_percent for each in ends])),
            _figure(_mean([None if each is None else each.rotation_deg_per_100_m for each in ends])),
        )
        lines.append((label, "", "", *mean, *[""] * 5, *(by_segments if with_segments else ())))
    lost = tuple(f"{row.name} is lost: {row.lost.rstrip('.')}." for row in rows if row.lost is not None)
    notes = ("A lost sequence has no error and is not part of the average.", *lost) if lost else ()
    header = SEQUENCE_COLUMNS + (SEGMENT_COLUMNS if with_segments else ())
    return Table("Sequences", header, tuple(lines), notes)


def published_table(protocol: Protocol, rows: Sequence[Row], name: str) -> Table:
    """ATE after Sim(3) as papers print it: methods in rows, sequences in columns, our row last.

    Sequences that belong to no column of the papers, and parts of sequences, get columns behind those.
    """
    names = {id(row): _label(row, protocol) for row in rows}
    others = [names[id(row)] for row in rows if row.column is None]
    columns = [*(protocol.sequences or [row.column for row in rows if row.column is not None]), *others]
    ours = {
        names[id(row)]: "lost" if row.comparison is None else _figure(row.comparison.metrics.ate_sim3_rmse_m)
        for row in rows
    }
    errors = [row.comparison.metrics.ate_sim3_rmse_m for row in rows if row.comparison is not None and row.column]
    wanted = protocol.sequences
    average = _figure(_mean(errors)) if wanted and len(errors) == len(wanted) else DASH
    lines = [
        (row.method, *(_figure(row.figures.get(column)) for column in columns), _figure(row.figures.get(AVERAGE)))
        for row in protocol.published
    ]
    lines.append((name, *(ours.get(column, DASH) for column in columns), average))
    sources = dict.fromkeys(row.source for row in protocol.published)
    notes = [
        f"{', '.join(row.method for row in protocol.published if row.source == source)}: {source}."
        for source in sources
    ]
    if protocol.published and not wanted:
        notes.append("The papers average over sequences that they do not name: our average stands in the next table.")
    elif average == DASH and protocol.published:
        notes.append(f"Our average stands here only over all of {', '.join(wanted)}: {len(errors)} of them were run.")
    if others:
        notes.append(f"In no column of the papers, or a part of a sequence: {', '.join(others)}.")
    return Table("ATE after Sim(3) [m]", ("method", *columns, AVERAGE), tuple(lines), tuple(notes))


def _label(row: Row, protocol: Protocol) -> str:
    return row.column or (f"{row.name}, a part" if row.name in protocol.sequences else row.name)


def cloud_table(protocol: Protocol, rows: Sequence[Row]) -> Table | None:
    """Accuracy, completeness and F1 at every tolerance, and Chamfer distance; None without scans.

    Published averages come first, at the one tolerance that they are for.
    """
    scored = [row for row in rows if row.clouds]
    if not scored:
        return None
    tolerances = [each.tolerance_m for each in scored[0].clouds]
    header = (
        "sequence",
        *(f"{name} {100 * t:g} cm" for t in tolerances for name in ("acc.", "compl.", "F1")),
        "Chamfer [m]",
    )
    lines = [
        (
            f"{each.method}, {AVERAGE}",
            *(
                f"{each.f1:.2f}" if name == "F1" and t == protocol.tolerance_m else DASH
                for t in tolerances
                for name in ("acc.", "compl.", "F1")
            ),
            f"{each.chamfer_m:.2f}",
        )
        for each in protocol.published_clouds
    ]
    lines += [
        (
            row.name,
            *(f"{value:.4f}" for each in row.clouds for value in (each.accuracy, each.completeness, each.f1)),
            _figure(row.chamfer_m),
        )
        for row in scored
    ]
    methods = ", ".join(each.method for each in protocol.published_clouds)
    notes = [f"{methods}: {protocol.published_clouds[0].source}. Their F1 is over points, ours over voxels."]
    return Table("Clouds against laser scans", header, tuple(lines), tuple(notes if methods else ()))


def depth_table(rows: Sequence[Row]) -> Table | None:
    """Depth of the keyframes against the set's own, one scale a frame; None without any."""
    lines = [
        (
            row.name,
            str(row.depth.frames),
            f"{100 * row.depth.confident_fraction:.1f}",
            _percent(row.depth.median_relative_error),
            _percent(row.depth.delta),
            _percent(row.depth.median_relative_error_one_scale),
        )
        for row in rows
        if row.depth is not None
    ]
    return Table("Depth of keyframes", DEPTH_COLUMNS, tuple(lines)) if lines else None


def csv_bytes(table: Table) -> bytes:
    """The table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return text.getvalue().encode()


def markdown(table: Table) -> str:
    """The table as Markdown, its notes below it."""
    lines = [f"## {table.title}", "", "| " + " | ".join(table.header) + " |", "|" + "---|" * len(table.header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.rows]
    return "\n".join([*lines, "", *table.notes]) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    gpu = DASH if row.outcome.gpu_mib is None else f"{row.outcome.gpu_mib:.0f}"
    end = (_figure(row.images_per_second), f"{row.outcome.ram_mib:.0f}", gpu)
    if row.comparison is None:
        return (row.name, str(row.images), str(row.posed), "lost", *[DASH] * 5, *end)
    m = row.comparison.metrics
    errors = (
        m.ate_sim3_rmse_m,
        m.ate_se3_rmse_m,
        m.rpe_translation_percent,
        m.rpe_rotation_deg_per_m,
        m.rpe_distance_m,
    )
    return (row.name, str(row.images), str(row.posed), *map(_figure, errors), _figure(m.scale), *end)


def _segment_cells(row: Row) -> tuple[str, str]:
    if row.segments is None:
        return DASH, DASH
    return _figure(row.segments.translation_percent), _figure(row.segments.rotation_deg_per_100_m)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f}"


def _figure(value: float | None) -> str:
    return DASH if value is None else f"{value:.4g}" if abs(value) < 100 else f"{value:.1f}"
