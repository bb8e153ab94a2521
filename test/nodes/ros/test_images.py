"""Image messages become pictures, whatever else is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from scal3r_ros.io.images.decoding import ENCODINGS, ImageError

images = pytest.importorskip("scal3r_ros.nodes.ros.images", reason="rclpy is not installed")
sensor_msgs = pytest.importorskip("sensor_msgs.msg")

COMPARED = ("mono8", "8UC1", "mono16", "rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4", "bayer_rggb8", "bayer_gbrg8")
CHANNELS = {"mono16": 2, "16UC1": 2, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4}

DECODE = """
import numpy as np
from sensor_msgs.msg import Image
from scal3r_ros.nodes.ros.images import image_to_rgb
print(image_to_rgb(Image(height=48, width=64, step=192, encoding="bgr8", data=bytes(range(192)) * 48)).sum())
"""
COMPARE = """
import sys
import numpy as np
from cv_bridge import CvBridge
from sensor_msgs.msg import Image
# cv_bridge converts no colours of generic types, which are named as OpenCV means them.
named = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
for path, encoding in zip(sys.argv[1::2], sys.argv[2::2]):
    data = np.load(path)
    encoding = named.get(encoding, encoding)
    image = Image(height=48, width=64, step=data.size // 48, encoding=encoding, data=data.tobytes())
    np.save(path, CvBridge().imgmsg_to_cv2(image, "rgb8"))
"""


def picture(encoding: str) -> sensor_msgs.Image:
    step = 64 * CHANNELS.get(encoding, 1)
    data = np.random.default_rng(0).integers(0, 256, 48 * step).astype(np.uint8)
    return sensor_msgs.Image(height=48, width=64, step=step, encoding=encoding, data=data.tobytes())


def test_a_cv_bridge_that_crashes_is_never_called(tmp_path: Path) -> None:
    package = tmp_path / "cv_bridge"
    package.mkdir()
    crash = "import os\nclass CvBridge:\n    def __getattr__(self, name):\n        os.kill(os.getpid(), 11)\n"
    (package / "__init__.py").write_text(crash)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", DECODE], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == sum(range(192)) * 48


def test_cv_bridge_gives_the_same_pixels(tmp_path: Path) -> None:
    """In a process of its own, since a cv_bridge of another NumPy ends the one that it is called in."""
    arguments = []
    for encoding in COMPARED:
        np.save(tmp_path / f"{encoding}.npy", np.frombuffer(picture(encoding).data, np.uint8))
        arguments += [str(tmp_path / f"{encoding}.npy"), encoding]
    command = [sys.executable, "-c", COMPARE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode:
        why = "is not installed" if "No module named 'cv_bridge'" in done.stderr else f"ends with {done.returncode}"
        pytest.skip(f"cv_bridge {why} here")
    for encoding in COMPARED:
        by_package = np.load(tmp_path / f"{encoding}.npy")
        np.testing.assert_allclose(by_package, images.image_to_rgb(picture(encoding)), atol=1, err_msg=encoding)


def test_raw_image_becomes_rgb():
    message = picture("bgr8")
    bgr = np.frombuffer(message.data, np.uint8).reshape(48, 64, 3)
    np.testing.assert_array_equal(images.image_to_rgb(message), bgr[..., ::-1])


def test_compressed_image_becomes_rgb():
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :, 0] = 200
    png = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    message = sensor_msgs.CompressedImage(format="png", data=png)
    np.testing.assert_array_equal(images.image_to_rgb(message), rgb)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "jpeg2000"}, "unknown encoding"),
        ({"data": bytes(100)}, "truncated data"),
        ({"step": 32}, "size mismatch"),
    ],
)
def test_what_cannot_be_decoded_says_why(changes, reason):
    fields = {"height": 48, "width": 64, "step": 64, "encoding": "mono8", "data": bytes(48 * 64)}
    with pytest.raises(ImageError) as caught:
        images.image_to_rgb(sensor_msgs.Image(**(fields | changes)))
    assert caught.value.reason == reason


def test_damaged_compressed_image_says_so():
    with pytest.raises(ImageError):
        images.image_to_rgb(sensor_msgs.CompressedImage(format="jpeg", data=b"\xff\xd8 no picture"))


def test_the_contract_of_encodings_is_kept():
    needed = {"mono8", "rgb8", "bgr8", "rgba8", "bgra8", "bayer_rggb8", "mono16"}
    assert needed <= set(ENCODINGS)
