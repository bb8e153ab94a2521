"""`scal3r benchmark`: runs every sequence of a benchmark that is there, evaluates and prints its tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scal3r_ros.cli.benchmark.html import benchmark_page
from scal3r_ros.cli.benchmark.printing import print_table
from scal3r_ros.cli.benchmark.runner import LOG_FILE, RunOutcome, default_jobs, run_all
from scal3r_ros.cli.benchmark.scoring import Row, score_run
from scal3r_ros.cli.benchmark.sets import PROTOCOLS, Benchmark, Found, profile_file, sequences_in
from scal3r_ros.cli.benchmark.tables import (
    Table,
    cloud_table,
    csv_bytes,
    depth_table,
    markdown,
    published_table,
    sequence_table,
)
from scal3r_ros.errors import EvaluationError
from scal3r_ros.io.atomic_write import os_errors_as, write_atomically
from scal3r_ros.io.sources import SourceOptions


def benchmark(
    name: Annotated[Benchmark, typer.Argument(metavar="BENCHMARK", help=", ".join(each.value for each in Benchmark))],
    path: Annotated[Path, typer.Argument(help="A folder with sequences of the data set in it or below it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of results and tables; out/benchmark_NAME by default.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A parameter file; by default the profile that fits the data set.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One parameter, as name=value; may be given several times.")
    ] = None,
    sequence: Annotated[
        list[str] | None, typer.Option(help="Only the sequence of this name; may be given several times.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Take only every n-th image.")] = 1,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop each sequence after so many images.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Sequences at a time; by default what cores, RAM and GPU allow.")
    ] = None,
) -> None:
    """Run a published benchmark on the sequences that are there and print its tables; go on where it was stopped.

    Example: scal3r benchmark kitti data/kitti/dataset -o out/kitti
    """
    protocol = PROTOCOLS[name]
    console = Console(stderr=True, highlight=False, markup=False)
    if not path.is_dir():
        raise EvaluationError(f"{path} is no folder; give the one that holds the sequences of {protocol.title}")
    found = [each for each in sequences_in(path, protocol) if not sequence or each.sequence.name in sequence]
    if not found:
        raise EvaluationError(
            f"{path} holds no sequence of {protocol.title} with true poses; docs/benchmarks.md shows the layout"
        )
    target = out or Path("out") / f"benchmark_{name.value}"
    folders = _folders(target, found)
    profile = config or profile_file(protocol.profile)
    options = [
        "--no-sensors",  # the benchmarks are for one camera
        *(() if profile is None else ("--config", str(profile))),
        *(word for setting in settings or () for word in ("--set", setting)),
        *(("--every", str(every)) if every > 1 else ()),
        *(("--max-frames", str(max_frames)) if max_frames else ()),
        *(("--save-depth",) if any(each.sequence.depth is not None for each in found) else ()),
    ]
    number = jobs or default_jobs()
    console.print(f"{protocol.title}: {len(found)} sequences, {number} at a time, results in {target}", soft_wrap=True)

    def report(each: Found, outcome: RunOutcome, before: bool) -> None:
        what = "done before" if before else f"{outcome.seconds:.0f} s"
        failed = "" if outcome.code == 0 else f", exit code {outcome.code}: see {folders[each.folder] / LOG_FILE}"
        console.print(f"{each.sequence.name}: {what}{failed}", soft_wrap=True)

    outcomes = run_all(found, lambda each: folders[each.folder], options, number, report)
    wanted = SourceOptions(every=every, max_frames=max_frames)
    rows = []
    for each, outcome in zip(found, outcomes, strict=True):
        count = len(each.sequence.paths)
        images = wanted.expected(count) or 0
        rows.append(score_run(each, folders[each.folder], outcome, images, protocol, is_whole=images == count))
    ours = _method(settings)
    every_table = {
        "published": published_table(protocol, rows, ours),
        "sequences": sequence_table(rows, protocol.segments),
        "clouds": cloud_table(protocol, rows),
        "depth": depth_table(rows),
    }
    tables = {name: table for name, table in every_table.items() if table is not None}
    _write(target, protocol.title, tables, rows, options)
    console = Console(highlight=False, markup=False)
    for table in tables.values():
        print_table(table, console)
    console.print(f"report: {target / 'benchmark.html'}", soft_wrap=True)
    if all(row.comparison is None for row in rows):
        raise typer.Exit(1)


def _method(settings: list[str] | None) -> str:
    chosen = [value for name, _, value in (each.partition("=") for each in settings or ()) if name == "reconstructor"]
    return f"scal3r_ros, {chosen[-1] if chosen else 'geometric'}"


def _folders(target: Path, found: list[Found]) -> dict[Path, Path]:
    """A folder for each sequence by its name; equal names get a number."""
    folders: dict[Path, Path] = {}
    for each in found:
        plain = re.sub(r"[^\w.-]+", "_", each.sequence.name)
        candidates = [plain, *(f"{plain}_{number}" for number in range(2, len(found) + 2))]
        folders[each.folder] = next(target / name for name in candidates if target / name not in folders.values())
    return folders


def _write(target: Path, title: str, tables: dict[str, Table], rows: list[Row], options: list[str]) -> None:
    with os_errors_as(target):
        target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_atomically(target / f"{name}.csv", csv_bytes(table))
    text = f"# {title}\n\n" + "\n".join(map(markdown, tables.values()))
    write_atomically(target / "benchmark.md", text.encode())
    html = benchmark_page(
        title, "The protocol stands in docs/benchmarks.md", list(tables.values()), rows, " ".join(options)
    )
    write_atomically(target / "benchmark.html", html.encode())
