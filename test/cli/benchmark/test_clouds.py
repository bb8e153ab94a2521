"""`scal3r benchmark eth3d` and `spires` on scenes whose F1 is known."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.clouds.ply import ply_bytes
from scal3r_ros.io.trajectories import even_stamps, tum_bytes
from scal3r_ros.mapping.values import PointCloud

Scal3r = Callable[..., Any]
COUNT = 6
T_WORLD_CAM = np.stack([se3.exp([0.3 * n, 0.02 * n * n, 0.1 * n, 0.01 * n, 0.1 * n, 0.0]) for n in range(COUNT)])
T_WORLD_SCAN = se3.exp([1.0, -2.0, 0.5, 0.2, -0.3, 0.4])
S_MAP_WORLD = Sim3(0.4, se3.rotation_exp(np.array([0.5, -0.2, 1.0])), np.array([3.0, 1.0, -2.0]))
"""The map has a frame and a unit of its own: the command has to find the way back."""


def walls() -> tuple[np.ndarray, np.ndarray]:
    """Points of two equal walls 3 m from the scanner, in its frame."""
    y, z = np.meshgrid(np.arange(-0.15, 0.15, 0.008), np.arange(-0.15, 0.15, 0.008))
    wall = np.stack([np.full(y.size, 3.0), y.ravel(), z.ravel()], axis=1)
    aside = np.array([0.0, 0.4, 0.0])
    return wall + aside, wall - aside


def cloud(points: np.ndarray) -> bytes:
    return ply_bytes(PointCloud(points.astype(np.float32), np.zeros((len(points), 3), np.uint8)))


def world(points: np.ndarray) -> np.ndarray:
    return points @ T_WORLD_SCAN[:3, :3].T + T_WORLD_SCAN[:3, 3]


def eth3d(root: Path) -> tuple[Path, np.ndarray]:
    folder = root / "facade"
    model, scans = folder / "dslr_calibration_undistorted", folder / "dslr_scan_eval"
    for each in (model, scans, folder / "images"):
        each.mkdir(parents=True)
    (model / "cameras.txt").write_text("1 PINHOLE 32 24 20 20 16 12\n")
    lines = []
    for number, T in enumerate(se3.invert(T_WORLD_CAM)):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.zeros((24, 32), np.uint8))
        x, y, z, w = se3.quat_xyzw(T[None, :3, :3])[0]
        lines.append(f"{number + 1} {w} {x} {y} {z} {T[0, 3]} {T[1, 3]} {T[2, 3]} 1 {number}.png\n\n")
    (model / "images.txt").write_text("".join(lines))
    (model / "points3D.txt").write_text("")
    (scans / "scan1.ply").write_bytes(cloud(np.concatenate(walls())))
    matrix = "\n".join(" ".join(map(repr, row)) for row in T_WORLD_SCAN.tolist())
    (scans / "scan_alignment.mlp").write_text(
        "<!DOCTYPE MeshLabDocument>\n<MeshLabProject><MeshGroup>"
        f'<MLMesh label="scan1" filename="scan1.ply"><MLMatrix44>\n{matrix}\n</MLMatrix44></MLMesh>'
        "</MeshGroup></MeshLabProject>\n"
    )
    return folder, even_stamps(COUNT, 10.0)


def spires(root: Path) -> tuple[Path, np.ndarray]:
    stamps = 1_710_000_000 * 10**9 + np.arange(COUNT) * 50_000_000
    folder = root / "sequences" / "2024-03-12-keble-college-02"
    (folder / "raw" / "images" / "cam0").mkdir(parents=True)
    for stamp in stamps.tolist():
        name = f"{stamp // 10**9}.{stamp % 10**9:09d}.png"
        cv2.imwrite(str(folder / "raw" / "images" / "cam0" / name), np.zeros((24, 32), np.uint8))
    (folder / "processed" / "trajectory").mkdir(parents=True)
    (folder / "processed" / "trajectory" / "gt-tum.txt").write_bytes(tum_bytes(Trajectory(stamps, T_WORLD_CAM)))
    (root / "calibration").mkdir()
    K = [20.0, 0, 15.5, 0, 20.0, 11.5, 0, 0, 1]
    camera = {"image_width": 32, "image_height": 24, "distortion_model": "equidistant", "camera_matrix": {"data": K}}
    (root / "calibration" / "cam0.yaml").write_text(yaml.safe_dump(camera))
    unmoved = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    rig = {"T_base_lidar_t_xyz_q_xyzw": unmoved, "cam0": {"T_cam_lidar_t_xyz_q_xyzw": unmoved}}
    (root / "calibration" / "cam-lidar-imu.yaml").write_text(yaml.safe_dump(rig))
    (root / "ground_truth_map" / "keble-college").mkdir(parents=True)
    merged = cloud(world(np.concatenate(walls())))
    (root / "ground_truth_map" / "keble-college" / "merged.ply").write_bytes(merged)
    return folder, stamps


@pytest.mark.parametrize(("name", "make"), [("eth3d", eth3d), ("spires", spires)])
def test_f1_of_two_walls_one_of_which_floats_eight_centimetres_in_front(
    scal3r: Scal3r, tmp_path: Path, name: str, make: Callable[[Path], tuple[Path, np.ndarray]]
) -> None:
    folder, stamps = make(tmp_path / "set")
    out = tmp_path / "out"
    lost = scal3r("benchmark", name, tmp_path / "set", "-o", out, "--jobs", "1")
    assert lost.code == 1
    assert "is lost" in lost.out  # its images are black
    result = next(path for path in out.iterdir() if path.is_dir())
    right, left = walls()
    left = left * (1 - 0.08 / np.linalg.norm(left, axis=1, keepdims=True))
    (result / "map.ply").write_bytes(cloud(S_MAP_WORLD.apply(world(np.concatenate([right, left])))))
    (result / "trajectory.tum").write_bytes(tum_bytes(Trajectory(stamps, S_MAP_WORLD.apply_pose(T_WORLD_CAM))))
    done = scal3r("benchmark", name, tmp_path / "set", "-o", out, "--jobs", "1")
    assert done.code == 0, done
    assert "done before" in done.err
    with (out / "clouds.csv").open() as file:
        *published, ours = csv.DictReader(file)
    for tolerance in (2, 5):
        for score in ("acc.", "compl.", "F1"):
            assert float(ours[f"{score} {tolerance} cm"]) == pytest.approx(0.5, abs=0.03)
    at = {"eth3d": "25", "spires": "400"}[name]  # that of the published figures
    for tolerance in ("10", "50", at):
        assert float(ours[f"F1 {tolerance} cm"]) == 1.0
    assert float(ours["Chamfer [m]"]) == pytest.approx(0.04, abs=0.003)
    assert {row["sequence"] for row in published} >= {"Scal3R, average", "VGGT-Long, average"}
    assert all(row[f"F1 {at} cm"] != "–" and row["F1 2 cm"] == "–" for row in published)
    assert folder.name in (out / "benchmark.md").read_text()
