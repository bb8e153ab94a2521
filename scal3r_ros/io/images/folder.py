"""Images of a folder, in the order of the numbers in their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})


@dataclass(frozen=True)
class ImageFolder:
    """`paths` of the images in natural order, and the `folder` they lie in."""

    folder: Path
    paths: tuple[Path, ...]


def find_images(folder: Path) -> ImageFolder:
    """The images of `folder`, or, where it has none itself, those of the only one of its folders that has.

    Raises:
        SequenceError: the folder is missing, or holds no images, or several of its folders do.
    """
    if not folder.is_dir():
        raise SequenceError(f"image folder {folder} is no folder; give the folder that holds the images")
    paths = _images_in(folder)
    if paths:
        return ImageFolder(folder, paths)
    below = {child: _images_in(child) for child in sorted(folder.iterdir()) if child.is_dir()}
    candidates = [child for child, images in below.items() if images]
    if not candidates:
        raise SequenceError(f"image folder {folder} holds no images ({', '.join(sorted(SUFFIXES))})")
    if len(candidates) > 1:
        names = ", ".join(child.name for child in candidates)
        raise SequenceError(f"image folder {folder} has images in several folders ({names}); give one of them")
    return ImageFolder(candidates[0], below[candidates[0]])


def read_image(path: Path) -> NDArray[np.uint8]:
    """A grey image as (h, w), any other as (h, w, 3) RGB, both uint8; an EXIF turn is not applied.

    Raises:
        SequenceError: the file can not be read or decoded.
    """
    image = _decode(path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image.ndim == 3:
        image = image[..., ::-1]
    return np.ascontiguousarray(image, np.uint8)


def read_depth(path: Path) -> NDArray[np.float32]:
    """z-depth (h, w) in metres of a 16-bit image in millimetres; its invalid values 0 and 65535 become 0.

    Raises:
        SequenceError: the file can not be read, or is no 16-bit image with one channel.
    """
    image = _decode(path, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise SequenceError(f"depth image {path} is not 16-bit with one channel; depth is expected in millimetres so")
    depth_m = image.astype(np.float32) / np.float32(1000.0)
    depth_m[image == 65535] = 0.0
    return depth_m


def frame_number(path: Path) -> int | None:
    """The last whole number in a file's name without its suffix: 20 for `frame-000020.depth.png`; None without one."""
    numbers = re.findall(r"\d+", path.name.removesuffix(path.suffix))
    return int(numbers[-1]) if numbers else None


def _decode(path: Path, flags: int) -> NDArray[np.generic]:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SequenceError(f"image {path} can not be read: {error.strerror}") from error
    image = cv2.imdecode(content, flags) if content.size else None
    if image is None:
        raise SequenceError(f"image {path} can not be decoded: the file is damaged, cut off or no image")
    return image


def _images_in(folder: Path) -> tuple[Path, ...]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    return tuple(sorted((path for path in found if not path.name.startswith(".")), key=_natural))


def _natural(path: Path) -> list[tuple[int, int, str]]:
    words = re.split(r"(\d+)", path.name)
    return [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in words]
