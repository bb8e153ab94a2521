"""Plots of a trajectory, its errors, depth and timing; each function gives the bytes of a PNG file."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scal3r_ros.evaluation.metrics.depths import DepthComparison, DepthExample
from scal3r_ros.evaluation.metrics.trajectories import TrajectoryComparison
from scal3r_ros.evaluation.report.style import (
    ACCENT,
    BLUE,
    CYCLE,
    ERROR_COLOURS,
    GRID,
    INK,
    MUTED,
    legend,
    new_figure,
    png,
    scale_bar_length,
    start_marker,
    style,
)
from scal3r_ros.evaluation.report.views import AboveView
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.results.memory import MemoryMetrics
from scal3r_ros.io.results.reader import Timings

Array = NDArray[np.float64]


def plot_comparison(comparison: TrajectoryComparison) -> bytes:
    """The estimate over the truth from above, coloured by its error, and both heights along the path."""
    # Seen along the map's own axes, of which z is up, but in metres of the truth.
    R_map_truth = comparison.S_truth_map.R.T
    origin = comparison.truth.T_ref_cam[0, :3, 3]
    true = (comparison.truth.T_ref_cam[:, :3, 3] - origin) @ R_map_truth.T
    aligned = (comparison.aligned.T_ref_cam[:, :3, 3] - origin) @ R_map_truth.T
    figure = new_figure(11, 8.2)
    above, heights = figure.subplots(2, 1, height_ratios=(3.4, 1))
    style(above, "From above, aligned by Sim(3)", "forward at the start (m)", "left (m)")
    above.plot(true[:, 0], true[:, 1], color=MUTED, linewidth=2.2, linestyle=(0, (4, 2)), label="truth")
    most = max(float(comparison.errors_m.max()), 1e-9)
    segments = np.stack([aligned[:-1, :2], aligned[1:, :2]], axis=1)
    line = LineCollection(list(segments), cmap=ERROR_COLOURS, linewidths=3.0, zorder=3)
    line.set_array((comparison.errors_m[:-1] + comparison.errors_m[1:]) / 2)
    line.set_clim(0.0, most)
    above.add_collection(line)
    above.plot([], [], color="#cc4778", linewidth=3.0, label="estimate, coloured by its error")
    start_marker(above, aligned[0, :2])
    above.set_aspect("equal", adjustable="datalim")
    above.autoscale_view()
    bar = figure.colorbar(line, ax=above, pad=0.01, aspect=32)
    bar.set_label("distance from the truth (m)", fontsize=9, color=MUTED)
    bar.ax.tick_params(labelsize=8.5, colors=MUTED, length=0)
    bar.outline.set_visible(False)
    legend(above)
    style(heights, "Height", "travelled (m)", "up (m)")
    heights.plot(comparison.at_m, true[:, 2], color=MUTED, linewidth=2, linestyle=(0, (4, 2)), label="truth")
    heights.plot(comparison.at_m, aligned[:, 2], color=ACCENT, linewidth=2, label="estimate")
    heights.margins(x=0.01)
    return png(figure)


def plot_trajectory(trajectory: Trajectory) -> bytes:
    """A trajectory without truth, from above in map units, coloured by time, and its height."""
    centres = trajectory.T_ref_cam[:, :3, 3]
    seconds = (trajectory.stamps_ns - trajectory.stamps_ns[0]) / 1e9
    figure = new_figure(11, 8.2)
    above, heights = figure.subplots(2, 1, height_ratios=(3.4, 1))
    style(above, "From above", "forward at the start (map units)", "left (map units)")
    line = LineCollection(list(np.stack([centres[:-1, :2], centres[1:, :2]], axis=1)), cmap="viridis", linewidths=3.0)
    line.set_array(seconds[:-1])
    above.add_collection(line)
    start_marker(above, centres[0, :2])
    above.set_aspect("equal", adjustable="datalim")
    above.autoscale_view()
    bar = figure.colorbar(line, ax=above, pad=0.01, aspect=32)
    bar.set_label("time (s)", fontsize=9, color=MUTED)
    bar.ax.tick_params(labelsize=8.5, colors=MUTED, length=0)
    bar.outline.set_visible(False)
    style(heights, "Height", "time (s)", "up (map units)")
    heights.plot(seconds, centres[:, 2], color=ACCENT, linewidth=2)
    heights.margins(x=0.01)
    return png(figure)


def plot_errors(comparison: TrajectoryComparison) -> bytes:
    """Along the true path: absolute error, relative errors and local scale."""
    relative, scales = comparison.relative, comparison.local_scales
    rows = 2 if relative is None else 4
    figure = new_figure(11, 2.3 * rows)
    axes = list(figure.subplots(rows, 1, sharex=True))
    style(axes[0], "Absolute error after Sim(3) alignment", "", "m")
    axes[0].fill_between(comparison.at_m, comparison.errors_m, color=ACCENT, alpha=0.16, linewidth=0)
    axes[0].plot(comparison.at_m, comparison.errors_m, color=ACCENT, linewidth=1.8)
    rmse = comparison.metrics.ate_sim3_rmse_m
    axes[0].axhline(rmse, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"rmse {rmse:.3g} m")
    axes[0].set_ylim(bottom=0)
    legend(axes[0])
    if relative is not None:
        for panel, title, unit, values in (
            (axes[1], "Relative translation error", "% of the distance", relative.translation_percent),
            (axes[2], "Relative rotation error", "deg / m", relative.rotation_deg_per_m),
        ):
            style(panel, f"{title} over {relative.distance_m:g} m", "", unit)
            panel.plot(relative.at_m, values, color=BLUE, linewidth=1.4)
            panel.axhline(
                values.mean(), color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"mean {values.mean():.3g}"
            )
            panel.set_ylim(0, max(1.1 * float(values.max()), 1e-3))
            legend(panel)
    style(axes[-1], "Local scale relative to the whole path", "travelled (m)", "ratio")
    axes[-1].axhline(1.0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes[-1].plot(scales.at_m, scales.ratio, color=CYCLE[2], linewidth=1.8, marker="o", markersize=4.5)
    deviation = float(np.abs(scales.ratio - 1).max(initial=0.0))
    axes[-1].set_ylim(1 - max(1.2 * deviation, 0.02), 1 + max(1.2 * deviation, 0.02))
    axes[-1].margins(x=0.01)
    return png(figure)


def plot_timings(timings: Timings) -> bytes:
    """Seconds per chunk by stage beside the camera time the chunk covers, and resident memory."""
    chunks = np.arange(len(timings.rss_mb))
    figure = new_figure(11, 6.4)
    seconds, memory = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    style(seconds, "Time per chunk", "", "s")
    bottom = np.zeros(len(chunks))
    for index, (name, values) in enumerate(timings.stages_s.items()):
        colour = CYCLE[index % len(CYCLE)]
        seconds.bar(chunks, values, 0.82, bottom=bottom, color=colour, label=name.replace("_", " "), linewidth=0)
        bottom = bottom + values
    seconds.step(
        chunks, timings.camera_s, where="mid", color=INK, linewidth=1.6, linestyle=(0, (4, 2)), label="camera time"
    )
    legend(seconds, columns=4, location="upper left")
    seconds.set_ylim(0, 1.35 * max(float(bottom.max()), float(timings.camera_s.max()), 1e-9))
    style(memory, "Resident memory", "chunk", "MB")
    memory.plot(chunks, timings.rss_mb, color=BLUE, linewidth=1.8)
    memory.set_ylim(0, 1.15 * float(timings.rss_mb.max()))
    memory.margins(x=0.01)
    memory.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    return png(figure)


def plot_memory(memory: MemoryMetrics, timings: Timings | None) -> bytes:
    """Chunk by chunk: what the memory keeps, how far its fast weights move, and what a chunk took."""
    figure = new_figure(11, 4.8 if timings is None else 6.6)
    axes = list(figure.subplots(2 if timings is None else 3, 1, sharex=True))
    style(axes[0], "What the memory keeps: its norm", "", "‖G‖")
    style(axes[1], "How far a chunk moves the fast weights", "", "%")
    for index, layer in enumerate(memory.norm):
        colour = CYCLE[index % len(CYCLE)]
        axes[0].plot(memory.chunk, memory.norm[layer], color=colour, linewidth=1.8, label=f"layer {layer}")
        axes[1].plot(memory.chunk, 100 * memory.change[layer], color=colour, linewidth=1.8, marker="o", markersize=4.5)
    legend(axes[0])
    if timings is not None:
        style(axes[2], "Time per chunk", "", "s")
        axes[2].bar(timings.chunk, timings.seconds, 0.82, color=BLUE, linewidth=0)
    for panel in axes:
        panel.set_ylim(bottom=0)
        panel.margins(x=0.01)
    axes[-1].set_xlabel("chunk", fontsize=9, color=MUTED)
    axes[-1].xaxis.set_major_locator(MaxNLocator(12, integer=True))
    return png(figure)


def plot_depths(comparison: DepthComparison) -> bytes:
    """One frame's true and estimated depth and its relative error, and the errors of all frames."""
    example = comparison.example
    figure = new_figure(11, 2.6 if example is None else 5.6)
    if example is None:
        errors, confident = figure.subplots(1, 2)
    else:
        pictures, bars = np.asarray(figure.subfigures(2, 1, height_ratios=(1.25, 1))).tolist()
        _draw_depth_example(pictures, example)
        errors, confident = bars.subplots(1, 2)
    style(errors, "Median relative error after one scale per frame", "frame with truth", "%")
    medians = [100 * (frame.median_relative_error or 0.0) for frame in comparison.frames]
    errors.bar(range(len(medians)), medians, 0.82, color=BLUE, linewidth=0)
    style(confident, "Confident pixels", "frame with truth", "%")
    fractions = [100 * frame.confident_fraction for frame in comparison.frames]
    confident.bar(range(len(fractions)), fractions, 0.82, color=CYCLE[2], linewidth=0)
    confident.set_ylim(0, 100)
    for axes in (errors, confident):
        axes.margins(x=0.01)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    return png(figure)


