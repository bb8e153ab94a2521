import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.calibration import CameraCalibration, read_calibration
from scal3r_ros.io.calibration.camera import CameraModel, lens_of

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


PINHOLE = CameraCalibration.pinhole(640, 480, [500, 0, 320, 0, 510, 240, 0, 0, 1])
BENT = replace(PINHOLE, d=(-0.3, 0.1, 0.001, 0.002))
CAMERA = {
    "camera_model": "pinhole",
    "intrinsics": [500, 510, 320, 240],
    "resolution": [640, 480],
    "distortion_model": "radtan",
    "distortion_coeffs": [-0.3, 0.1, 0.001, 0.002],
}
NAMED = {"fx": 500, "fy": 510, "cx": 320, "cy": 240, "k1": -0.3, "k2": 0.1, "p1": 0.001, "p2": 0.002}
EUROC = {**CAMERA, "sensor_type": "camera", "distortion_model": "radial-tangential"}
EUROC["distortion_coefficients"] = EUROC.pop("distortion_coeffs")
OTHER = {**CAMERA, "intrinsics": [400, 400, 300, 200]}


def opencv_file(suffix: str, names: tuple[str, str]) -> str:
    storage = cv2.FileStorage(suffix, cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    storage.write("calibration_time", "Mon 01 Jan 2024")
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write(names[0], np.reshape(PINHOLE.k, (3, 3)))
    storage.write(names[1], np.array([BENT.d]).T)
    return storage.releaseAndGetString()


CAMERA_INFO = yaml.safe_dump(
    {
        "header": {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": "camera"}, "height": 480, "width": 640,
        "distortion_model": "plumb_bob", "d": [*BENT.d, 0.0], "k": list(PINHOLE.k), "r": list(PINHOLE.r),
        "p": list(PINHOLE.p), "binning_x": 0, "binning_y": 0,
        "roi": {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False},
    },
    sort_keys=False,
) + "---\n"  # fmt: skip
"""As `ros2 topic echo camera_info` prints it."""


@pytest.mark.parametrize(
    "text",
    [
        opencv_file(".yml", ("camera_matrix", "distortion_coefficients")),
        opencv_file(".xml", ("Camera_Matrix", "Distortion_Coefficients")),
        opencv_file(".yml", ("K", "D")),
        yaml.safe_dump({"cam0": CAMERA, "cam1": OTHER}),
        yaml.safe_dump(EUROC),
        '%YAML:1.0\n---\nCamera.type: "PinHole"\nCamera1.fx: 500.\nCamera1.fy: 510.\nCamera1.cx: 320.\n'
        "Camera1.cy: 240.\nCamera1.k1: -0.3\nCamera1.k2: 0.1\nCamera1.p1: 0.001\nCamera1.p2: 0.002\n"
        "Camera.width: 640\nCamera.height: 480\n",
        '%YAML:1.0\n---\nCamera.model: "perspective"\nCamera.fx: 500\nCamera.fy: 510\nCamera.cx: 320\nCamera.cy: 240\n'
        "Camera.k1: -0.3\nCamera.k2: 0.1\nCamera.p1: 0.001\nCamera.p2: 0.002\nCamera.cols: 640\nCamera.rows: 480\n",
        yaml.safe_dump({"Camera": {"setup": "monocular", "model": "perspective", **NAMED, "cols": 640, "rows": 480}}),
        "%YAML:1.0\n---\nmodel_type: PINHOLE\ncamera_name: camera\nimage_width: 640\nimage_height: 480\n"
        "distortion_parameters:\n   k1: -0.3\n   k2: 0.1\n   p1: 0.001\n   p2: 0.002\n"
        "projection_parameters:\n   fx: 500\n   fy: 510\n   cx: 320\n   cy: 240\n",
        "# Camera list with one line of data per camera:\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n"
        "1 OPENCV 640 480 500 510 320.5 240.5 -0.3 0.1 0.001 0.002\n",
        "# oST version 5.0 parameters\n\n\n[image]\n\nwidth\n640\n\nheight\n480\n\n[narrow_stereo]\n\n"
        "camera matrix\n500.0 0.0 320.0\n0.0 510.0 240.0\n0.0 0.0 1.0\n\ndistortion\n-0.3 0.1 0.001 0.002\n\n"
        "rectification\n1 0 0\n0 1 0\n0 0 1\n\nprojection\n500 0 320 0\n0 510 240 0\n0 0 1 0\n",
        "500 510 320 240 -0.3 0.1 0.001 0.002\n",
        "# fx fy cx cy: in pixels\n500, 510, 320, 240, -0.3, 0.1, 0.001, 0.002  # k1 k2 p1 p2\n",
        CAMERA_INFO,
        json.dumps({"mtx": np.reshape(PINHOLE.k, (3, 3)).tolist(), "dist": [list(BENT.d)], "rms": 0.3}),
        json.dumps(
            {
                "w": 640,
                "h": 480,
                "fl_x": 500,
                "fl_y": 510,
                "cx": 320,
                "cy": 240,
                "k1": -0.3,
                "k2": 0.1,
                "p1": 0.001,
                "p2": 0.002,
                "frames": [],
            }
        ),
        json.dumps(
            {
                "width": 640,
                "height": 480,
                "fx": 500,
                "fy": 510,
                "ppx": 320,
                "ppy": 240,
                "model": "Brown Conrady",
                "coeffs": [*BENT.d, 0],
            }
        ),
        json.dumps(
            {
                "width": 640,
                "height": 480,
                "intrinsic_matrix": np.reshape(PINHOLE.k, (3, 3)).T.ravel().tolist(),
                "distortion": list(BENT.d),
            }
        ),
    ],
    ids=[
        "OpenCV YAML",
        "OpenCV XML",
        "OpenCV short",
        "Kalibr",
        "EuRoC",
        "ORB-SLAM3",
        "OpenVSLAM",
        "stella_vslam",
        "VINS",
        "COLMAP",
        "ost.txt",
        "a row",
        "a row with comments",
        "ros2 topic echo",
        "OpenCV JSON",
        "nerfstudio",
        "RealSense",
        "Open3D",
    ],
)
def test_the_same_camera_in_every_form(tmp_path: Path, text: str) -> None:
    calibration = read_calibration(write(tmp_path, text), 640, 480)
    assert CameraModel.of(calibration).raw == CameraModel.of(BENT).raw
    lens = lens_of(calibration.distortion_model, calibration.d)
    assert (lens.model, lens.coefficients[:4]) == ("plumb_bob", BENT.d)
    assert not any(lens.coefficients[4:])
    assert calibration.p == PINHOLE.p


def test_a_camera_info_is_that_of_its_region_and_binning(tmp_path: Path) -> None:
    text = CAMERA_INFO.replace("binning_x: 0", "binning_x: 2").replace("binning_y: 0", "binning_y: 2")
    text = text.replace("x_offset: 0", "x_offset: 100").replace("  width: 0", "  width: 400")
    text = text.replace("  height: 0", "  height: 480")
    calibration = read_calibration(write(tmp_path, text), 200, 240)
    assert (calibration.width, calibration.height) == (200, 240)
    assert calibration.k == (250, 0, (320 - 100 + 0.5) / 2 - 0.5, 0, 255, (240 + 0.5) / 2 - 0.5, 0, 0, 1)


def test_a_matrix_for_images_of_another_size_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_calibration(write(tmp_path, "585 0 320\n0 586 240\n0 0 1\n"), 640, 480)
    assert not caplog.text
    read_calibration(write(tmp_path, "[[585, 0, 320],\n [0, 586, 240],\n [0, 0, 1]]\n"), 330, 250)
    assert "far from the centre of images of 330×250" in caplog.text


def test_comments_in_a_matrix_are_none_of_it(tmp_path: Path) -> None:
    text = "# K: in pixels\n585 0 320  # fx: 585\n0 586 240\n\n0 0 1\n"
    assert read_calibration(write(tmp_path, text), 640, 480).k == (585, 0, 320, 0, 586, 240, 0, 0, 1)
    assert read_calibration(write(tmp_path, "585 0 320 0 586 240 0 0 1\n"), 640, 480).k[4] == 586


def test_a_camera_of_several_is_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({"cam0": CAMERA, "cam1": OTHER}))
    assert read_calibration(path, 640, 480, camera=1).k[0] == 400
    path = write(tmp_path, f"P0: {KITTI}\nP2: {SECOND.replace('7.0e+02', '6.5e+02')}\n")
    assert read_calibration(path, 1241, 376, camera=2).k[0] == 650


@pytest.mark.parametrize(
    "line", ["camera_model: fisheye", "distortion_model: equidistant", "distortion_model: fisheye"]
)
def test_fisheye_of_camera_calibration_is_equidistant(tmp_path: Path, line: str) -> None:
    text = ROS_YAML.replace("distortion_model: rational_polynomial", line).replace("0.3, 0, 0]", "]")
    text = text.replace("0.1, 0.2, 0, 0, 0, ]", "0.1, 0.2, 0, 0]")
    calibration = read_calibration(write(tmp_path, text), 640, 480)
    assert lens_of(calibration.distortion_model, calibration.d) == lens_of("equidistant", (0.1, 0.2, 0, 0))


FISHEYE = {"fx": 500, "fy": 510, "cx": 320, "cy": 240, "k1": 0.1, "k2": 0.02, "k3": 0.003, "k4": 0.0004}


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump({"Camera": {"model": "fisheye", **FISHEYE, "cols": 640, "rows": 480}}),
        "%YAML:1.0\n---\nCamera.model: fisheye\n" + "".join(f"Camera.{name}: {x}\n" for name, x in FISHEYE.items()),
        "%YAML:1.0\n---\nCamera.type: KannalaBrandt8\n"
        + "".join(f"Camera.{name}: {x}\n" for name, x in FISHEYE.items()),
        "%YAML:1.0\n---\nmodel_type: KANNALA_BRANDT\nimage_width: 640\nimage_height: 480\nprojection_parameters:\n"
        "   k2: 0.1\n   k3: 0.02\n   k4: 0.003\n   k5: 0.0004\n   mu: 500\n   mv: 510\n   u0: 320\n   v0: 240\n",
        json.dumps(
            {"value0": {"intrinsics": [{"camera_type": "kb4", "intrinsics": FISHEYE}], "resolution": [[640, 480]]}}
        ),
        json.dumps({**FISHEYE, "camera_model": "OPENCV_FISHEYE"}),
        "1 OPENCV_FISHEYE 640 480 500 510 320.5 240.5 0.1 0.02 0.003 0.0004\n",
    ],
    ids=["stella_vslam", "OpenVSLAM", "ORB-SLAM3", "VINS", "Basalt", "nerfstudio", "COLMAP"],
)
def test_the_same_fisheye_in_every_form(tmp_path: Path, text: str) -> None:
    calibration = read_calibration(write(tmp_path, text), 640, 480)
    assert CameraModel.of(calibration).raw == CameraModel.of(PINHOLE).raw
    lens = lens_of(calibration.distortion_model, calibration.d)
    assert (lens.model, lens.coefficients) == ("equidistant", (0.1, 0.02, 0.003, 0.0004))


