from pathlib import Path

import pytest

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.calibration import CameraCalibration, read_calibration

KITTI = "7.0e+02 0 6.0e+02 0 0 7.1e+02 1.8e+02 0 0 0 1 0"
SECOND = "7.0e+02 0 6.0e+02 -3.8e+02 0 7.1e+02 1.8e+02 0 0 0 1 0"
ROS_YAML = """
image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 510, 240, 0, 0, 1]}
distortion_model: rational_polynomial
distortion_coefficients: {rows: 1, cols: 8, data: [0.1, 0.2, 0, 0, 0, 0.3, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [490, 0, 321, 0, 0, 495, 241, 0, 0, 0, 1, 0]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "calib.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text", [f"P0: {KITTI}\nP1: {SECOND}\n", f"{KITTI}\n{SECOND}\n", f"P0: {KITTI}\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n"]
)
def test_kitti_gives_camera_0_without_distortion(tmp_path: Path, text: str) -> None:
    calibration = read_calibration(write(tmp_path, text), 1241, 376)
    assert calibration == CameraCalibration.pinhole(1241, 376, [700, 0, 600, 0, 710, 180, 0, 0, 1])
    assert not any(calibration.d)


def test_matrix_is_read_as_a_pinhole(tmp_path: Path) -> None:
    calibration = read_calibration(write(tmp_path, "585 0 320\n0 586 240\n0 0 1\n"), 640, 480)
    assert calibration.k == (585, 0, 320, 0, 586, 240, 0, 0, 1)
    assert calibration.p == (585, 0, 320, 0, 0, 586, 240, 0, 0, 0, 1, 0)


def test_ros_yaml_keeps_distortion_and_projection(tmp_path: Path) -> None:
    calibration = read_calibration(write(tmp_path, ROS_YAML), 640, 480)
    assert calibration.distortion_model == "rational_polynomial"
    assert calibration.d == (0.1, 0.2, 0, 0, 0, 0.3, 0, 0)
    assert calibration.p[0] == 490


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "neither a KITTI calib.txt"),
        ("fx fy cx cy", "neither a KITTI calib.txt"),
        ("1 2 3 4\n5 6 7 8\n", "neither a KITTI calib.txt"),
        ("camera_matrix: {data: [1, 2]}\nimage_width: 640\nimage_height: 480", "neither a KITTI calib.txt"),
        ("camera_matrix: [", "neither a KITTI calib.txt"),
        ("0 0 320\n0 0 240\n0 0 1\n", "focal lengths"),
        ("nan 0 320\n0 500 240\n0 0 1\n", "focal lengths"),
        (ROS_YAML.replace("640", "1280"), "1280×480"),
    ],
)
def test_other_files_give_one_clear_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SequenceError, match=complaint) as caught:
        read_calibration(path, 640, 480)
    assert str(path) in str(caught.value)


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=r"missing\.txt can not be read"):
        read_calibration(tmp_path / "missing.txt", 640, 480)
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SequenceError, match="no text file"):
        read_calibration(binary, 640, 480)
