from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from scal3r_ros.io.images.decoding import ImageError
from scal3r_ros.nodes.mapper.faults import FaultLog

pytest.importorskip("rclpy", reason="rclpy is not installed")

from scal3r_ros.nodes.mapper.input.camera import CameraInput, ReceivedImage


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make_camera(said):
    return lambda wait_s: CameraInput(wait_s, FaultLog(said.append))


def received(message, stamp_ns: int = 0) -> ReceivedImage:
    return ReceivedImage(message, stamp_ns, time.monotonic())


def test_frames_are_numbered_rgb_and_stamped(make_camera, image_message):
    camera = make_camera(0.0)
    frames = [camera.frame(received(image_message(float(index)), index * 10**9)) for index in range(3)]
    assert [(frame.index, frame.stamp_ns) for frame in frames] == [(0, 0), (1, 10**9), (2, 2 * 10**9)]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert camera.frame_id == "camera_optical"
    camera.restart()
    assert camera.frame(received(image_message(3.0))).index == 0


def test_a_bad_image_takes_no_number(make_camera, image_message):
    camera = make_camera(0.0)
    with pytest.raises(ImageError):
        camera.frame(received(image_message(0.0, data=b"")))
    assert camera.frame(received(image_message(1.0))).index == 0


def test_the_first_image_waits_for_a_calibration_that_comes(make_camera, image_message, camera_info_message, said):
    camera = make_camera(10.0)
    threading.Timer(0.1, camera.calibrate, [camera_info_message()]).start()
    start = time.monotonic()
    frame = camera.frame(received(image_message(0.0)))
    assert frame.intrinsics is not None
    assert 0.05 < time.monotonic() - start < 9.0
    assert not said


def test_without_calibration_the_wait_ends_and_is_not_repeated(make_camera, image_message, said):
    camera = make_camera(1.0)
    start = time.monotonic()
    frames = [camera.frame(received(image_message(float(index)))) for index in range(5)]
    assert time.monotonic() - start < 4.0
    assert all(frame.intrinsics is None for frame in frames)
    assert len(said) == 1
    assert "no camera_info came within 1" in said[0]


def test_a_wait_can_be_ended(make_camera, image_message):
    camera = make_camera(60.0)
    threading.Timer(0.1, camera.stop_waiting).start()
    start = time.monotonic()
    camera.frame(received(image_message(0.0)))
    assert time.monotonic() - start < 50.0


def test_distortion_is_removed(make_camera, image_message, camera_info_message):
    camera = make_camera(1.0)
    camera.calibrate(camera_info_message(d=[-0.3, 0.1, 0.0, 0.0, 0.0]))
    gradient = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    frame = camera.frame(received(image_message(0.0, data=gradient.tobytes())))
    assert frame.intrinsics.fx == 50.0
    row = frame.image[24, :, 0].astype(int)
    assert abs(row[32] - 32) <= 1  # the centre stays
    assert row[50] < 50  # towards the edge a barrel lens has moved pixels inwards


def test_images_that_are_rectified_already_stay_as_they_are(image_message, camera_info_message, said):
    camera = CameraInput(1.0, FaultLog(said.append), already_rectified=True)
    rectified = [40.0, 0.0, 31.0, 0.0, 0.0, 41.0, 23.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    camera.calibrate(camera_info_message(d=[-0.3, 0.1, 0.0, 0.0, 0.0], p=rectified))
    gradient = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    frame = camera.frame(received(image_message(0.0, data=gradient.tobytes())))
    assert (frame.intrinsics.fx, frame.intrinsics.cx) == (40.0, 31.0)
    np.testing.assert_array_equal(frame.image[..., 0], gradient)


def test_a_sensor_of_12_bits_is_not_dark(make_camera, image_message):
    camera = make_camera(0.0)
    values = np.tile(np.arange(64, dtype=np.uint16) * 64, (48, 1))
    frame = camera.frame(received(image_message(0.0, "mono16", step=128, data=values.tobytes())))
    assert np.ptp(frame.image) > 200


def test_a_new_calibration_takes_over(make_camera, image_message, camera_info_message):
    camera = make_camera(1.0)
    camera.calibrate(camera_info_message())
    camera.frame(received(image_message(0.0)))
    zoomed = [60.0, 0.0, 32.0, 0.0, 0.0, 60.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    camera.calibrate(camera_info_message(p=zoomed))
    assert camera.frame(received(image_message(1.0))).intrinsics.fx == 60.0
