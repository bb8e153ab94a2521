"""`scal3r evaluate`: a result beside its ground truth, in numbers, plots and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scal3r_ros.cli.view import true_positions
from scal3r_ros.evaluation.evaluator import EvaluationSettings, evaluate_result
from scal3r_ros.evaluation.report.headlines import Figure, counts, sections
from scal3r_ros.evaluation.report.report import write_report
from scal3r_ros.viewer.finished import PAGE_FILE, write_page


def evaluate(
    result: Annotated[Path, typer.Argument(help="Folder that `scal3r replay -o` or the live demo wrote.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Bag with /ground_truth/pose (and depth), or a trajectory file: TUM, or KITTI rows with --times."
        ),
    ] = None,
    times: Annotated[
        Path | None, typer.Option(help="Seconds of each pose of a --truth file that has no stamps, one a line.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the report; RESULT/report where it is not given.")
    ] = None,
    min_confidence: Annotated[float, typer.Option(min=0.0, max=1.0, help="Depth counts as confident from here.")] = 0.5,
    max_time_difference: Annotated[
        float, typer.Option(min=0.0, help="Seconds between an estimated and a true pose of the same frame, at most.")
    ] = 0.02,
    image_topic: Annotated[str | None, typer.Option(help="The camera of a --truth bag that has several.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=1e-6, help="Metres within which points of clouds agree; 2 % of the median true depth if not given."
        ),
    ] = None,
    max_range: Annotated[
        float | None,
        typer.Option(
            min=1e-6, help="Metres from the camera up to which clouds are compared; 3 median true depths if not given."
        ),
    ] = None,
    flight: Annotated[
        bool, typer.Option("--flight", help="Also write flight.webp: a flight along the path, some 20 s of CPU.")
    ] = False,
) -> None:
    """Compare a result with ground truth; write report.html, its pictures, a page of the map and metrics.json.

    Without --truth the report shows the trajectory, the map and the timing alone.

    Example: scal3r evaluate result --truth kitti.bag
    """
    settings = EvaluationSettings(
        max_time_difference_s=max_time_difference,
        image_topic=image_topic,
        min_confidence=min_confidence,
        cloud_threshold_m=threshold,
        cloud_range_m=max_range,
    )
    evaluation = evaluate_result(result, truth, times, settings)
    folder = out if out is not None else result / "report"
    report = write_report(evaluation, folder, PAGE_FILE, flight)
    true = None if evaluation.trajectory is None else true_positions(evaluation.trajectory)
    write_page(evaluation.result, folder / PAGE_FILE, true)
    console = Console()
    headline = [figure for section in sections(evaluation).values() for figure in section if figure.headline]
    console.print(_table(headline, counts(evaluation.result.run)))
    for note in evaluation.notes:
        console.print(note, markup=False)
    console.print(f"report: {report}", soft_wrap=True, markup=False)


def _table(figures: Iterable[Figure], frames: Mapping[str, int]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", style="bold", no_wrap=True)
    table.add_column(style="dim")
    for figure in figures:
        table.add_row(figure.label, figure.value, figure.note)
    if frames:
        table.add_row("Frames", "", ", ".join(f"{name} {count:,}" for name, count in frames.items()))
    return table
