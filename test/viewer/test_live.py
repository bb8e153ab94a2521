"""The live page in a real browser: what is handed over is what is drawn, and the one who hands over never waits."""

from __future__ import annotations

import dataclasses
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from browser import Page

from scal3r_ros.errors import ViewError
from scal3r_ros.mapping.values import CloudChange, PointCloud
from scal3r_ros.viewer.live import LiveView, ViewSettings
from scal3r_ros.viewer.scene import Camera
from scal3r_ros.viewer.server import open_server

SETTINGS = ViewSettings(port=0, unit=0.1, most_points=20_000, bytes_per_s=50e6)


@pytest.fixture
def view() -> Iterator[LiveView]:
    opened = LiveView(SETTINGS)
    yield opened
    opened.close()


def wall(count: int, seed: int = 0, red: int = 200) -> PointCloud:
    """Points ahead of a camera at the origin that looks along x."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((30.0, -6.0, -4.0), (40.0, 6.0, 4.0), (count, 3)).astype(np.float32)
    return PointCloud(points, np.tile(np.array([[red, 80, 40]], np.uint8), (count, 1)))


def camera_at(x: float, y: float = 0.0) -> Camera:
    """A camera that looks along x of `map`, with a grey image."""
    T = np.eye(4)
    T[:3, :3] = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    T[:3, 3] = x, y, 1.0
    return Camera(T, 0.8, 2.0, np.full((40, 80, 3), 128, np.uint8))


def test_the_page_draws_as_many_points_as_were_given_and_more_as_they_come(page: Page, view: LiveView) -> None:
    view.show_camera(camera_at(0.0))
    view.add_points(wall(3000))
    page.open(view.url)
    page.wait_until(lambda: page.points() == 3000)
    empty = np.ptp(page.picture()[:, :400].astype(int), axis=(0, 1)).max() < 30
    assert not empty
    view.add_points(wall(2000, seed=1))
    page.wait_until(lambda: page.points() == 5000)
    assert view.points_shown == 5000


def orange(page: Page) -> tuple[int, float]:
    """How many pixels have the frustum's colour, and in which column they are on average."""
    red, green, blue = np.moveaxis(page.picture()[:, :400].astype(int), 2, 0)
    columns = np.flatnonzero((red > 180) & (green > 90) & (green < 200) & (blue < 110)) % 400
    return len(columns), float(columns.mean()) if len(columns) else float("nan")


def test_the_frustum_moves_with_the_camera(page: Page) -> None:
    view = LiveView(dataclasses.replace(SETTINGS, follow=False))
    try:
        view.show_camera(camera_at(0.0))
        page.open(view.url)
        page.wait_until(lambda: orange(page)[0] > 20)
        before = orange(page)[1]
        view.show_camera(camera_at(0.0, y=3.0))  # to the left
        page.wait_until(lambda: orange(page)[1] < before - 20)
    finally:
        view.close()


def test_the_view_follows_the_camera_while_asked_to(page: Page, view: LiveView) -> None:
    view.show_camera(camera_at(0.0))
    page.open(view.url)
    page.wait_until(lambda: len(view.server.get_clients()) == 1)
    (client,) = view.server.get_clients().values()
    for x in (0.0, 8.0):
        view.show_camera(camera_at(x))
        page.wait_until(lambda x=x: abs(client.camera.position[0] - (x - 12.0)) < 0.1)  # 120 sizes of a point behind


def test_a_reloaded_page_shows_what_the_first_one_did(page: Page, view: LiveView) -> None:
    view.show_camera(camera_at(0.0))
    view.add_points(wall(3000))
    view.show_path(np.cumsum(np.full((300, 3), 0.02), axis=0))
    page.open(view.url)
    page.wait_until(lambda: page.points() == 3000)
    view.replace_points(wall(1000, seed=2))  # also what is gone must not come back
    page.wait_until(lambda: page.points() == 1000)
    page.page.reload()
    page.page.wait_for_selector("canvas", timeout=60_000)
    page.wait_until(lambda: page.points() == 1000)


def test_points_that_the_map_took_away_go_from_the_page(page: Page, view: LiveView) -> None:
    cloud = dataclasses.replace(wall(3000), submaps=np.repeat(np.arange(3, dtype=np.int32), 1000))
    view.update_points(CloudChange(1, frozenset({0, 1, 2}), frozenset({0, 1, 2}), cloud))
    page.open(view.url)
    page.wait_until(lambda: page.points() == 3000)
    fewer = cloud.take(np.flatnonzero(cloud.submaps == 1)[:400])
    view.update_points(CloudChange(2, frozenset({1}), frozenset({0, 1}), fewer))
    page.wait_until(lambda: page.points() == 1400)


