"""`scal3r evaluate`: a result beside its ground truth, in numbers, plots and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scal3r_ros.evaluation.evaluator import EvaluationSettings, evaluate_result
from scal3r_ros.evaluation.headlines import Figure, counts, sections
from scal3r_ros.evaluation.report import write_report


def evaluate(
    result: Annotated[Path, typer.Argument(help="Folder that `scal3r replay -o` or the live demo wrote.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Bag with /ground_truth/pose (and depth), or a trajectory file: TUM, or KITTI or 4×4 rows with --times."
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
) -> None:
    """Compare a result with ground truth; write report.html, its pictures and metrics.json.

    Without --truth the report shows the trajectory, the map and the timing alone.

    Example: scal3r evaluate result --truth kitti.bag
    """
    settings = EvaluationSettings(max_time_difference, min_confidence, threshold, max_range)
    evaluation = evaluate_result(result, truth, times, settings)
    report = write_report(evaluation, out if out is not None else result / "report")
    console = Console()
    console.print(_table(sections(evaluation), counts(evaluation.result.run)))
    console.print(f"report: {report}", soft_wrap=True)


def _table(figures: dict[str, list[Figure]], frames: dict[str, int]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", style="dim")
    for title, section in figures.items():
        table.add_row(f"[bold]{title}")
        for figure in section:
            value = f"[bold]{figure.value}" if figure.headline else figure.value
            table.add_row(f"  {figure.label}", value, figure.note)
    if frames:
        table.add_row("[bold]Frames")
        for name, count in frames.items():
            table.add_row(f"  {name}", f"{count:,}")
    return table
