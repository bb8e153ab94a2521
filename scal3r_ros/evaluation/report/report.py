"""Writes the report of an evaluation: `report.html`, its pictures as PNG files, and `metrics.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from scal3r_ros.errors import EvaluationError
from scal3r_ros.evaluation.evaluator import Evaluation
from scal3r_ros.evaluation.report import page
from scal3r_ros.evaluation.report.headlines import counts, memory_table, sections
from scal3r_ros.evaluation.report.pictures import flight, picture_from_above, picture_from_behind
from scal3r_ros.evaluation.report.plots import (
    plot_comparison,
    plot_depths,
    plot_errors,
    plot_memory,
    plot_picture_above,
    plot_timings,
    plot_trajectory,
)
from scal3r_ros.evaluation.report.scale_plot import plot_scale
from scal3r_ros.evaluation.report.style import picture_png
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.clouds.ply import Cloud

REPORT_FILE = "report.html"
FLIGHT_FILE = "flight.webp"
METRICS_FILE = "metrics.json"

BEHIND = {"cloud_behind.png": 1 / 3, "cloud_behind_late.png": 2 / 3}
"""Where the views from behind the camera are taken, as fractions of the poses."""


def write_report(evaluation: Evaluation, folder: Path, map_page: str | None = None, film: bool = False) -> Path:
    """Writes everything into `folder`, which is made where it is missing, and gives the path of `report.html`.

    `map_page` is the name of a page beside it that shows the map; the report leads to it, and to the `film` of a
    flight along the path, where one is to be made.

    Raises:
        EvaluationError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = draw_pictures(evaluation)
        for name, png in pictures.items():
            (folder / name).write_bytes(png)
        result, flown = evaluation.result, None
        if film and result.cloud is not None and len(result.trajectory) > 1:
            (folder / FLIGHT_FILE).write_bytes(flight(result.cloud, result.trajectory))
            flown = FLIGHT_FILE
        metrics = json.dumps(evaluation.metrics(), indent=2, allow_nan=False) + "\n"
        (folder / METRICS_FILE).write_text(metrics, encoding="utf-8")
        (folder / REPORT_FILE).write_text(compose(evaluation, pictures, map_page, flown), encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"report folder {folder} cannot be written: {error.strerror}") from error
    return folder / REPORT_FILE


def draw_pictures(evaluation: Evaluation) -> dict[str, bytes]:
    """File names and PNG files of all pictures the evaluation has something to show in."""
    result = evaluation.result
    pictures: dict[str, bytes] = {}
    if evaluation.trajectory is not None:
        pictures["trajectory.png"] = plot_comparison(evaluation.trajectory)
        pictures["errors.png"] = plot_errors(evaluation.trajectory)
    else:
        pictures["trajectory.png"] = plot_trajectory(result.trajectory)
    if result.cloud is not None:
        pictures |= _draw_cloud(evaluation, result.cloud, result.trajectory)
    if evaluation.depth is not None:
        pictures["depth.png"] = plot_depths(evaluation.depth)
    if result.timings is not None:
        pictures["timings.png"] = plot_timings(result.timings)
    if result.scale is not None:
        pictures["scale.png"] = plot_scale(result.scale)
    if result.memory is not None:
        pictures["memory.png"] = plot_memory(result.memory, result.timings)
    return pictures


def compose(
    evaluation: Evaluation, pictures: Mapping[str, bytes], map_page: str | None = None, flown: str | None = None
) -> str:
    """The report's HTML, with `pictures` (PNG by file name) in it.

    It leads to `map_page` and to the film `flown`, the names of files beside it, where there are any.
    """
    figures = sections(evaluation)
    headline = [figure for section in figures.values() for figure in section if figure.headline]
    truth = "with truth" if evaluation.trajectory is not None else "without truth"
    body = [page.cards((figure.label, figure.value, figure.note) for figure in headline)]
    body += [page.paragraph(note) for note in evaluation.notes]
    body += [] if map_page is None else [page.link(map_page, "Walk around in the map")]
    body += [] if flown is None else [page.link(flown, "Fly along the path")]
    for title, captions in _GALLERY.items():
        shown = [page.picture(pictures[name], caption) for name, caption in captions.items() if name in pictures]
        if shown:
            body += [page.heading(title), page.side_by_side(shown) if len(shown) > 1 else shown[0]]
    for title, section in figures.items():
        body.append(page.heading(title))
        body.append(page.table((figure.label, figure.value, figure.note) for figure in section))
    if evaluation.result.memory is not None:
        table = memory_table(evaluation.result.memory, evaluation.result.timings)
        body += [page.heading("The memory, chunk by chunk"), page.grid(table[0], table[1:])]
        if len(table) - 1 < len(evaluation.result.memory.chunk):
            body.append(
                page.paragraph(f"{len(table) - 1} chunks of {len(evaluation.result.memory.chunk)}; all: memory.csv")
            )
    frames = counts(evaluation.result.run)
    if frames:
        body += [page.heading("Frames"), page.count_table(frames)]
    if evaluation.result.run:
        settings = yaml.safe_dump(dict(evaluation.result.run), sort_keys=False, allow_unicode=True)
        body += [page.heading("How it was run"), page.folded("run.yaml", settings)]
    return page.page(f"Result {evaluation.result.folder.resolve().name}", f"scal3r evaluation {truth}", body)


_GALLERY = {
    "The map from above": {
        "cloud_above.png": "The camera's path over the points no higher above it than the ground lies below."
    },
    "Over the camera's shoulder": {
        "cloud_behind.png": "After a third of the path. The line is the camera's path.",
        "cloud_behind_late.png": "After two thirds of the path.",
    },
    "Trajectory": {"trajectory.png": "The camera's path, seen along the map's vertical."},
    "Errors along the path": {"errors.png": "Each error over the distance the camera had truly travelled."},
    "Scale": {"scale.png": "How far odometry drifts from the map's scale, and what each source of metres observed."},
    "Depth": {"depth.png": "A frame from half way, and the error of every frame that has true depth."},
    "The memory": {
        "memory.png": "What the network's memory keeps, how far each chunk moves it, and what each chunk took to map."
    },
    "Speed": {
        "timings.png": "A chunk whose bar ends below the dashed line took less time than the camera took to record it."
    },
}


def _draw_cloud(evaluation: Evaluation, cloud: Cloud, trajectory: Trajectory) -> dict[str, bytes]:
    picture, view = picture_from_above(cloud, trajectory)
    unit_m = None if evaluation.trajectory is None else evaluation.trajectory.metrics.scale
    pictures = {"cloud_above.png": plot_picture_above(picture, view, trajectory, unit_m)}
    for name, fraction in BEHIND.items():
        index = round(fraction * (len(trajectory) - 1))
        pictures[name] = picture_png(picture_from_behind(cloud, trajectory, index))
    return pictures
