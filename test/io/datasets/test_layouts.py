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
from scal3r_ros.evaluation.ground_truth import truth_of
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


def eth3d_slam(root: Path) -> Path:
    folder = tum(root).rename(root / "table_3")
    (folder / "calibration.txt").write_text("20.0 21.0 15.5 11.5\n")
    return folder


def colmap(root: Path, model: str = "sparse/0", binary: bool = False) -> Path:
    """Written by pycolmap, in the order in which matching registers images, not that of their names."""
    pycolmap = pytest.importorskip("pycolmap")
    folder = root / "facade"
    names = [f"dslr_images/DSC_{number:04d}.png" for number in range(8, 8 + COUNT)]
    images(folder / "images" / "dslr_images", [Path(name).name for name in names])
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(camera_id=3, model="PINHOLE", width=WIDTH, height=HEIGHT, params=[20.0, 21.0, 16.0, 12.0])
    reconstruction.add_camera_with_trivial_rig(camera)
    for number in (2, 0, 4, 1, 3):
        image = pycolmap.Image(name=names[number], camera_id=3, image_id=number + 1)
        pose = pycolmap.Rigid3d(se3.invert(POSES[number])[:3])
        reconstruction.add_image_with_trivial_frame(image, pose)
    (folder / model).mkdir(parents=True)
    (reconstruction.write_binary if binary else reconstruction.write_text)(str(folder / model))
    return folder


def eth3d(root: Path) -> Path:
    return colmap(root, "dslr_calibration_undistorted")


def spires(root: Path) -> Path:
    folder = root / "sequences" / "2024-03-12-keble-college-02"
    names = [f"{stamp // 10**9}.{stamp % 10**9:09d}.jpg" for stamp in STAMPS.tolist()]
    images(folder / "raw" / "images" / "cam0", names)
    T_base_lidar, T_cam_lidar = se3.exp([0.0, 0.1, 0.2, 0.3, 0.1, 0.0]), se3.exp([0.3, 0.0, 0.1, 0.0, 0.2, 0.4])
    T_base_cam = T_base_lidar @ se3.invert(T_cam_lidar)
    (folder / "processed" / "trajectory").mkdir(parents=True)
    body = Trajectory(STAMPS, POSES @ se3.invert(T_base_cam))
    (folder / "processed" / "trajectory" / "gt-tum.txt").write_bytes(tum_bytes(body))
    (root / "calibration").mkdir()
    camera = {
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "distortion_model": "equidistant",
        "camera_matrix": {"rows": 3, "cols": 3, "data": list(K)},
        "distortion_coefficients": {"rows": 1, "cols": 4, "data": [0.01, 0.02, 0.0, 0.0]},
    }
    (root / "calibration" / "cam0.yaml").write_text(yaml.safe_dump(camera))
    mount = [*T_base_lidar[:3, 3].tolist(), *se3.quat_xyzw(T_base_lidar[:3, :3]).tolist()]
    rig = {"T_base_lidar_t_xyz_q_xyzw": mount, "cam0": {"T_cam_lidar": T_cam_lidar.tolist()}}
    (root / "calibration" / "cam-lidar-imu.yaml").write_text(yaml.safe_dump(rig))
    return folder


def four_seasons(root: Path) -> Path:
    folder = root / "recording_2020-03-24_17-36-22"
    images(folder / "undistorted_images" / "cam0", [f"{stamp}.png" for stamp in STAMPS])
    lines = ["# timestamp (ns), tx, ty, tz, qx, qy, qz, qw, scale, fusion quality"]
    for stamp, T, q in zip(STAMPS.tolist(), POSES, se3.quat_xyzw(POSES[:, :3, :3]), strict=True):
        scale = 0.97 if stamp == STAMPS[0] else 0.96
        lines.append(",".join(map(repr, [stamp, *(T[:3, 3] / scale).tolist(), *q.tolist(), scale, 3])))
    (folder / "GNSSPoses.txt").write_text("\n".join(lines) + "\n")
    (folder / "times.txt").write_text("".join(f"{s} {s / 1e9:.6f} 2.5\n" for s in STAMPS.tolist()))
    (root / "calibration").mkdir()
    text = f"Pinhole 20 21 15.5 11.5 0\n{WIDTH} {HEIGHT}\ncrop\n{WIDTH} {HEIGHT}\n"
    (root / "calibration" / "undistorted_calib_0.txt").write_text(text)
    return folder


def waymo(root: Path) -> Path:
    folder = root / "segment-10203656353524179475"
    images(folder / "FRONT", [f"{number:04d}.png" for number in range(COUNT)])
    (folder / "poses.txt").write_text(rows(POSES, 4))
    (folder / "intrinsics.txt").write_text(f"20 21 15.5 11.5 {WIDTH} {HEIGHT}\n")
    return folder


