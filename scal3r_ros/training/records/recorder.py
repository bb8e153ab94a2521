"""The curves of a run, as tables and for TensorBoard."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scal3r_ros.errors import TrainingError

logger = logging.getLogger(__name__)


class Recorder:
    """Writes `<kind>.csv`, a row a step, and, where tensorboardX is installed, the same for TensorBoard, in a run's
    folder.

    A continued run first drops the rows of steps that it will repeat.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._folder = folder
        self._board = _board(folder / "board", done + 1)
        for path in folder.glob("*.csv"):
            _keep(path, done)

    def add(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Metrics after `step` steps. `TrainingError` where the disk does not take them."""
        path = self._folder / f"{kind}.csv"
        row = {"step": step, **{name: f"{value:.6g}" for name, value in values.items()}}
        try:
            is_new = not path.exists()
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise TrainingError(f"curve {path} cannot be written: {error}") from error
        if self._board is None:
            return
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Ends what TensorBoard reads."""
        if self._board is not None:
            self._board.close()


def _board(folder: Path, purge_step: int) -> Any | None:
    """TensorBoard's writer, which only the extra `training` of the package brings along."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        logger.warning("no curves for TensorBoard: tensorboardX is missing (pip install 'scal3r_ros[training]')")
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)


def _keep(path: Path, done: int) -> None:
    header, *rows = path.read_text().splitlines()
    kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) <= done]
    path.write_text("\n".join([header, *kept]) + "\n")
