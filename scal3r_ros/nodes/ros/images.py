"""Pictures of image messages.

`cv_bridge` is not used although robots have it: one that was built for another NumPy than the process has takes the
process down, and one that fits accepts rows of a wrong length as another size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from scal3r_ros.io.images.decoding import decode_compressed_image, decode_image_message
from scal3r_ros.io.images.grey_range import GreyRange


def image_to_rgb(message: Image | CompressedImage, grey_range: GreyRange | None = None) -> NDArray[np.uint8]:
    """The picture of an image message as (h, w, 3) uint8 RGB; 16 bits by the camera's `grey_range`, or all of them.

    Raises:
        ImageError: the encoding is unknown, `step` does not fit the width, or the data is damaged.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed_image(message.data, grey_range)
    return decode_image_message(message, grey_range)