def scannet(root: Path) -> Path:
    folder = root / "scene0000_00"
    images(folder / "color", [f"{number}.png" for number in range(COUNT)])
    for name in ("pose", "intrinsic", "depth"):
        (folder / name).mkdir()
    for number, pose in enumerate(POSES):
        (folder / "pose" / f"{number}.txt").write_text("\n".join(" ".join(map(repr, row.tolist())) for row in pose))
    wide = np.eye(4)
    wide[:3, :3] = np.reshape(K, (3, 3))
    (folder / "intrinsic" / "intrinsic_color.txt").write_text("\n".join(" ".join(map(repr, r)) for r in wide.tolist()))
    return folder


LAYOUTS: dict[str, tuple[Callable[[Path], Path], np.ndarray]] = {
    "KITTI odometry": (kitti_odometry, np.arange(COUNT) * 10**8),
    "TUM RGB-D": (tum, STAMPS // 1000 * 1000),
    "EuRoC": (euroc, STAMPS),
    "7-Scenes": (seven_scenes, STEADY_30),
    "Virtual KITTI 2": (vkitti, STEADY_10),
    "nerfstudio": (nerfstudio, STEADY_10),
    "ETH3D SLAM": (eth3d_slam, STAMPS // 1000 * 1000),
    "COLMAP": (colmap, STEADY_10),
    "ETH3D": (eth3d, STEADY_10),
    "Oxford Spires": (spires, STAMPS),
    "4Seasons": (four_seasons, STAMPS),
    "posed images": (waymo, STEADY_10),
    "ScanNet": (scannet, STEADY_30),
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


def test_poses_of_raw_kitti_are_those_of_its_development_kit(tmp_path: Path) -> None:
    folder = kitti_raw(tmp_path)
    T_velo_imu, T_cam_velo = se3.exp([0.8, -0.3, 0.8, 0.0, 0.0, 0.01]), se3.exp([0.0, -0.1, -0.3, 1.2, -1.2, 1.2])
    for name, T in (("imu_to_velo", T_velo_imu), ("velo_to_cam", T_cam_velo)):
        lines = [
            f"{key}: " + " ".join(map(repr, part.ravel().tolist()))
            for key, part in zip("RT", (T[:3, :3], T[:3, 3]), strict=True)
        ]
        (folder.parent / f"calib_{name}.txt").write_text("calib_time: 25-May-2012 16:47:16\n" + "\n".join(lines) + "\n")
    (folder / "oxts" / "data").mkdir(parents=True)
    (folder / "oxts" / "timestamps.txt").write_text((folder / "image_00" / "timestamps.txt").read_text())
    for number in range(COUNT):  # 2 m to the east and 1 m up from one to the next, turning by 0.1 rad to the left
        east = 2.0 * number / (6378137.0 * np.cos(np.radians(49.0)))
        values = [49.0, 8.4 + np.degrees(east), 110.0 + number, 0.0, 0.0, 0.1 * number, *[0.0] * 24]
        (folder / "oxts" / "data" / f"{number:010d}.txt").write_text(" ".join(map(repr, map(float, values))))
    truth = found(folder).ground_truth
    assert truth is not None
    T_imu_cam = se3.invert(T_cam_velo @ T_velo_imu)  # R_rect_00 is the unit matrix here
    for number, T_first_cam in enumerate(truth.T_ref_cam):
        T_first_imu = se3.se3(se3.rotation_exp(np.array([0.0, 0.0, 0.1 * number])), [2.0 * number, 0.0, float(number)])
        np.testing.assert_allclose(T_first_cam, se3.invert(T_imu_cam) @ T_first_imu @ T_imu_cam, atol=1e-5)


def test_binary_models_and_lens_models_of_colmap_are_read(tmp_path: Path) -> None:
    text, binary = (found(colmap(tmp_path / name, binary=name == "b")) for name in "ab")
    np.testing.assert_allclose(text.ground_truth.T_ref_cam, binary.ground_truth.T_ref_cam, atol=1e-12)
    assert [path.name for path in text.paths] == [path.name for path in binary.paths]
    cameras = tmp_path / "a" / "facade" / "sparse" / "0" / "cameras.txt"
    for line, model, d in (
        ("SIMPLE_RADIAL 32 24 20 16 12 0.1", "plumb_bob", (0.1, 0, 0, 0, 0)),
        ("OPENCV 32 24 20 21 16 12 0.1 0.2 0.3 0.4", "plumb_bob", (0.1, 0.2, 0.3, 0.4, 0)),
        ("OPENCV_FISHEYE 32 24 20 21 16 12 0.1 0.2 0.3 0.4", "equidistant", (0.1, 0.2, 0.3, 0.4)),
    ):
        cameras.write_text(f"3 {line}\n")
        calibration = found(tmp_path / "a" / "facade").calibration
        assert (calibration.distortion_model, calibration.d) == (model, d)
        assert calibration.k[2] == 15.5


def test_distortion_beside_a_matrix_and_lost_poses_of_posed_folders(tmp_path: Path) -> None:
    folder = waymo(tmp_path)
    (folder / "intrinsics.txt").unlink()
    (folder / "calib.txt").write_text("20 0 15.5\n0 21 11.5\n0 0 1\n")
    (folder / "dist.txt").write_text("-0.28 0.07 0.0002 0.00002\n")
    (folder / "times.txt").write_text("".join(f"{s // 10**9}.{s % 10**9:09d}\n" for s in STEADY_30.tolist()))
    sequence = found(folder)
    assert sequence.calibration.d == (-0.28, 0.07, 0.0002, 0.00002, 0.0)
    np.testing.assert_array_equal(sequence.stamps_ns, STEADY_30)
    room = scannet(tmp_path)
    (room / "pose" / "2.txt").write_text("-inf -inf -inf -inf\n" * 4)
    np.testing.assert_array_equal(found(room).ground_truth.stamps_ns, STEADY_30[[0, 1, 3, 4]])


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
        (colmap, "sparse/0/cameras.txt", "3 PINHOLE\n", "is damaged"),
        (colmap, "sparse/0/cameras.txt", "3 DIVISION 32 24 20 21 16 12 0\n", "camera of model DIVISION"),
        (four_seasons, "GNSSPoses.txt", "1,2,x\n", "no table of times"),
        (waymo, "poses.txt", "1 2 3\n", "3 columns"),
    ],
)
def test_damaged_sequences_are_one_clear_sentence(
    tmp_path: Path, make: Callable[[Path], Path], file: str, content: str, complaint: str
) -> None:
    folder = make(tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(SequenceError, match=complaint):
        find_sequence(folder)


def depth(folder: Path, name: str, value: int) -> None:
    """A 16-bit image, unknown in its first two pixels."""
    pixels = np.full((HEIGHT, WIDTH), value, np.uint16)
    pixels[0, :2] = 0, 65535
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), pixels)


