"""Images of a folder, in the order of the numbers in their names."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.images.grey_range import GreyRange
from scal3r_ros.io.stamps import stamps_ns

logger = logging.getLogger(__name__)

Camera = TypeVar("Camera")

AUXILIARY = re.compile(
    r"(?<![a-z])(depth|masks?|labels?|seg|semantics?|segmentation|instances?|normals?|disp|disparity|flow|conf|confidence)"
    r"(?![a-z])",
    re.IGNORECASE,
)
"""Words in the names of files that lie beside images but are no images of a camera."""
TIME = re.compile(r"(?P<prefix>(?:.*[^\d.])?)(?P<time>\d+(?:\.\d+)?)")
EARLIEST_S = 10**9
EXIF_TURNS = {3: 2, 6: 3, 8: 1}
"""Quarter turns against the clock by the value of EXIF's Orientation; mirrored ones are none of a camera."""
FIRST_IMAGES = 5
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jp2", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".webp"}
)
OTHER_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".gif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".exr"})
"""Of images that cannot be read."""
SECONDS_NANOSECONDS = re.compile(r"(?<!\d)(\d{10})[_-](\d{9})$")
"""The two numbers of a stamp of ROS at the end of a name."""


@dataclass(frozen=True)
class ImageFolder:
    """`paths` of the images in natural order, and the `folder` they lie in."""

    folder: Path
    paths: tuple[Path, ...]


def find_images(folder: Path) -> ImageFolder:
    """The images of `folder`, or, where it has none itself, those of the only one of its folders that has.

    Depth, masks and the like beside the images are left out by their names, as in `000010.depth.png`.

    Raises:
        SequenceError: the folder is missing, or holds no images, or several of its folders do, or several kinds of
            images have the same numbers.
    """
    if not folder.is_dir():
        raise SequenceError(f"image folder {folder} is no folder; give the folder that holds the images")
    paths = _images_in(folder)
    others = sorted(path for path in folder.iterdir() if path.suffix.lower() in OTHER_SUFFIXES)
    if paths:
        _warn_of_what_is_left_out(folder, paths, others)
        return ImageFolder(folder, _one_kind(folder, paths))
    below = {child: _images_in(child) for child in sorted(folder.iterdir()) if child.is_dir()}
    candidates = [child for child, images in below.items() if images]
    if len(candidates) > 1:
        candidates = [child for child in candidates if not AUXILIARY.search(child.name)] or candidates
    if not candidates:
        hint = f"; {others[0].name} and others like it cannot be read: convert them" if others else ""
        raise SequenceError(f"image folder {folder} holds no images ({', '.join(sorted(SUFFIXES))}){hint}")
    if len(candidates) > 1:
        names = ", ".join(child.name for child in candidates)
        raise SequenceError(f"image folder {folder} has images in several folders ({names}); give one of them")
    return ImageFolder(candidates[0], _one_kind(candidates[0], below[candidates[0]]))


def stamps_of_names(paths: Sequence[Path]) -> NDArray[np.int64] | None:
    """Stamps (n,) in nanoseconds where every name is a time, in seconds, milli-, micro- or nanoseconds, and they
    increase; else None.

    All may begin with the same word, as in `left_1403636579763555584.png`. Whole numbers count as times from a thousand
    million on: smaller ones are numbers of images; so are those behind a word with decimals.
    """
    found = [TIME.fullmatch(SECONDS_NANOSECONDS.sub(r"\1.\2", path.stem)) for path in paths]
    matches = [match for match in found if match is not None]
    if not matches or len(matches) < len(paths) or len({match["prefix"] for match in matches}) > 1:
        return None
    times = [Decimal(match["time"]) for match in matches]
    is_alone = not matches[0]["prefix"]
    if min(times) < EARLIEST_S and not (is_alone and any("." in match["time"] for match in matches)):
        return None
    try:
        stamps = stamps_ns(times)
    except SequenceError:
        return None
    return stamps if np.all(np.diff(stamps) > 0) else None


def read_image(path: Path, grey_range: GreyRange | None = None) -> NDArray[np.uint8]:
    """A grey image as (h, w), any other as (h, w, 3) RGB, both uint8; an EXIF turn is not applied.

    16-bit values are scaled by the camera's `grey_range`; without one from 0…65535 to 0…255.

    Raises:
        SequenceError: the file cannot be read or decoded, or has other than 8 or 16-bit pixels.
    """
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = _decode(path, flags if grey_range is None else flags | cv2.IMREAD_ANYDEPTH)
    if image.ndim == 3:
        image = image[..., ::-1]
    if grey_range is not None and image.dtype == np.uint16:
        image = grey_range.to_8_bit(image.astype(np.uint16))
    if image.dtype != np.uint8:
        raise SequenceError(f"image {path} has pixels of type {image.dtype}; whole numbers of 8 or 16 bits are needed")
    return np.ascontiguousarray(image, np.uint8)


