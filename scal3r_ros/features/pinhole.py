"""Images without the radial distortion that their rectification has left."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics


def as_pinhole(image: NDArray[np.uint8], camera: Intrinsics) -> NDArray[np.uint8]:
    """`image` (h, w) or (h, w, 3) as `camera` would show it with `radial` 0; what lies outside repeats the border."""
    if camera.radial == 0.0:
        return image
    x, y = _places(camera)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


@lru_cache(maxsize=4)
def _places(camera: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    xy = (np.stack([u, v], axis=-1) - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    uv = camera.pixels_of(xy).astype(np.float32)
    return np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1])
