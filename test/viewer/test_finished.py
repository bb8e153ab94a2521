"""A finished result as a page of its own, and with a time line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Page

from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.clouds.ply import Cloud
from scal3r_ros.io.results.reader import Result
from scal3r_ros.viewer.finished import TimeLine, settings_of, show_result, write_page
from scal3r_ros.viewer.live import LiveView


def result_of(folder: Path, trajectory: Trajectory, cloud: Cloud | None, run: dict[str, Any]) -> Result:
    return Result(
        folder=folder,
        trajectory=trajectory,
        cloud=cloud,
        timings=None,
        memory=None,
        scale=None,
        run=run,
        depth_files={},
    )


@pytest.fixture
def result(tmp_path: Path) -> Result:
    """A camera that drives 20 units along x past 4,000 points."""
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (50, 1, 1))
    poses[:, :3, :3] = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    poses[:, 0, 3] = np.linspace(0.0, 20.0, 50)
    points = rng.uniform((25.0, -8.0, -3.0), (35.0, 8.0, 3.0), (4000, 3))
    cloud = Cloud(points, rng.integers(80, 255, (4000, 3)).astype(np.uint8))
    run = {"parameters": {"map.voxel_size": 0.2}, "counts": {"submaps": 3}, "real_time_factor": 1.5}
    return result_of(tmp_path, Trajectory(np.arange(50) * 100_000_000, poses), cloud, run)


def test_the_static_page_shows_the_whole_map_without_server_or_network(
    page: Page, result: Result, tmp_path: Path
) -> None:
    write_page(result, tmp_path / "sub" / "view.html")
    page.open((tmp_path / "sub" / "view.html").as_uri())
    page.wait_until(lambda: page.points() == 4000)
    assert not [url for url in page.requests if not url.startswith(("file:", "blob:", "data:"))]
    assert page.page.title() == f"Map of {tmp_path.name}"


def test_the_time_line_moves_the_camera_along_the_path(page: Page, result: Result) -> None:
    view = LiveView(settings_of(result, port=0, follow=True))
    line = TimeLine(view, result)
    try:
        show_result(view, result)
        page.open(view.url)
        page.wait_until(lambda: page.points() == 4000)
        (client,) = view.server.get_clients().values()
        slider = page.page.get_by_role("slider").last
        slider.focus()
        slider.press("End")
        page.wait_until(lambda: abs(client.camera.position[0] - (20.0 - 24.0)) < 0.2)
    finally:
        line.close()
        view.close()


def test_points_are_as_large_as_the_voxels_of_the_map(result: Result) -> None:
    assert settings_of(result).unit == 0.2
    assert settings_of(result_of(Path("x"), result.trajectory, None, {})).unit == 0.1
