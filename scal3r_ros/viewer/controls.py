"""The panel of the page: figures, what to show, screenshot and download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import viser
from numpy.typing import NDArray

from scal3r_ros.mapping.values import PointCloud
from scal3r_ros.viewer.colours import ColourBy

SCREENSHOT_HEIGHT = 1080


@dataclass(frozen=True)
class Wishes:
    """What the panel is set to. `size` multiplies the usual size of points; surer ones than `confidence` are shown."""

    follow: bool
    colour_by: ColourBy = ColourBy.IMAGE
    size: float = 1.0
    confidence: float = 0.0


class Controls:
    """The panel, shared by all browsers that show the page.

    Args:
        server: whose panel it is.
        cloud: gives the points that a download holds.
        follow: whether the page follows the camera to begin with.
    """

    def __init__(self, server: viser.ViserServer, cloud: Callable[[], PointCloud], follow: bool) -> None:
        gui = server.gui
        self._figures = gui.add_markdown("")
        self._text = ""
        self._follow = gui.add_checkbox("Follow the camera", follow)
        self._colour = gui.add_dropdown("Colour by", tuple(choice.value for choice in ColourBy))
        self._size = gui.add_slider("Point size", 0.25, 5.0, 0.25, 1.0)
        self._confidence = gui.add_slider("Least confidence", 0.0, 0.95, 0.05, 0.0)
        self._cloud = cloud
        gui.add_button("Screenshot").on_click(self._screenshot)
        gui.add_button("Download as GLB").on_click(self._download)

    @property
    def wishes(self) -> Wishes:
        """What the panel is set to now."""
        return Wishes(
            bool(self._follow.value),
            ColourBy(self._colour.value),
            float(self._size.value),
            float(self._confidence.value),
        )

    def show(self, figures: Mapping[str, str]) -> None:
        """Replaces the figures, by their labels; nothing is sent where they are as before."""
        text = "\n".join(["| | |", "|:--|--:|", *(f"| {label} | {value} |" for label, value in figures.items())])
        if text != self._text:
            self._text = text
            self._figures.content = text

    def _screenshot(self, event: viser.GuiEvent) -> None:  # type: ignore[type-arg]
        if event.client is not None:
            width = round(SCREENSHOT_HEIGHT * max(0.2, min(5.0, event.client.camera.aspect)))
            picture = event.client.get_render(SCREENSHOT_HEIGHT, width)
            event.client.send_file_download("scal3r.png", png_bytes(picture), save_immediately=True)

    def _download(self, event: viser.GuiEvent) -> None:  # type: ignore[type-arg]
        if event.client is not None:
            event.client.send_file_download("scal3r.glb", glb_bytes(self._cloud()), save_immediately=True)


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """A picture (h, w, 3 or 4) uint8, red first, as a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(picture[..., :3], cv2.COLOR_RGB2BGR))[1].tobytes()


def glb_bytes(cloud: PointCloud) -> bytes:
    """The points as a binary glTF file, turned to glTF's axes: y up."""
    import trimesh  # not before it is asked for: the page is to be up soon

    turned = cloud.points[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0], np.float32)
    exported = trimesh.Scene(trimesh.PointCloud(turned, cloud.colours)).export(file_type="glb")
    return bytes(exported)