def _draw_depth_example(panel: SubFigure, example: DepthExample) -> None:
    known = example.true_m > 0
    both = known & (example.estimated_m > 0)
    error = np.full(known.shape, np.nan)
    error[both] = 100 * np.abs(example.estimated_m[both] / example.true_m[both] - 1)
    low, high = np.percentile(example.true_m[known], [2, 98])
    axes = panel.subplots(1, 3)
    for axis, title, values, colours, limits in (
        (axes[0], "True depth (m)", np.where(known, example.true_m, np.nan), "Spectral", (low, high)),
        (
            axes[1], "Estimated where confident (m)", np.where(example.estimated_m > 0, example.estimated_m, np.nan),
            "Spectral", (low, high),
        ),
        (axes[2], "Relative error (%)", error, ERROR_COLOURS, (0, 25)),
    ):  # fmt: skip
        style(axis, title, "", "")
        axis.set_facecolor(GRID)
        axis.set_xticks([])
        axis.set_yticks([])
        drawn = axis.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
        bar = panel.colorbar(drawn, ax=axis, orientation="horizontal", pad=0.03, aspect=34)
        bar.ax.tick_params(labelsize=8, colors=MUTED, length=0)
        bar.outline.set_visible(False)


def plot_picture_above(
    picture: NDArray[np.uint8], view: AboveView, trajectory: Trajectory, unit_m: float | None
) -> bytes:
    """A picture of the map from above with the camera's path, its start and a scale bar.

    The bar is in metres where the length `unit_m` of a map unit is known, else in map units.
    """
    height, width = picture.shape[:2]
    figure = new_figure(11, 11 * height / width)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, interpolation="antialiased")
    path = view.pixels(trajectory.T_ref_cam[:, :3, 3])
    axes.plot(path[:, 0], path[:, 1], color="white", linewidth=4.0, alpha=0.75, solid_capstyle="round")
    axes.plot(path[:, 0], path[:, 1], color=ACCENT, linewidth=2.0, solid_capstyle="round")
    start_marker(axes, path[0], label_left=path[0, 0] > 0.9 * width)
    shown_px = view.unit_px / (unit_m or 1.0)
    length = scale_bar_length(width / shown_px)
    left, bottom = 0.03 * width, height - 0.04 * width
    axes.plot([left, left + length * shown_px], [bottom, bottom], color="white", linewidth=7, solid_capstyle="butt")
    axes.plot([left, left + length * shown_px], [bottom, bottom], color=INK, linewidth=4, solid_capstyle="butt")
    axes.text(
        left,
        bottom - 0.01 * width,
        f"{length:g} {'m' if unit_m else 'map units'}",
        color=INK,
        fontsize=10,
        fontweight="bold",
        va="bottom",
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 2},
    )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return png(figure)
