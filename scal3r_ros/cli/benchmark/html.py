"""A benchmark as one HTML page: its tables, and each trajectory beside the true one."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from scal3r_ros.cli.benchmark.scoring import Row
from scal3r_ros.cli.benchmark.tables import Table
from scal3r_ros.evaluation.metrics.trajectories import TrajectoryComparison
from scal3r_ros.evaluation.report.page import folded, grid, heading, page, paragraph, picture, side_by_side


def benchmark_page(title: str, subtitle: str, tables: Sequence[Table], rows: Sequence[Row], settings: str) -> str:
    """The whole document."""
    body: list[str] = []
    for table in tables:
        body += [heading(table.title), grid(table.header, table.rows), *map(paragraph, table.notes)]
    plots = [
        picture(_plot(row.comparison), f"{row.name}: ATE {row.comparison.metrics.ate_sim3_rmse_m:.3g} m")
        for row in rows
        if row.comparison is not None
    ]
    if plots:
        body += [heading("Trajectories"), side_by_side(plots)]
    return page(title, subtitle, [*body, folded("Settings", settings)])


def _plot(comparison: TrajectoryComparison) -> bytes:
    """Both paths in the plane in which the true one extends most."""
    true, estimated = comparison.truth.T_ref_cam[:, :3, 3], comparison.aligned.T_ref_cam[:, :3, 3]
    centre = true.mean(axis=0)
    axes = np.linalg.svd(true - centre, full_matrices=False)[2][:2]
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    plot = figure.add_subplot()
    for points, label, colour in ((true, "truth", "#66727d"), (estimated, "estimate", "#e84826")):
        plot.plot(*((points - centre) @ axes.T).T, label=label, color=colour, linewidth=1.4)
    plot.set_aspect("equal", adjustable="datalim")
    plot.locator_params(nbins=6)
    plot.set_xlabel("m")
    plot.set_ylabel("m")
    plot.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=220)
    return buffer.getvalue()
