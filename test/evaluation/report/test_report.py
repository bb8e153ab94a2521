from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from scal3r_ros.cli.evaluate import evaluate
from scal3r_ros.errors import EvaluationError
from scal3r_ros.evaluation.evaluator import evaluate_result
from scal3r_ros.evaluation.report.headlines import counts, number, percent
from scal3r_ros.evaluation.report.report import write_report

PICTURES = {"trajectory.png", "errors.png", "cloud_above.png", "cloud_behind.png", "depth.png", "timings.png"}
VOID = {"meta", "img"}


class Outline(HTMLParser):
    """Checks that tags close in order, and collects what the page loads and the text it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name == "src"]
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(evaluate)
    return app


@pytest.fixture(scope="module")
def report(result_folder: Path, truth_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "deep" / "report"
    outcome = CliRunner().invoke(command(), [str(result_folder), "--truth", str(truth_bag), "-o", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    assert "ATE, Sim(3)" in outcome.output
    assert "Cloud F1" in outcome.output
    return folder


def test_the_command_writes_report_pictures_and_numbers(report: Path) -> None:
    assert {path.name for path in report.iterdir()} >= PICTURES | {"report.html", "metrics.json"}
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["trajectory"]["ate_sim3_rmse_m"] < 1e-6
    assert metrics["depth"]["confident_fraction"] > 0.8
    assert metrics["cloud"]["f1"] > 0.5


def test_the_report_is_one_whole_page_that_loads_nothing(report: Path) -> None:
    html = (report / "report.html").read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    assert len(outline.sources) >= len(PICTURES)
    assert all(source.startswith("data:image/png;base64,") for source in outline.sources)
    assert outline.links == ["map.html"]  # beside the report, opened on demand
    assert not re.search(r"https?://|<script|@import|url\(", html)
    first = base64.b64decode(outline.sources[0].partition(",")[2])
    assert first == (report / "cloud_above.png").read_bytes()
    for text in ("ATE, Sim(3)", "dropped: truncated data", "window.size"):
        assert text in outline.text


def test_the_same_result_gives_the_same_files(
    report: Path, result_folder: Path, truth_bag: Path, tmp_path: Path
) -> None:
    write_report(evaluate_result(result_folder, truth_bag), tmp_path, "map.html")
    for name in ("report.html", "metrics.json", "errors.png", "cloud_behind.png"):
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes(), name


def test_a_flight_is_written_where_it_is_asked_for(
    result_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scal3r_ros.evaluation.report.pictures.FLIGHT_FRAMES", 2)
    outcome = CliRunner().invoke(command(), [str(result_folder), "--out", str(tmp_path), "--flight"])
    assert outcome.exit_code == 0, outcome.output
    with Image.open(tmp_path / "flight.webp") as film:
        assert (film.format, film.size) == ("WEBP", (640, 360))
    outline = Outline()
    outline.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert outline.links == ["map.html", "flight.webp"]


def test_without_truth_the_report_shows_trajectory_and_map(result_folder: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(command(), [str(result_folder), "--out", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    names = {path.name for path in tmp_path.iterdir()}
    assert {"report.html", "trajectory.png", "cloud_above.png", "cloud_behind.png"} <= names
    assert "errors.png" not in names
    assert json.loads((tmp_path / "metrics.json").read_text())["trajectory"] is None


def test_a_trajectory_of_one_pose_alone_still_makes_a_report(result_folder: Path, tmp_path: Path) -> None:
    line = (result_folder / "trajectory.tum").read_text().splitlines(keepends=True)[0]
    (tmp_path / "trajectory.tum").write_text(line)
    assert write_report(evaluate_result(tmp_path), tmp_path / "report").is_file()


def test_what_could_have_been_compared_is_said(room: Any, truth_bag: Path, tmp_path: Path) -> None:
    folder = room.write_result(tmp_path / "result")
    (folder / "map.ply").unlink()
    for file in (folder / "depth").iterdir():
        file.unlink()
    evaluation = evaluate_result(folder, truth_bag)
    assert any("--save-depth" in note for note in evaluation.notes)
    assert any("there is no map.ply" in note for note in evaluation.notes)
    assert "--save-depth" in write_report(evaluation, tmp_path / "report").read_text(encoding="utf-8")


def test_a_report_folder_that_is_a_file_is_one_clear_error(result_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(EvaluationError, match=r"report folder .* cannot be written"):
        write_report(evaluate_result(result_folder), tmp_path / "taken")


def test_counts_are_found_nested_or_not() -> None:
    nested = {"counts": {"frames_in": 5, "frames_posed": 4, "frames_dropped": {"stamp_back": 1}}}
    assert counts(nested) == {"frames in": 5, "frames posed": 4, "dropped: stamp back": 1}
    assert counts(nested["counts"]) == counts(nested)
    assert counts({}) == {}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0 m"), (0.01234, "0.0123 m"), (1234.5, "1,234 m"), (1e-9, "< 0.001 m")]
)
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value, "m") == text if value is not None else number(value) == text
    assert percent(0.1234) == "12.3 %"