def upright_turns(path: Path) -> int:
    """Quarter turns against the clock that make a photograph upright, by its EXIF orientation; 0 without one."""
    try:
        with PIL.Image.open(path) as picture:
            return EXIF_TURNS.get(picture.getexif().get(PIL.ExifTags.Base.Orientation, 1), 0)
    except (OSError, ValueError, SyntaxError):
        return 0


def upright_camera(turns: int, height: int, width: int, camera_of: Callable[[int, int], Camera]) -> tuple[int, Camera]:
    """Quarter turns for images of `height` × `width` pixels as stored, and `camera_of` (height, width) after them.

    None where the calibration is for images as they are stored: `camera_of` raises `SequenceError` for others.
    """
    if turns:
        with suppress(SequenceError):
            camera = camera_of(*((width, height) if turns % 2 else (height, width)))
            logger.info("the images are turned upright, as the first of them is marked")
            return turns, camera
    return 0, camera_of(height, width)


def usual_size(paths: Sequence[Path]) -> tuple[int, int] | None:
    """Height and width that most of the first images have, as stored; None where none can be read."""
    sizes: Counter[tuple[int, int]] = Counter()
    for path in paths[:FIRST_IMAGES]:
        with suppress(SequenceError):
            height, width = read_image(path).shape[:2]
            sizes[height, width] += 1
    return sizes.most_common(1)[0][0] if sizes else None


def read_depth(path: Path, per_metre: float = 1000.0) -> NDArray[np.float32]:
    """z-depth (h, w) in metres of a 16-bit image in millimetres, or so many units `per_metre`; 0 and 65535 become 0.

    Raises:
        SequenceError: the file cannot be read, or is no 16-bit image with one channel.
    """
    image = _decode(path, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise SequenceError(f"depth image {path} is not 16-bit with one channel; depth is expected in whole units so")
    depth_m = image.astype(np.float32) / np.float32(per_metre)
    depth_m[image == 65535] = 0.0
    return depth_m


def frame_number(path: Path) -> int | None:
    """The last whole number in a file's name without its suffix: 20 for `frame-000020.depth.png`; None without one."""
    numbers = re.findall(r"\d+", path.name.removesuffix(path.suffix))
    return int(numbers[-1]) if numbers else None


def natural_key(path: Path | str) -> list[tuple[int, int, str]]:
    """For sorting by name: numbers in it as numbers."""
    stem, suffix = Path(path).stem, Path(path).suffix
    words = re.split(r"(\d+)", stem)
    return [*((0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words), (-1, 0, suffix)]


def _decode(path: Path, flags: int) -> NDArray[np.generic]:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SequenceError(f"image {path} cannot be read: {error.strerror}") from error
    image = cv2.imdecode(content, flags) if content.size else None
    if image is None:
        raise SequenceError(f"image {path} cannot be decoded: the file is damaged, cut off or no image")
    return image


def _images_in(folder: Path) -> tuple[Path, ...]:
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.is_dir() and not path.name.startswith(".")
    ]
    numbers = {path: match for path in found if (match := TIME.fullmatch(path.stem)) is not None}
    if len(numbers) == len(found) and len({match["prefix"] for match in numbers.values()}) <= 1:
        return tuple(sorted(found, key=lambda path: (Decimal(numbers[path]["time"]), path.name)))
    return tuple(sorted(found, key=natural_key))


def _warn_of_what_is_left_out(folder: Path, paths: Sequence[Path], others: Sequence[Path]) -> None:
    if others:
        logger.warning("%d images in %s are left out, as %s: convert them", len(others), folder, others[0].name)
    with suppress(OSError, ValueError, SyntaxError), PIL.Image.open(paths[0]) as picture:
        pages = getattr(picture, "n_frames", 1)
        if pages > 1 and paths[0].suffix.lower() in (".tif", ".tiff"):
            logger.warning("image %s has %d pages, of which the first is used: make a file of each", paths[0], pages)


def _one_kind(folder: Path, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The images without depth and masks; names of one kind differ only in their numbers."""
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        kinds.setdefault(re.sub(r"\d+", "#", path.name), []).append(path)
    if len(kinds) > 1:
        kinds = {name: members for name, members in kinds.items() if not AUXILIARY.search(name)} or kinds
    numbers = {name: {frame_number(path) for path in members} - {None} for name, members in kinds.items()}
    for name, other in itertools.combinations(kinds, 2):
        shared = len(numbers[name] & numbers[other])
        if shared > 1 and 2 * shared >= min(len(numbers[name]), len(numbers[other])):
            raise SequenceError(
                f"image folder {folder} has several kinds of images with the same numbers ({name}, {other}); "
                "put those of one camera into a folder of their own"
            )
    chosen = {path for members in kinds.values() for path in members}
    return tuple(path for path in paths if path in chosen)
