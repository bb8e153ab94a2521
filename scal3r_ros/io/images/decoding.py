"""Turns the pixels of an image message into RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.images.grey_range import GreyRange


class ImageError(SequenceError):
    """An image that cannot be used; `reason` is a short name of the kind of fault, to count faults by."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class _Layout:
    """How one pixel lies in memory, and the OpenCV conversion that makes it RGB; None where it is RGB already.

    `planes` is how many rows there are for each two of the picture: 3 where colours follow the grey values.
    """

    dtype: str
    channels: int
    conversion: int | None
    planes: int = 2


# OpenCV names a Bayer pattern by its second row, ROS by its first: RGGB is OpenCV's BayerBG.
_LAYOUTS = {
    "mono8": _Layout("u1", 1, cv2.COLOR_GRAY2RGB),
    "8UC1": _Layout("u1", 1, cv2.COLOR_GRAY2RGB),
    "mono16": _Layout("u2", 1, cv2.COLOR_GRAY2RGB),
    "16UC1": _Layout("u2", 1, cv2.COLOR_GRAY2RGB),
    "rgb8": _Layout("u1", 3, None),
    "bgr8": _Layout("u1", 3, cv2.COLOR_BGR2RGB),
    "8UC3": _Layout("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": _Layout("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout("u1", 4, cv2.COLOR_BGRA2RGB),
    "8UC4": _Layout("u1", 4, cv2.COLOR_BGRA2RGB),
    "rgb16": _Layout("u2", 3, None),
    "bgr16": _Layout("u2", 3, cv2.COLOR_BGR2RGB),
    "16UC3": _Layout("u2", 3, cv2.COLOR_BGR2RGB),
    "rgba16": _Layout("u2", 4, cv2.COLOR_RGBA2RGB),
    "bgra16": _Layout("u2", 4, cv2.COLOR_BGRA2RGB),
    "16UC4": _Layout("u2", 4, cv2.COLOR_BGRA2RGB),
    "bayer_rggb8": _Layout("u1", 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": _Layout("u1", 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": _Layout("u1", 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": _Layout("u1", 1, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": _Layout("u2", 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr16": _Layout("u2", 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg16": _Layout("u2", 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg16": _Layout("u2", 1, cv2.COLOR_BayerGB2RGB),
    "yuv422": _Layout("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _Layout("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _Layout("u1", 2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": _Layout("u1", 2, cv2.COLOR_YUV2RGB_YUYV),
    "nv12": _Layout("u1", 1, cv2.COLOR_YUV2RGB_NV12, planes=3),
    "nv21": _Layout("u1", 1, cv2.COLOR_YUV2RGB_NV21, planes=3),
}
_IN_SMALL_LETTERS = {encoding.lower(): layout for encoding, layout in _LAYOUTS.items()}

ENCODINGS = tuple(_LAYOUTS)
"""Encodings of sensor_msgs/Image that `decode_image` understands."""


def decode_image(
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool,
    data: bytes | memoryview | NDArray[np.uint8],
    grey_range: GreyRange | None = None,
) -> NDArray[np.uint8]:
    """The pixels of a sensor_msgs/Image as (height, width, 3) uint8 RGB; `step` is the length of a row in bytes.

    16-bit values are scaled by the camera's `grey_range`; without one from 0…65535 to 0…255, as cv_bridge does.

    Raises:
        ImageError: the encoding is unknown, the size is zero, `step` is too short for a row, or data is missing.
    """
    layout = _IN_SMALL_LETTERS.get(encoding.strip().lower())
    if layout is None:
        raise ImageError(
            "unknown encoding",
            f"image has encoding {encoding!r}, which is not supported; use one of {', '.join(ENCODINGS)}",
        )
    if height <= 0 or width <= 0:
        raise ImageError("zero size", f"image has {width}×{height} pixels; check what the camera driver publishes")
    dtype = np.dtype(layout.dtype).newbyteorder(">" if is_bigendian else "<")
    row_bytes = width * layout.channels * dtype.itemsize
    if step < row_bytes:
        raise ImageError(
            "size mismatch",
            f"image of {width}×{height} pixels in {encoding} has rows of {step} bytes, but needs {row_bytes}; "
            "check what the camera driver publishes",
        )
    flat = np.frombuffer(data, np.uint8)
    rows_there = height * layout.planes // 2
    # The last row may lack its padding.
    needed = step * (rows_there - 1) + row_bytes
    if flat.size < needed:
        raise ImageError(
            "truncated data",
            f"image of {width}×{height} pixels in {encoding} has {flat.size} bytes, but needs {needed}; "
            "part of it got lost in transport",
        )
    rows = np.lib.stride_tricks.as_strided(flat, (rows_there, row_bytes), (step, 1), writeable=False)
    pixels = np.ascontiguousarray(rows).view(dtype).astype(dtype.newbyteorder("="), copy=False)
    pixels = pixels.reshape((rows_there, width) if layout.channels == 1 else (rows_there, width, layout.channels))
    try:
        rgb = pixels if layout.conversion is None else cv2.cvtColor(pixels, layout.conversion)
    except cv2.error:
        # Bayer and YUV pixels come in pairs: OpenCV refuses the sizes that break them.
        raise ImageError(
            "size mismatch",
            f"image of {width}×{height} pixels cannot be in {encoding}; check what the driver publishes",
        ) from None
    if rgb.dtype == np.uint16:
        return _to_8_bit(rgb, grey_range)
    return rgb.astype(np.uint8, copy=False)


def decode_image_message(message: Any, grey_range: GreyRange | None = None) -> NDArray[np.uint8]:
    """`decode_image` of a sensor_msgs/Image, whichever library has made it of the bytes."""
    return decode_image(
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
        message.data,
        grey_range,
    )


def decode_compressed_image(
    data: bytes | memoryview | NDArray[np.uint8], grey_range: GreyRange | None = None
) -> NDArray[np.uint8]:
    """The picture of a sensor_msgs/CompressedImage (JPEG or PNG) as (h, w, 3) uint8 RGB; 16 bits as `decode_image`.

    Raises:
        ImageError: the data is no picture, or is damaged.
    """
    flat = np.frombuffer(data, np.uint8)
    # IMREAD_COLOR_RGB came with OpenCV 4.11.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(flat, flags) if flat.size else None
    if image is None:
        raise ImageError(
            "undecodable picture",
            f"compressed image of {flat.size} bytes is no readable JPEG or PNG; check its transport",
        )
    return _to_8_bit(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), grey_range)


def _to_8_bit(image: NDArray[np.generic], grey_range: GreyRange | None) -> NDArray[np.uint8]:
    if image.dtype != np.uint16:
        return image.astype(np.uint8, copy=False)
    if grey_range is None:
        return cv2.convertScaleAbs(image.astype(np.uint16), alpha=255.0 / 65535.0).astype(np.uint8, copy=False)
    return grey_range.to_8_bit(image.astype(np.uint16))
