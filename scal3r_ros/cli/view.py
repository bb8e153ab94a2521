"""`scal3r view`: a finished run in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from scal3r_ros.evaluation.ground_truth import read_truth
from scal3r_ros.evaluation.metrics.trajectories import TrajectoryComparison, compare_trajectories
from scal3r_ros.io.results.reader import read_result
from scal3r_ros.viewer.finished import TimeLine, settings_of, show_result, write_page
from scal3r_ros.viewer.live import LiveView
from scal3r_ros.viewer.server import LOOPBACK

Host = Annotated[
    str, typer.Option(help="Address to serve the page at; 0.0.0.0 lets everyone on the network see the map.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; the next free one where it is taken.")]


def view(
    result: Annotated[Path, typer.Argument(help="Folder that `scal3r replay -o` or the live demo wrote.")],
    truth: Annotated[Path | None, typer.Option(help="Ground truth to draw beside it, as for scal3r evaluate.")] = None,
    times: Annotated[
        Path | None, typer.Option(help="Seconds of each pose of a --truth file that has no stamps, one a line.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one HTML file instead, which needs no server.")] = None,
    host: Host = LOOPBACK,
    port: Port = 8080,
    max_points: Annotated[int, typer.Option(min=1000, help="Points on the page at most.")] = 1_000_000,
) -> None:
    """Walk around in the map of a finished run, in the browser, until Ctrl-C.

    Example: scal3r view out/street --truth street.bag
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    finished = read_result(result)
    positions = None
    if truth is not None:
        true = read_truth(truth, finished.trajectory, times).trajectory
        positions = true_positions(compare_trajectories(true, finished.trajectory))
    if html is not None:
        write_page(finished, html, positions, max_points)
        console.print(f"page: {html}", markup=False)
        return
    page = LiveView(settings_of(finished, host=host, port=port, most_points=max_points, follow=False))
    line = TimeLine(page, finished)
    show_result(page, finished, positions)
    try:
        wait_for_interrupt(lambda: console.print(f"{page.announcement}; Ctrl-C ends it", markup=False))
    finally:
        line.close()
        page.close()


def true_positions(comparison: TrajectoryComparison) -> NDArray[np.float64]:
    """Where the camera truly was: positions (n, 3), aligned to the map of the result."""
    return comparison.S_truth_map.inverse().apply(comparison.truth.T_ref_cam[:, :3, 3])


def wait_for_interrupt(announce: Callable[[], None] = lambda: None) -> None:
    """Returns at Ctrl-C, which may come as soon as `announce` has said that it is waited for."""
    try:
        announce()
        while True:
            time.sleep(3600.0)
    except KeyboardInterrupt:
        return