def test_kitti_raw_gives_the_camera_of_the_images_at_hand(tmp_path: Path) -> None:
    text = (
        "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.95e-02\nS_02: 1392 512\n"
        "K_02: 9.6e+02 0 6.9e+02 0 9.5e+02 2.2e+02 0 0 1\nD_02: -3.7e-01 2.0e-01 1.0e-03 5.0e-04 -7.0e-02\n"
        "S_rect_02: 1242 375\nR_rect_02: 1 0 0 0 1 0 0 0 1\n"
        "P_rect_02: 7.2e+02 0 6.1e+02 4.5e+01 0 7.2e+02 1.7e+02 0 0 0 1 0\n"
    )
    rectified = read_calibration(write(tmp_path, text), 1242, 375, camera=2)
    assert rectified == CameraCalibration.pinhole(1242, 375, [720, 0, 610, 0, 720, 170, 0, 0, 1])
    raw = read_calibration(write(tmp_path, text), 1392, 512, camera=2)
    assert (raw.k[0], raw.d[0], raw.p[0]) == (960, -0.37, 720)
    with pytest.raises(SequenceError, match="none of the known forms"):
        read_calibration(write(tmp_path, text), 1242, 375, camera=0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "none of the known forms"),
        ("fx fy cx cy", "none of the known forms"),
        ("1 2 3 4\n5 6 7 8\n", "none of the known forms"),
        ("camera_matrix: {data: [1, 2]}\nimage_width: 640\nimage_height: 480", "none of the known forms"),
        ("camera_matrix: [", "none of the known forms"),
        ("fx: 500\nfy: 500\n", "none of the known forms"),
        (yaml.safe_dump({"cam0": {**CAMERA, "camera_model": "omni"}}), "its camera model is omni"),
        (yaml.safe_dump({"Camera": {**NAMED, "model": "equirectangular"}}), "its camera model is equirectangular"),
        ("%YAML:1.0\n---\nmodel_type: MEI\nmirror_parameters:\n   xi: 2.1\n", "its camera model is MEI"),
        ("1 FOV 640 480 500 510 320 240 0.9\n", "none of the known forms"),
        ("1 OPENCV 640 480 500 510 320 240\n", "model OPENCV with 4 parameters"),
        ("-500 -500 320 240\n", "focal lengths"),
        ("500 500 1280 240\n", "principal point"),
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
    with pytest.raises(SequenceError, match=r"missing\.txt cannot be read"):
        read_calibration(tmp_path / "missing.txt", 640, 480)
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SequenceError, match="no text file"):
        read_calibration(binary, 640, 480)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (640, 360)])
def test_a_matrix_for_images_that_lie_is_none_for_images_that_stand(tmp_path: Path, width: int, height: int) -> None:
    path = write(tmp_path, f"500 0 {width / 2 + 3}\n0 500 {height / 2 - 4}\n0 0 1\n")
    assert read_calibration(path, width, height).k[2] == width / 2 + 3
    with pytest.raises(SequenceError, match=f"as for images of {width}×{height} pixels"):
        read_calibration(path, height, width)
