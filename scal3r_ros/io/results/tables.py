"""The CSV files of a result, read row by row."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from scal3r_ros.errors import EvaluationError

Parsed = TypeVar("Parsed")


def read_table(path: Path, what: str, parse: Callable[[list[dict[str, str]]], Parsed]) -> Parsed | None:
    """What `parse` makes of the rows of the `what` file in `path`; None where there is no such file.

    Raises:
        EvaluationError: the file cannot be read, or its columns or numbers are not those that `parse` looks for.
    """
    if not path.is_file():
        return None
    try:
        with path.open(newline="") as file:
            return parse(list(csv.DictReader(file)))
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise EvaluationError(f"{what} file {path} cannot be read ({error!r}); run `scal3r replay` again") from error