def _tum_with_depth(root: Path) -> Path:
    """Depth 7 ms after the colour, none near the third image, and two images near the first."""
    folder = tum(root)
    for late_ms, row in ((7, 0), (14, 0), (7, 1), (45, 2), (-7, 3), (7, 4)):
        microseconds = int(STAMPS[row]) // 1000 + late_ms * 1000
        depth(folder / "depth", f"{microseconds // 10**6}.{microseconds % 10**6:06d}.png", 7500)
    return folder


def _scannet_with_depth(root: Path) -> Path:
    folder = scannet(root)
    for image in sorted((folder / "color").iterdir()):
        depth(folder / "depth", f"{image.stem}.png", 1500)
    (folder / "intrinsic" / "intrinsic_depth.txt").write_text("40 0 15.5 0 0 41 11.5 0 0 0 1 0 0 0 0 1")
    return folder


def _vkitti_with_depth(root: Path) -> Path:
    folder = vkitti(root)
    for number in range(COUNT):
        depth(folder / "frames" / "depth" / "Camera_0", f"depth_{number:05d}.png", 150)
    return folder


def _nerfstudio_with_depth(root: Path) -> Path:
    folder = nerfstudio(root)
    content = json.loads((folder / "transforms.json").read_text())
    for number, frame in enumerate(content["frames"]):
        depth(folder / "depths", f"{number}.png", 1500)
        frame["depth_file_path"] = f"depths/{number}.png"
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def _seven_scenes_with_depth(root: Path) -> Path:
    folder = seven_scenes(root)
    for number in range(COUNT):
        depth(folder, f"frame-{number:06d}.depth.png", 1500)
    return folder


ALL = list(range(COUNT))


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (_tum_with_depth, [0, 1, 3, 4]),
        (_seven_scenes_with_depth, ALL),
        (_vkitti_with_depth, ALL),
        (_nerfstudio_with_depth, ALL),
        (_scannet_with_depth, ALL),
    ],
)
def test_depth_is_that_of_the_images_in_metres(tmp_path: Path, make: Callable[[Path], Path], rows: list[int]) -> None:
    sequence = found(make(tmp_path))
    assert sequence.depth is not None
    np.testing.assert_array_equal(sequence.depth.stamps_ns, sequence.stamps_ns[rows])
    assert sequence.ground_truth is not None
    read = list(truth_of(sequence, sequence.ground_truth).depths())
    assert [one.stamp_ns for one in read] == sequence.stamps_ns[rows].tolist()
    for one in read:
        assert one.depth_m[0, :2].tolist() == [0.0, 0.0]
        known = one.depth_m[one.depth_m > 0]
        assert len(known) > 100  # TUM's published lens is that of larger images: little of these is left
        np.testing.assert_allclose(known, 1.5)


def test_the_depth_of_scannet_has_a_camera_of_its_own(tmp_path: Path) -> None:
    sequence = found(_scannet_with_depth(tmp_path))
    assert sequence.ground_truth is not None
    first = next(truth_of(sequence, sequence.ground_truth).depths())
    assert first.intrinsics.fx == 40.0


def test_without_depth_there_is_none(tmp_path: Path) -> None:
    assert found(tum(tmp_path)).depth is None
    assert found(vkitti(tmp_path)).depth is None
