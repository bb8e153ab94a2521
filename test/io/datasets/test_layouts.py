"""Each reader on a miniature of the published layout of its data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.datasets import ImageSequence, find_sequence
from scal3r_ros.io.trajectories import tum_bytes

COUNT, HEIGHT, WIDTH = 5, 24, 32
RNG = np.random.default_rng(0)
POSES = se3.exp(RNG.normal(size=(COUNT, 6)))
T_BODY_CAM = se3.exp([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
FIRST_NS = 1_403_636_579_763_555_584
STAMPS = FIRST_NS + np.arange(COUNT) * 50_000_000
STEADY_30 = 10**18 + np.round(np.arange(COUNT) * 1e9 / 30).astype(np.int64)
STEADY_10 = 10**18 + np.arange(COUNT) * 10**8
P_LINE = "20 0 15.5 0 0 21 11.5 0 0 0 1 0"
K = (20.0, 0, 15.5, 0, 21.0, 11.5, 0, 0, 1)


def images(folder: Path, names: list[str], height: int = HEIGHT, width: int = WIDTH) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((height, width, 3), number, np.uint8))


def rows(poses: np.ndarray, height: int = 3) -> str:
    return "".join(" ".join(map(repr, pose[:height].ravel().tolist())) + "\n" for pose in poses)


def kitti_odometry(root: Path) -> Path:
    folder = root / "sequences" / "07"
    for camera in ("image_0", "image_1"):
        images(folder / camera, [f"{number:06d}.png" for number in range(COUNT)])
    (folder / "calib.txt").write_text("".join(f"P{number}: {P_LINE}\n" for number in range(4)))
    (folder / "times.txt").write_text("".join(f"{0.1 * number:e}\n" for number in range(COUNT)))
    (root / "poses").mkdir()
    (root / "poses" / "07.txt").write_text(rows(POSES))
    return folder


def kitti_raw(root: Path) -> Path:
    day = root / "2011_09_26"
    folder = day / "2011_09_26_drive_0005_sync"
    for camera in ("image_00", "image_02"):
        images(folder / camera / "data", [f"{number:010d}.png" for number in range(COUNT)])
        lines = (f"2011-09-26 13:02:2{number}.594360375\n" for number in range(COUNT))
        (folder / camera / "timestamps.txt").write_text("".join(lines))
    lines = (
        "calib_time: 09-Jan-2012 13:57:47",
        "S_rect_00: 32 24",
        "R_rect_00: 1 0 0 0 1 0 0 0 1",
        f"P_rect_00: {P_LINE}",
    )
    (day / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n")
    return folder


def tum(root: Path) -> Path:
    folder = root / "rgbd_dataset_freiburg2_desk"
    names = [f"{stamp // 10**9}.{stamp % 10**9 // 1000:06d}.png" for stamp in STAMPS.tolist()]
    images(folder / "rgb", names)
    listed = "".join(f"{name.removesuffix('.png')} rgb/{name}\n" for name in names)
    (folder / "rgb.txt").write_text(f"# color images\n# file: 'x.bag'\n# timestamp filename\n{listed}")
    (folder / "groundtruth.txt").write_bytes(b"# timestamp tx ty tz\n" + tum_bytes(Trajectory(STAMPS, POSES)))
    return folder


def euroc(root: Path) -> Path:
    folder = root / "MH_01_easy"
    camera = folder / "mav0" / "cam0"
    images(camera / "data", [f"{stamp}.png" for stamp in STAMPS])
    sensor = {
        "sensor_type": "camera",
        "T_BS": {"cols": 4, "rows": 4, "data": T_BODY_CAM.ravel().tolist()},
        "resolution": [WIDTH, HEIGHT],
        "camera_model": "pinhole",
        "intrinsics": [20.0, 21.0, 15.5, 11.5],
        "distortion_model": "radial-tangential",
        "distortion_coefficients": [0.0, 0.0, 0.0, 0.0],
    }
    (camera / "sensor.yaml").write_text(yaml.safe_dump(sensor))
    truth = folder / "mav0" / "state_groundtruth_estimate0"
    truth.mkdir()
    T_world_body = POSES @ se3.invert(T_BODY_CAM)
    lines = ["#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z [], v_x"]
    for stamp, T, (x, y, z, w) in zip(STAMPS, T_world_body, se3.quat_xyzw(T_world_body[:, :3, :3]), strict=True):
        lines.append(",".join(map(repr, [int(stamp), *map(float, (*T[:3, 3], w, x, y, z, 0.0))])))
    (truth / "data.csv").write_text("\n".join(lines))
    return folder


def seven_scenes(root: Path) -> Path:
    folder = root / "chess" / "seq-01"
    images(folder, [f"frame-{number:06d}.color.png" for number in range(COUNT)])
    for number, pose in enumerate(POSES):
        cv2.imwrite(str(folder / f"frame-{number:06d}.depth.png"), np.full((HEIGHT, WIDTH), 1500, np.uint16))
        lines = "\t\n".join("\t ".join(map(repr, row.tolist())) for row in pose)
        (folder / f"frame-{number:06d}.pose.txt").write_text(lines + "\t\n")
    return folder


def vkitti(root: Path) -> Path:
    folder = root / "Scene01" / "clone"
    images(folder / "frames" / "rgb" / "Camera_0", [f"rgb_{number:05d}.jpg" for number in range(COUNT)])
    intrinsic, extrinsic = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"], ["frame cameraID r1,1 r1,2 r1,3 t1"]
    for number, pose in enumerate(se3.invert(POSES)):
        for camera in (0, 1):
            intrinsic.append(f"{number} {camera} 20 21 15.5 11.5")
            extrinsic.append(f"{number} {camera} " + " ".join(map(repr, (pose + camera).ravel().tolist())))
    (folder / "intrinsic.txt").write_text("\n".join(intrinsic) + "\n")
    (folder / "extrinsic.txt").write_text("\n".join(extrinsic) + "\n")
    return folder


def nerfstudio(root: Path) -> Path:
    folder = root / "poster"
    names = [f"frame_{number:05d}.png" for number in range(COUNT)]
    images(folder / "images", names)
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": (pose @ np.diag([1.0, -1, -1, 1])).tolist()}
        for name, pose in zip(names, POSES, strict=True)
    ]
    camera = {"fl_x": 20.0, "fl_y": 21.0, "cx": 16.0, "cy": 12.0, "w": WIDTH, "h": HEIGHT, "camera_model": "OPENCV"}
    (folder / "transforms.json").write_text(json.dumps({**camera, "frames": frames}))
    return folder


LAYOUTS: dict[str, tuple[Callable[[Path], Path], np.ndarray]] = {
    "KITTI odometry": (kitti_odometry, np.arange(COUNT) * 10**8),
    "TUM RGB-D": (tum, STAMPS // 1000 * 1000),
    "EuRoC": (euroc, STAMPS),
    "7-Scenes": (seven_scenes, STEADY_30),
    "Virtual KITTI 2": (vkitti, STEADY_10),
    "nerfstudio": (nerfstudio, STEADY_10),
}


def found(folder: Path) -> ImageSequence:
    sequence = find_sequence(folder)
    assert sequence is not None
    return sequence


@pytest.mark.parametrize("kind", LAYOUTS)
def test_images_times_camera_and_poses_are_found(tmp_path: Path, kind: str) -> None:
    make, stamps = LAYOUTS[kind]
    sequence = found(make(tmp_path))
    assert sequence.kind == kind
    assert [int(cv2.imread(str(path))[0, 0, 0]) for path in sequence.paths] == list(range(COUNT))
    np.testing.assert_array_equal(sequence.stamps_ns, stamps)
    assert sequence.ground_truth is not None
    np.testing.assert_allclose(sequence.ground_truth.T_ref_cam, POSES, atol=1e-7)
    assert np.abs(sequence.ground_truth.stamps_ns - stamps).max() < 1000
    assert sequence.calibration is not None
    assert (sequence.calibration.width, sequence.calibration.height) == (WIDTH, HEIGHT)
    if kind not in ("TUM RGB-D", "7-Scenes"):
        assert sequence.calibration.k == K


def test_published_cameras_of_tum_and_seven_scenes(tmp_path: Path) -> None:
    calibration = found(tum(tmp_path)).calibration
    assert calibration is not None
    assert (calibration.k[0], calibration.d[0]) == (520.9, 0.2312)
    renamed = (tmp_path / "rgbd_dataset_freiburg2_desk").rename(tmp_path / "fr1_desk")
    assert found(renamed).calibration.k[0] == 517.3
    assert found(renamed.rename(tmp_path / "mine")).calibration is None
    assert found(seven_scenes(tmp_path)).calibration.k[:3] == (585.0, 0.0, 320.0)


def test_raw_kitti_has_its_times_to_the_nanosecond(tmp_path: Path) -> None:
    sequence = found(kitti_raw(tmp_path))
    assert sequence.kind == "KITTI raw"
    first = 1_317_042_140 * 10**9 + 594_360_375
    np.testing.assert_array_equal(sequence.stamps_ns, first + np.arange(COUNT) * 10**9)
    assert sequence.calibration is not None
    assert sequence.calibration.k == K


def test_the_inner_folder_of_euroc_is_the_sequence_too(tmp_path: Path) -> None:
    assert found(euroc(tmp_path) / "mav0").name == "MH_01_easy"


def test_lost_poses_of_seven_scenes_are_left_out(tmp_path: Path) -> None:
    folder = seven_scenes(tmp_path)
    (folder / "frame-000002.pose.txt").write_text("\n".join(["-1.#INF " * 4] * 4))
    truth = found(folder).ground_truth
    assert truth is not None
    np.testing.assert_array_equal(truth.stamps_ns, STEADY_30[[0, 1, 3, 4]])


def test_folders_of_no_data_set_are_none(tmp_path: Path) -> None:
    images(tmp_path / "mine", ["a.png"])
    assert find_sequence(tmp_path / "mine") is None
    assert find_sequence(tmp_path) is None


@pytest.mark.parametrize(
    ("make", "file", "content", "complaint"),
    [
        (kitti_odometry, "times.txt", "0.0\n0.1\n", "2 times for 5 images"),
        (tum, "rgb.txt", "1.0 rgb/missing.png\n", "none of the images"),
        (vkitti, "intrinsic.txt", "names\n1 2 3\n", "no table of Virtual KITTI"),
        (nerfstudio, "transforms.json", "{}", "no transforms.json"),
        (nerfstudio, "transforms.json", "[", "no transforms.json"),
    ],
)
def test_damaged_sequences_are_one_clear_sentence(
    tmp_path: Path, make: Callable[[Path], Path], file: str, content: str, complaint: str
) -> None:
    folder = make(tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(SequenceError, match=complaint):
        find_sequence(folder)