def test_the_panel_hides_points_that_are_not_sure_and_colours_submaps(page: Page, view: LiveView) -> None:
    sure = np.where(np.arange(3000) < 1000, 0.99, 0.3).astype(np.float32)
    halves = (np.arange(3000) % 2).astype(np.int32)
    view.show_camera(camera_at(0.0))
    view.add_points(dataclasses.replace(wall(3000), confidence=sure, submaps=halves))
    page.open(view.url)
    page.wait_until(lambda: page.points() == 3000)
    slider = page.page.get_by_role("slider").nth(1)
    slider.focus()
    slider.press("End")
    page.wait_until(lambda: page.points() == 1000)
    slider.press("Home")
    page.wait_until(lambda: page.points() == 3000)
    page.page.get_by_role("combobox", name="Colour by").click()
    page.page.get_by_role("option", name="submap").click()
    page.wait_until(lambda: len(hues(page)) >= 2)


def hues(page: Page) -> set[int]:
    """Tenths of the circle of hues that many pixels of the map's part of the window have."""
    hsv = cv2.cvtColor(page.picture()[:, :400], cv2.COLOR_RGB2HSV)
    counts = np.bincount(hsv[(hsv[..., 1] > 100) & (hsv[..., 2] > 100)][:, 0] // 18, minlength=10)
    return set(np.flatnonzero(counts > 100).tolist())


def test_the_page_asks_nobody_but_its_server(page: Page, view: LiveView) -> None:
    view.add_points(wall(100))
    page.open(view.url)
    page.page.wait_for_timeout(1000)
    elsewhere = [url for url in page.requests if not url.startswith((view.url, "blob:", "data:"))]
    assert not elsewhere


def test_no_more_points_are_shown_than_allowed_near_ones_first(view: LiveView) -> None:
    view.show_camera(camera_at(0.0))
    near, far = wall(15_000), wall(60_000, seed=1)
    view.add_points(near)
    view.add_points(PointCloud(far.points + np.float32([400.0, 0.0, 0.0]), far.colours))
    assert view.settle()
    assert 15_000 < view.points_shown <= SETTINGS.most_points


def test_the_page_never_has_more_points_than_allowed_while_the_camera_drives_on(view: LiveView) -> None:
    most = 0
    for step in range(30):
        cloud = wall(4000, seed=step)
        moved = cloud.points + np.float32([20.0 * step, 0.0, 0.0])
        view.show_camera(camera_at(20.0 * step))
        view.add_points(PointCloud(moved, cloud.colours))
        end_s = time.monotonic() + 0.15
        while time.monotonic() < end_s:
            most = max(most, view.points_shown)
            time.sleep(0.002)
    assert view.settle()
    assert 10_000 < view.points_shown <= SETTINGS.most_points
    assert most <= SETTINGS.most_points


def test_a_slow_page_does_not_hold_up_who_maps() -> None:
    view = LiveView(ViewSettings(port=0, most_points=1_000_000, bytes_per_s=1000.0))
    try:
        longest = 0.0
        for seed in range(20):
            cloud = wall(20_000, seed=seed)
            started = time.perf_counter()
            view.add_points(cloud)
            view.show_camera(camera_at(0.1 * seed))
            longest = max(longest, time.perf_counter() - started)
        assert longest < 0.5  # handing over is a matter of microseconds; sending all this would take half an hour
        assert view.points_shown < 400_000
    finally:
        view.close()


def test_it_is_served_to_this_machine_alone_unless_asked_otherwise_and_says_so(view: LiveView) -> None:
    assert view.server.get_host() == "127.0.0.1"
    assert "only this machine" in view.announcement
    assert view.url in view.announcement
    port = view.server.get_port()
    other = next((ip for ip in addresses() if not ip.startswith("127.")), None)
    if other is not None:
        with pytest.raises(ConnectionRefusedError), socket.create_connection((other, port), timeout=1.0):
            pass
    everyone = LiveView(ViewSettings(host="0.0.0.0", port=0))
    try:
        assert "everyone" in everyone.announcement
    finally:
        everyone.close()


def addresses() -> list[str]:
    import psutil

    return [item.address for items in psutil.net_if_addrs().values() for item in items if item.family == socket.AF_INET]


def test_no_browser_can_have_the_map_published(view: LiveView) -> None:
    assert view.server.request_share_url() is None


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(ViewError, match="192\\.0\\.2\\.1"):
        open_server("192.0.2.1", 0)


def test_a_reset_map_leaves_an_empty_page(view: LiveView) -> None:
    view.add_points(wall(500))
    assert view.settle()
    view.clear()
    view.add_points(wall(20, seed=3))
    assert view.settle()
    assert view.points_shown == 20


def test_what_the_page_shows_is_downloaded_as_picture_and_as_points(page: Page, view: LiveView) -> None:
    view.show_camera(camera_at(0.0))
    view.add_points(wall(300))
    page.open(view.url)
    page.wait_until(lambda: page.points() == 300)
    with page.page.expect_download(timeout=120_000) as picture:
        page.page.get_by_role("button", name="Screenshot").click()
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.page.expect_download(timeout=120_000) as points:
        page.page.get_by_role("button", name="Download as GLB").click()
    scene = trimesh.load_scene(io.BytesIO(Path(points.value.path()).read_bytes()), file_type="glb")
    (cloud,) = scene.geometry.values()
    expected = wall(300).points[:, [0, 2, 1]] * np.float32([1.0, 1.0, -1.0])
    np.testing.assert_allclose(np.sort(cloud.vertices, axis=0), np.sort(expected, axis=0), atol=1e-3)
