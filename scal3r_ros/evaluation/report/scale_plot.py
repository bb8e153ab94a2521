"""The plot of scale along a drive: how odometry drifts, and what each source of metres observed."""

from __future__ import annotations

import numpy as np

from scal3r_ros.evaluation.report.style import CYCLE, INK, MUTED, legend, new_figure, png, style
from scal3r_ros.io.results.scale import ScaleCurves

NAMES = {
    "camera_height": "camera height",
    "wheel_odometry": "wheel odometry",
    "gnss": "satellite fixes",
    "imu": "IMU",
    "memory": "memory",
}


def plot_scale(scale: ScaleCurves) -> bytes:
    """Log scale along the drive against that of odometry alone, which lies at zero; a dot an observation."""
    figure = new_figure(11, 4.2)
    axes = figure.subplots()
    style(axes, "Log scale along the drive, against odometry alone", "travelled (m)", "log scale")
    axes.axhline(0.0, color=MUTED, linewidth=1.4, linestyle=(0, (4, 3)), label="odometry alone")
    shown = [scale.map - scale.odometry]
    for number, (source, (distance, log_scale, sigma)) in enumerate(scale.observed.items()):
        against = log_scale - np.interp(distance, scale.distance_travelled, scale.odometry)
        shown.append(against)
        axes.errorbar(
            distance, against, yerr=sigma, fmt="o", markersize=4.0, elinewidth=0.7, alpha=0.8,
            color=CYCLE[number % len(CYCLE)], label=NAMES.get(source, source),
        )  # fmt: skip
    axes.plot(scale.distance_travelled, shown[0], color=INK, linewidth=2.0, label="map", zorder=5)
    low, high = np.percentile(np.concatenate(shown), [2.0, 98.0])
    margin = max(0.25 * float(high - low), 0.02)
    axes.set_ylim(min(float(low), 0.0) - margin, max(float(high), 0.0) + margin)
    axes.margins(x=0.01)
    legend(axes)
    return png(figure)
