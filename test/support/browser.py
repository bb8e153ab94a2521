"""A headless chromium for tests of the view, which counts what WebGL draws."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

COUNTS_POINTS = """
(() => {
  window.drawn = {points: 0, frames: 0};
  let frame = 0;
  const begin = () => {
    window.drawn = {points: frame, frames: window.drawn.frames + 1};
    frame = 0;
    requestAnimationFrame(begin);
  };
  requestAnimationFrame(begin);
  const kind = WebGL2RenderingContext.prototype;
  const plain = kind.drawArrays, many = kind.drawArraysInstanced;
  kind.drawArrays = function (mode, first, count) {
    if (mode === this.POINTS) frame += count;
    return plain.call(this, mode, first, count);
  };
  kind.drawArraysInstanced = function (mode, first, count, instances) {
    if (mode === this.POINTS) frame += count * instances;
    return many.call(this, mode, first, count, instances);
  };
})();
"""
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


class Page:
    """One open page: its errors, what it asked the network for, and what its canvas shows."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.add_init_script(COUNTS_POINTS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, url: str) -> None:
        """Goes there and waits for the canvas."""
        self.page.goto(url)
        self.page.wait_for_selector("canvas", timeout=60_000)

    def points(self) -> int:
        """Points of the last frame that was drawn."""
        return int(self.page.evaluate("window.drawn.points"))

    def frames(self) -> int:
        """Frames drawn so far."""
        return int(self.page.evaluate("window.drawn.frames"))

    def picture(self) -> Any:
        """What the window shows: (h, w, 3) uint8."""
        encoded = np.frombuffer(self.page.screenshot(), np.uint8)
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Returns as soon as something holds; fails where it does not in time."""
        end_s = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end_s, f"not within {timeout_s} s; {self.points()} points drawn"
            self.page.wait_for_timeout(100)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: scripts/setup.sh --dev installs it")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no browser here: Debian's package chromium has one")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Page]:
    """A page of 640 × 360 pixels; whatever it logs as an error fails the test."""
    window = chromium.new_page(viewport={"width": 640, "height": 360})
    opened = Page(window)
    yield opened
    window.close()
    assert not opened.errors
