"""What the memory of a run's network learnt, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.io.results.layout import CHUNK_COLUMN, MEMORY_CHANGE, MEMORY_CHUNKS, MEMORY_NORM
from scal3r_ros.io.results.tables import read_table


@dataclass(frozen=True)
class MemoryMetrics:
    """One row per chunk from the first one that the memory learnt from: `chunk` (n,) int64, its number; `learnt` (n,)
    int64, how many chunks the memory has learnt from after it; by layer, `norm` (n,) of what the memory keeps and
    `change` (n,), the relative change of the fast weights over the chunk; nan where unknown.
    """

    chunk: NDArray[np.int64]
    learnt: NDArray[np.int64]
    norm: Mapping[int, NDArray[np.float64]]
    change: Mapping[int, NDArray[np.float64]]

    def metrics(self) -> dict[str, object]:
        """Where the memory stands at the end, as `metrics.json` holds it; None where a number is unknown."""
        return {
            "chunks": int(self.learnt[-1]),
            "norm": {layer: _last(values) for layer, values in self.norm.items()},
            "change": {layer: _last(values) for layer, values in self.change.items()},
        }


def read_memory(path: Path) -> MemoryMetrics | None:
    """The metrics in `path`; None where there is no such file, or no row in it: the run had no memory that learns.

    Raises:
        EvaluationError: the file is damaged.
    """
    return read_table(path, "memory", _metrics)


def _metrics(rows: list[dict[str, str]]) -> MemoryMetrics | None:
    if not rows:
        return None
    return MemoryMetrics(
        chunk=np.array([int(row[CHUNK_COLUMN]) for row in rows], np.int64),
        learnt=np.array([int(row[MEMORY_CHUNKS]) for row in rows], np.int64),
        norm=_by_layer(rows, MEMORY_NORM),
        change=_by_layer(rows, MEMORY_CHANGE),
    )


def _by_layer(rows: list[dict[str, str]], kind: str) -> dict[int, NDArray[np.float64]]:
    names = [name for name in rows[0] if name.startswith(kind)]
    return {int(name.removeprefix(kind)): np.array([float(row[name] or "nan") for row in rows]) for name in names}


def _last(values: NDArray[np.float64]) -> float | None:
    return float(values[-1]) if np.isfinite(values[-1]) else None
