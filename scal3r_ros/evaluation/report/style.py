"""The look that all figures of a report share."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

INK = "#1f2a33"
MUTED = "#7b8791"
GRID = "#e4e7e9"
PAPER = "#ffffff"
ACCENT = "#e84826"
BLUE = "#2f6db5"
ERROR_COLOURS = "plasma_r"
CYCLE = ("#2f6db5", "#e8a13a", "#3d9a78", "#b5548a", "#7a6bc4", "#c8553d", "#6c8a2f", "#4aa3c2", "#8a6d4b", "#9aa5ae")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, drawn without a display."""
    figure = Figure(figsize=(width, height), dpi=130, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Title at the left, thin grid, no frame."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=8)
    axes.set_xlabel(x_label, fontsize=9, color=MUTED)
    axes.set_ylabel(y_label, fontsize=9, color=MUTED)
    axes.tick_params(labelsize=8.5, colors=MUTED, length=0)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 5, 10]))
    for side in axes.spines.values():
        side.set_visible(False)


def legend(axes: Axes, columns: int = 1, location: str = "best") -> None:
    """A legend without a frame."""
    axes.legend(fontsize=8.5, frameon=False, labelcolor=INK, ncols=columns, loc=location)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": ""})
    return buffer.getvalue()


def picture_png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (h, w, 3) uint8 RGB as a PNG file, the same bytes each time."""
    buffer = io.BytesIO()
    # An empty text replaces matplotlib's version, which would make files differ between installations.
    imsave(buffer, picture, format="png", metadata={"Software": ""})
    return buffer.getvalue()


def scale_bar_length(extent: float) -> float:
    """A round length, 1, 2 or 5 times a power of ten, of about a fifth of `extent` > 0."""
    power = 10.0 ** np.floor(np.log10(extent / 5))
    steps: Sequence[float] = (1.0, 2.0, 5.0)
    return float(max(step * power for step in steps if step * power <= extent / 5 * 1.0001))


def start_marker(axes: Axes, position: NDArray[np.float64], label_left: bool = False) -> None:
    """A labelled dot where the path begins; its label on the left where there is no room on the right."""
    at = (float(position[0]), float(position[1]))
    axes.scatter(*at, s=70, color=PAPER, edgecolor=INK, linewidth=1.6, zorder=6)
    axes.scatter(*at, s=14, color=INK, zorder=7)
    axes.annotate(
        "start",
        at,
        xytext=(-9 if label_left else 9, 7),
        textcoords="offset points",
        horizontalalignment="right" if label_left else "left",
        fontsize=9,
        color=INK,
        fontweight="bold",
        zorder=7,
        bbox={"facecolor": PAPER, "alpha": 0.7, "edgecolor": "none", "pad": 1.5},
    )
