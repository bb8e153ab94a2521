"""What memory_ablation gives out: tables in Markdown, a CSV of all drives, a JSON of the summary, and a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.memory_ablation.measure import Row
from benchmarks.memory_ablation.statistics import (
    BASELINE,
    MEASURES,
    Comparison,
    Measure,
    baseline_of,
    compare,
    figures,
    log_ratios,
    names,
    pooled_spread,
    rows_of,
)

mpl.use("Agg")
import matplotlib.pyplot as plt

NAME = "memory_ablation"
_LISTS = ("seams_truth", "seams_mapper")
_PLOTTED = ("ate_share", "rigid_ate_share", "seam_spread_truth", "depth_one")
_RUNNING = "running"
_TARGET_RATIO, _TARGET_P = 0.85, 0.01
_DIGITS = 6


def write_report(rows: Sequence[Row], about: Mapping[str, Any], networks: Mapping[str, Any], out: Path) -> str:
    """Writes all files into `out` and returns the Markdown; `about` tells of the run, `networks` of each network."""
    with (out / f"{NAME}.csv").open("w", newline="", encoding="utf-8") as file:
        columns = [field.name for field in fields(Row) if field.name not in _LISTS]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: _rounded(value) for name, value in asdict(row).items()} for row in rows)
    summary = {"about": dict(about), "networks": dict(networks), "results": _results(rows)}
    (out / f"{NAME}.json").write_text(json.dumps(_rounded(summary), indent=1), encoding="utf-8")
    text = markdown(rows, about, networks)
    (out / f"{NAME}.md").write_text(text, encoding="utf-8")
    plot(rows, out / f"{NAME}.png")
    return text


def markdown(rows: Sequence[Row], about: Mapping[str, Any], networks: Mapping[str, Any]) -> str:
    """All tables: metrics of each rule, each rule against a frozen memory, and sizes of the memory."""
    labels, rules = names(rows)
    parts = ["; ".join(f"{name}: {value}" for name, value in about.items()) + "."]
    for label in labels:
        heading = ", ".join(f"{name} {value}" for name, value in networks.get(label, {}).items())
        parts += [f"## {label}" + (f" ({heading})" if heading else ""), _figures_table(rows, label, rules)]
        if BASELINE in rules and len(rules) > 1:
            parts += [_comparison_table(rows, label, rules), _verdict(rows, label, rules)]
    if len(labels) > 1 and _RUNNING in rules:
        parts += ["## Size of the memory", _sizes_table(rows, networks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def plot(rows: Sequence[Row], path: Path) -> None:
    """The ratio of every drive to the frozen memory, by rule, a row of panels for each network."""
    labels, rules = names(rows)
    rules = [rule for rule in rules if rule != BASELINE]
    shown = [measure for measure in MEASURES if measure.field in _PLOTTED]
    figure, axes = plt.subplots(
        len(labels), len(shown), figsize=(3.4 * len(shown), 0.45 * max(3, len(rules)) + 1.8 * len(labels)),
        squeeze=False, sharey=True, constrained_layout=True,
    )  # fmt: skip
    for label, row in zip(labels, axes, strict=True):
        for measure, axis in zip(shown, row, strict=True):
            _panel(axis, rows, label, rules, measure)
        row[0].set_ylabel(label)
    figure.suptitle(
        "each drive over the same drive with a frozen memory (offline: frozen apart); median and its 95 % interval"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Any, rows: Sequence[Row], label: str, rules: Sequence[str], measure: Measure) -> None:
    axis.axvline(1.0, color="0.6", linewidth=1)
    for place, rule in enumerate(rules):
        baseline = measure.of(rows_of(rows, label, baseline_of(rule, rules)))
        values = measure.of(rows_of(rows, label, rule))
        if len(values) != len(baseline):
            continue
        ratios = np.exp(log_ratios(values, baseline))
        axis.plot(ratios, place + 0.3 * np.linspace(-1, 1, max(1, len(ratios)))[: len(ratios)], ".", color="0.55")
        found = compare(values, baseline)
        if found is not None:
            axis.plot([found.low, found.high], [place, place], color="tab:blue", linewidth=3)
            axis.plot(found.ratio, place, "o", color="tab:blue")
    axis.locator_params(axis="x", nbins=5)
    axis.set_yticks(range(len(rules)), rules)
    axis.set_ylim(len(rules) - 0.4, -0.6)
    axis.set_title(measure.title, fontsize=9)


def _figures_table(rows: Sequence[Row], label: str, rules: Sequence[str]) -> str:
    heads = ["rule", "drives", *(measure.title for measure in MEASURES), "seam spread, all seams", "aligned by points"]
    lines = []
    for rule in rules:
        chosen = rows_of(rows, label, rule)
        pooled = pooled_spread(chosen)
        cells = [_figures_cell(measure, chosen) for measure in MEASURES]
        points = [row.seams_by_points for row in chosen if row.seams_by_points is not None]
        by_points = f"{100 * np.mean(points):.0f} %" if points else "–"
        lines.append([rule, str(len(chosen)), *cells, "–" if pooled is None else f"{pooled:.3f}", by_points])
    return "Median over the drives (mean ± standard deviation):\n\n" + _table(heads, lines)


def _figures_cell(measure: Measure, rows: Sequence[Row]) -> str:
    found = figures(measure.of(rows))
    if found is None:
        return "–"
    lost = f", {len(rows) - found.drives} without" if found.drives < len(rows) else ""
    return f"{measure.shown(found.median)} ({measure.shown(found.mean)} ± {measure.shown(found.std)}{lost})"


def _comparison_table(rows: Sequence[Row], label: str, rules: Sequence[str]) -> str:
    measures = [measure for measure in MEASURES if measure.field != "ate_share"]  # its ratios are those of ate_m
    lines = []
    for rule in rules:
        other = baseline_of(rule, rules)
        chosen, baseline = rows_of(rows, label, rule), rows_of(rows, label, other)
        if rule != other and len(chosen) == len(baseline):
            cells = [_comparison_cell(compare(measure.of(chosen), measure.of(baseline))) for measure in measures]
            lines.append([f"{rule} ÷ {other}", *cells])
    heads = ["rules", *(measure.title.removesuffix(", m") for measure in measures)]
    summary = (
        "Median of the ratios, drive by drive [95 % by bootstrap], p of Wilcoxon's signed-rank test, and how many "
        "drives got smaller:"
    )
    return f"{summary}\n\n{_table(heads, lines)}"


def _comparison_cell(found: Comparison | None) -> str:
    if found is None:
        return "–"
    interval = f"[{found.low:.3f}, {found.high:.3f}]"
    return f"{found.ratio:.3f} {interval} p {found.p:.2g}, {found.smaller}/{found.drives}"


def _verdict(rows: Sequence[Row], label: str, rules: Sequence[str]) -> str:
    """Whether the memory does what it is asked to: 15 % less ATE, p < 0.01, and a smaller seam spread."""
    if _RUNNING not in rules:
        return ""
    chosen, baseline = rows_of(rows, label, _RUNNING), rows_of(rows, label, BASELINE)
    if len(chosen) != len(baseline):
        return ""
    ate, seams = (
        compare(measure.of(chosen), measure.of(baseline))
        for measure in MEASURES
        if measure.field in ("ate_m", "seam_spread_truth")
    )
    if ate is None or seams is None:
        return ""
    met = ate.ratio <= _TARGET_RATIO and ate.p < _TARGET_P and seams.ratio < 1.0
    return (
        f"Target of {_RUNNING} against {BASELINE} (ATE × {_TARGET_RATIO} or less, p < {_TARGET_P}, smaller seam "
        f"spread): **{'met' if met else 'not met'}**: ATE × {ate.ratio:.3f}, p {ate.p:.2g}, seam spread "
        f"× {seams.ratio:.3f}."
    )


def _sizes_table(rows: Sequence[Row], networks: Mapping[str, Any]) -> str:
    labels, rules = names(rows)
    first = rows_of(rows, labels[0], _RUNNING)
    measures = [measure for measure in MEASURES if measure.field in (*_PLOTTED, "depth_own")]
    lines = []
    for label in labels:
        chosen = rows_of(rows, label, _RUNNING)
        state = networks.get(label, {}).get("state", "–")
        lines.append([label, str(state), "itself", *(_figures_cell(measure, chosen) for measure in measures)])
        others = [(f"÷ {BASELINE}", rows_of(rows, label, BASELINE))] if BASELINE in rules else []
        others += [(f"÷ {labels[0]}", first)] if label != labels[0] else []
        for name, other in others:
            if len(other) == len(chosen):
                cells = [_comparison_cell(compare(measure.of(chosen), measure.of(other))) for measure in measures]
                lines.append(["", "", name, *cells])
    heads = ["network", "values in the state", f"{_RUNNING}:", *(measure.title for measure in measures)]
    return _table(heads, lines)


def _results(rows: Sequence[Row]) -> dict[str, Any]:
    labels, rules = names(rows)
    results: dict[str, Any] = {}
    for label in labels:
        first = rows_of(rows, labels[0], _RUNNING)
        for rule in rules:
            chosen, baseline = rows_of(rows, label, rule), rows_of(rows, label, baseline_of(rule, rules))
            results.setdefault(label, {})[rule] = {
                "seam_spread_all_seams": pooled_spread(chosen),
                **{measure.field: _summary(measure, chosen, baseline, first) for measure in MEASURES},
            }
    return results


def _summary(measure: Measure, rows: Sequence[Row], baseline: Sequence[Row], first: Sequence[Row]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, found in (
        ("figures", figures(measure.of(rows))),
        ("against_frozen", _compared(measure, rows, baseline)),
        ("against_first_network", _compared(measure, rows, first) if rows[0].rule == _RUNNING else None),
    ):
        if found is not None:
            summary[name] = asdict(found)
    return summary


def _compared(measure: Measure, rows: Sequence[Row], other: Sequence[Row]) -> Comparison | None:
    same = [row.drive for row in rows] == [row.drive for row in other] and list(rows) != list(other)
    return compare(measure.of(rows), measure.of(other)) if same else None


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *lines))


def _rounded(value: Any) -> Any:
    """The same with six significant digits, so that files of equal runs are easy to compare."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
