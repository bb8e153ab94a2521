"""What a network's memory learnt, from `memory.csv` to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scal3r_ros.errors import EvaluationError
from scal3r_ros.evaluation.evaluator import evaluate_result
from scal3r_ros.evaluation.report.headlines import MOST_MEMORY_ROWS, memory_table
from scal3r_ros.evaluation.report.report import write_report
from scal3r_ros.io.results.memory import read_memory
from scal3r_ros.io.results.reader import read_result

HEADER = "chunk,memory_chunks,memory_norm_3,memory_change_3,memory_norm_5,memory_change_5"


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


@pytest.fixture
def folder(room: Any, tmp_path: Path) -> Path:
    """A result of four chunks, whose memory learns from the second on."""
    folder = room.write_result(tmp_path / "result")
    write(folder / "memory.csv", ["1,1,0.5,,4,0.25", "2,2,0.75,0.125,5,0.0625", "3,3,1,0.0625,6,0.03125"])
    return folder


def test_a_row_a_chunk_is_read_by_layer(folder: Path) -> None:
    memory = read_memory(folder / "memory.csv")
    assert memory is not None
    assert memory.chunk.tolist() == memory.learnt.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(memory.norm[3], [0.5, 0.75, 1.0])
    np.testing.assert_array_equal(memory.change[3], [np.nan, 0.125, 0.0625])
    assert memory.metrics() == {"chunks": 3, "norm": {3: 1.0, 5: 6.0}, "change": {3: 0.0625, 5: 0.03125}}


def test_a_run_without_a_memory_has_none(result_folder: Path, tmp_path: Path) -> None:
    assert read_result(result_folder).memory is None
    assert read_memory(write(tmp_path / "memory.csv", [])) is None
    assert evaluate_result(result_folder).metrics()["memory"] is None


@pytest.mark.parametrize("row", ["1,1,much,,,", "1,,1,1,1,1", "x,1,1,1,1,1"])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, row: str) -> None:
    with pytest.raises(EvaluationError, match=r"memory\.csv cannot be read"):
        read_memory(write(tmp_path / "memory.csv", [row]))


def test_the_table_joins_what_was_learnt_with_what_it_took(folder: Path) -> None:
    result = read_result(folder)
    assert result.memory is not None
    assert memory_table(result.memory, result.timings) == [
        ["chunk", "chunks learnt from", "kept, layer 3", "kept, layer 5", "change, layer 3", "change, layer 5", "time"],
        ["1", "1", "0.5", "4", "–", "25.0 %", "0.5 s"],
        ["2", "2", "0.75", "5", "12.5 %", "6.2 %", "0.5 s"],
        ["3", "3", "1", "6", "6.2 %", "3.1 %", "0.5 s"],
    ]
    assert [row[-1] for row in memory_table(result.memory, None)[1:]] == ["–"] * 3


def test_a_long_drive_is_thinned_from_its_first_chunk_to_its_last(tmp_path: Path) -> None:
    memory = read_memory(write(tmp_path / "memory.csv", [f"{n},{n + 1},1,1,1,1" for n in range(1000)]))
    assert memory is not None
    rows = memory_table(memory, None)[1:]
    assert len(rows) == MOST_MEMORY_ROWS
    assert (rows[0][0], rows[-1][0]) == ("0", "999")


def test_the_report_shows_the_memory_of_a_run_that_has_one(folder: Path, result_folder: Path, tmp_path: Path) -> None:
    html = write_report(evaluate_result(folder), tmp_path / "with").read_text(encoding="utf-8")
    for text in ("The memory, chunk by chunk", "chunks learnt from", "Kept in layer 3", "Change in layer 5", "6.2 %"):
        assert text in html
    assert (tmp_path / "with" / "memory.png").is_file()
    assert json.loads((tmp_path / "with" / "metrics.json").read_text())["memory"]["norm"] == {"3": 1.0, "5": 6.0}
    without = write_report(evaluate_result(result_folder), tmp_path / "without").read_text(encoding="utf-8")
    assert "chunk by chunk" not in without
    assert not (tmp_path / "without" / "memory.png").exists()
