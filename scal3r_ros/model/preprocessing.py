"""Camera images to network input: resized to a given width, cropped to whole patches around the principal point.

Pixel centres lie at whole numbers. Source: Scal3R's released resize-and-crop (Pillow's antialiased bicubic filter,
which torch computes in the same integer arithmetic for uint8 images).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scal3r_ros.errors import ModelError


@dataclass(frozen=True)
class ResizeAndCrop:
    """How images of `source` (height, width) become images of `target` (height, width).

    They are resized to `resized` (height, width), then the window whose top left pixel is `offset` (y, x) is cut out;
    parts outside the resized image are black.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    target: tuple[int, int]

    def __call__(self, image_hw3: NDArray[np.uint8]) -> Tensor:
        """The image (3, h, w) float32 in 0..1; `ModelError` for one of another size or type than planned for."""
        if image_hw3.shape != (*self.source, 3) or image_hw3.dtype != np.uint8:
            raise ModelError(
                f"an image of shape {image_hw3.shape} and type {image_hw3.dtype} came where {(*self.source, 3)} uint8"
                " was expected: all images of a sequence must have one size"
            )
        image_13hw = torch.from_numpy(np.ascontiguousarray(image_hw3)).permute(2, 0, 1)[None]
        if self.resized != self.source:
            image_13hw = functional.interpolate(image_13hw, size=self.resized, mode="bicubic", antialias=True)
        (height, width), (top, left) = self.target, self.offset
        outside = (
            max(0, -left),
            max(0, left + width - self.resized[1]),
            max(0, -top),
            max(0, top + height - self.resized[0]),
        )
        top, left = max(0, top), max(0, left)
        window_3hw = functional.pad(image_13hw, outside)[0, :, top : top + height, left : left + width]
        return window_3hw.float() / 255

    def calibration(self, K_33: NDArray[np.float64]) -> NDArray[np.float64]:
        """The calibration matrix of the result for a source image with `K_33`."""
        scale_y, scale_x = self.resized[0] / self.source[0], self.resized[1] / self.source[1]
        top, left = self.offset
        to_target = np.array(
            [
                [scale_x, 0.0, (scale_x - 1) / 2 - left],
                [0.0, scale_y, (scale_y - 1) / 2 - top],
                [0.0, 0.0, 1.0],
            ]
        )
        return to_target @ K_33


def plan_resize(
    height: int,
    width: int,
    target_width: int,
    patch: int,
    principal_point: tuple[float, float] | None = None,
) -> ResizeAndCrop:
    """The released plan for images of `height` × `width` pixels.

    `target_width` is a multiple of `patch`, or is cut to one; `principal_point` (x, y) in pixels of the source is
    brought to the middle of the result, None means the middle of the image.

    Raises:
        ModelError: an empty image, or a target narrower than a patch.
    """
    if min(height, width) < 1 or target_width < patch:
        raise ModelError(f"images of {width} × {height} pixels cannot be resized to a width of {target_width}")
    target = (_whole_patches(height / width * target_width, patch), _whole_patches(target_width, patch))
    cover = max(target[0] / height, target[1] / width)
    resized = (
        max(patch, round(height * cover / patch) * patch),
        max(patch, round(width * cover / patch) * patch),
    )
    centre_x, centre_y = principal_point if principal_point is not None else ((width - 1) / 2, (height - 1) / 2)
    offset = (
        round((centre_y + 0.5) * resized[0] / height) - target[0] // 2,
        round((centre_x + 0.5) * resized[1] / width) - target[1] // 2,
    )
    return ResizeAndCrop((height, width), resized, offset, target)


def _whole_patches(pixels: float, patch: int) -> int:
    return max(patch, int(pixels) // patch * patch)
