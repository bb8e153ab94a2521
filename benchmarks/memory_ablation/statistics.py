"""From the rows of memory_ablation to results: metrics over all drives, and paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from benchmarks.memory_ablation.measure import OFFLINE, Row

Array = NDArray[np.float64]

BASELINE = "frozen"
APART = "frozen apart"
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Measure:
    """A figure of a row, its heading, and the factor and digits that it is shown with."""

    field: str
    title: str
    factor: float = 1.0
    digits: int = 3

    def of(self, rows: Sequence[Row]) -> Array:
        """The figure of each row, NaN where it has none."""
        return np.array([getattr(row, self.field) for row in rows], np.float64)

    def shown(self, value: float) -> str:
        """A value as tables show it."""
        return f"{value * self.factor:.{self.digits}f}"


MEASURES = (
    Measure("ate_m", "ATE, m", digits=2),
    Measure("ate_share", "ATE, % of the path", 100.0, 2),
    Measure("rigid_ate_share", "ATE without scale at seams, %", 100.0, 2),
    Measure("seam_spread_truth", "seam spread, by the truth"),
    Measure("seam_spread_mapper", "seam spread, by the mapper"),
    Measure("scale_spread", "scale spread"),
    Measure("depth_own", "depth error, own scale"),
    Measure("depth_one", "depth error, one scale"),
)
"""All that is compared; smaller is better for each."""


@dataclass(frozen=True)
class Figures:
    """One measure over the drives of one network and rule that have it."""

    drives: int
    mean: float
    median: float
    std: float
    lower_quartile: float
    upper_quartile: float


@dataclass(frozen=True)
class Comparison:
    """One measure under two conditions, drive by drive: `ratio` is the median of the ratios to the baseline.

    `low` … `high` is its 95 % interval by bootstrap over drives, `p` that of Wilcoxon's signed-rank test on the
    logarithms of the ratios, two-sided; `smaller` counts the drives with a ratio below one.
    """

    drives: int
    ratio: float
    low: float
    high: float
    p: float
    smaller: int


def figures(values: Array) -> Figures | None:
    """Figures of the finite values; None where there are none."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    lower, median, upper = np.percentile(values, [25, 50, 75]).tolist()
    return Figures(len(values), float(values.mean()), median, float(values.std()), lower, upper)


def log_ratios(values: Array, baseline: Array) -> Array:
    """log(value / baseline) of the drives where both are positive numbers."""
    both = np.isfinite(values) & np.isfinite(baseline) & (values > 0) & (baseline > 0)
    return np.asarray(np.log(values[both] / baseline[both]))


def compare(values: Array, baseline: Array) -> Comparison | None:
    """The comparison of two measurements of the same drives in the same order; None for less than two drives."""
    logs = log_ratios(values, baseline)
    if len(logs) < 2:
        return None
    draws = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
    low, high = np.percentile(np.median(logs[draws], axis=1), [2.5, 97.5]).tolist()
    p = float(wilcoxon(logs).pvalue) if np.any(logs) else 1.0
    ratio = float(np.exp(np.median(logs)))
    return Comparison(len(logs), ratio, float(np.exp(low)), float(np.exp(high)), p, int((logs < 0).sum()))


def pooled_spread(rows: Sequence[Row]) -> float | None:
    """Standard deviation of log(scale) from chunk to chunk over the seams of all drives, as training validates it."""
    seams = [seam for row in rows for seam in row.seams_truth]
    return float(np.std(seams)) if len(seams) > 1 else None


def rows_of(rows: Sequence[Row], network: str, rule: str) -> list[Row]:
    """One row a drive, in the drives' order."""
    return sorted((row for row in rows if (row.network, row.rule) == (network, rule)), key=lambda row: row.drive)


def names(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Networks and rules, in order of first appearance."""
    return list(dict.fromkeys(row.network for row in rows)), list(dict.fromkeys(row.rule for row in rows))


def baseline_of(rule: str, rules: Sequence[str]) -> str:
    """What a rule is compared with: the offline pass with chunks that are encoded as it does, where they are there."""
    return APART if rule == OFFLINE and APART in rules else BASELINE
