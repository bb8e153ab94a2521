"""A box-shaped room with a camera in it, whose depth is known in closed form, and results and bags made of it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open3d as o3d
import pytest
import yaml
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.trajectories import tum_bytes

HALF_SIZE = np.array([4.0, 3.0, 1.5])
CAMERA = Intrinsics(40.0, 40.0, 31.5, 23.5, 64, 48)
STEP_NS = 100_000_000


@dataclass(frozen=True)
class Room:
    """True poses in the room's frame (z up), and the room as seen from them; `S_world_map` is the gauge of results."""

    trajectory: Trajectory
    S_world_map: Sim3
    intrinsics: Intrinsics = CAMERA

    def depth_m(self, index: int) -> NDArray[np.float32]:
        """z-depth (h, w) of the walls."""
        T = self.trajectory.T_ref_cam[index]
        rays = backproject(np.ones((self.intrinsics.height, self.intrinsics.width)), self.intrinsics) @ T[:3, :3].T
        with np.errstate(divide="ignore"):
            reach = (np.sign(rays) * HALF_SIZE - T[:3, 3]) / rays
        return reach.min(axis=-1).astype(np.float32)

    def points(self, indices: range) -> NDArray[np.float64]:
        """Points (n, 3) of the walls in the room's frame."""
        clouds = []
        for index in indices:
            T = self.trajectory.T_ref_cam[index]
            points = backproject(self.depth_m(index), self.intrinsics).reshape(-1, 3).astype(np.float64)
            clouds.append(points @ T[:3, :3].T + T[:3, 3])
        return np.concatenate(clouds)

    def estimate(self) -> Trajectory:
        """The true trajectory in the result's gauge."""
        poses = self.S_world_map.inverse().apply_pose(self.trajectory.T_ref_cam)
        return Trajectory(self.trajectory.stamps_ns, poses)

    def write_result(self, folder: Path, keyframe_step: int = 3, depth_factor: float = 1.0) -> Path:
        """A perfect result in its own gauge, but for its depth, which is `depth_factor` times the true one."""
        folder.mkdir(parents=True)
        estimate = self.estimate()
        (folder / "trajectory.tum").write_bytes(tum_bytes(estimate))
        points = self.S_world_map.inverse().apply(self.points(range(0, len(estimate), 2)))
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
        cloud.colors = o3d.utility.Vector3dVector(np.abs(np.sin(points)))
        o3d.io.write_point_cloud(folder / "map.ply", cloud)
        (folder / "depth").mkdir()
        for index in range(0, len(estimate), keyframe_step):
            depth = self.depth_m(index) / self.S_world_map.scale * depth_factor
            np.savez(
                folder / "depth" / f"{estimate.stamps_ns[index]:019d}.npz",
                depth=depth.astype(np.float16),
                confidence=np.ones(depth.shape, np.float16),
                K=self.intrinsics.K,
                T_map_cam=estimate.T_ref_cam[index],
            )
        self._write_run(folder)
        return folder

    def write_bag(self, path: Path, depth_step: int = 2) -> Path:
        """A bag with true poses, and true depth of every `depth_step`th frame."""
        calibration = CameraCalibration.pinhole(
            self.intrinsics.width, self.intrinsics.height, self.intrinsics.K.ravel()
        )
        grey = np.zeros((self.intrinsics.height, self.intrinsics.width), np.uint8)
        with BagWriter(path) as writer:
            for index, stamp_ns in enumerate(self.trajectory.stamps_ns.tolist()):
                writer.write_camera_info(stamp_ns, calibration)
                writer.write_image(stamp_ns, grey)
                writer.write_pose(stamp_ns, self.trajectory.T_ref_cam[index])
                if index % depth_step == 0:
                    writer.write_depth(stamp_ns, self.depth_m(index))
        return path

    def _write_run(self, folder: Path) -> None:
        stamps, count = self.trajectory.stamps_ns, len(self.trajectory)
        header = "chunk,first_stamp_ns,last_stamp_ns,frames,keyframes,health,tracks_s,depth_s,rss_mb"
        with (folder / "timings.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header.split(","))
            for chunk, first in enumerate(range(0, count - 10, 8)):
                writer.writerow([chunk, stamps[first], stamps[first + 9], 10, 5, "ok", 0.2, 0.3, 500 + chunk])
        run = {
            "counts": {"frames_in": count + 2, "frames_posed": count, "frames_dropped": {"truncated_data": 2}},
            "real_time_factor": 1.5,
            "configuration": {"window.size": 8},
        }
        (folder / "run.yaml").write_text(yaml.safe_dump(run))


@pytest.fixture(scope="session")
def room() -> Room:
    count = 40
    angle = np.linspace(0.0, 0.9 * np.pi, count)
    forward = np.stack([np.cos(angle), np.sin(angle), np.full(count, -0.1)], axis=1)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    R = np.stack([right, np.cross(forward, right), forward], axis=2)
    centres = np.stack([1.5 * np.cos(2 * angle), 1.2 * np.sin(2 * angle), 0.2 * np.sin(3 * angle)], axis=1)
    stamps = FIRST_STAMP_NS + STEP_NS * np.arange(count, dtype=np.int64)
    S_world_map = Sim3.from_log([1.0, -2.0, 0.5, 0.2, -0.1, 0.7, np.log(2.5)])
    return Room(Trajectory(stamps, se3.se3(R, centres)), S_world_map)


@pytest.fixture(scope="session")
def result_folder(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return room.write_result(tmp_path_factory.mktemp("room") / "result")


@pytest.fixture(scope="session")
def truth_bag(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return room.write_bag(tmp_path_factory.mktemp("room") / "truth")
