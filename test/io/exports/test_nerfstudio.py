"""`transforms.json` by the formulas of nerfstudio's page of conventions, and by the reader of such folders."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject_pixels
from scal3r_ros.io.clouds.length_unit import LengthUnit
from scal3r_ros.io.datasets import find_sequence
from scal3r_ros.io.exports.nerfstudio import transforms_bytes

RNG = np.random.default_rng(0)
POSES = np.stack([se3.se3(se3.rotation_exp(RNG.normal(size=3)), RNG.normal(0, 4, 3)) for _ in range(3)])
CAMERA = Intrinsics(300.0, 310.0, 159.5, 110.0, 320, 240)
OTHER = Intrinsics(200.0, 200.0, 50.0, 40.0, 100, 80)
FILES = [f"images/{number}.png" for number in range(3)]


@pytest.mark.parametrize("cameras", [[CAMERA] * 3, [CAMERA, OTHER, CAMERA]])
def test_a_point_is_seen_where_it_was(cameras: list[Intrinsics]) -> None:
    content = json.loads(transforms_bytes(POSES, cameras, FILES, "points.ply", LengthUnit.metre(["imu", "gnss"])))
    assert content["unit"] == "coordinates are in metres, by gnss, imu"
    assert content["ply_file_path"] == "points.ply"
    assert [frame["file_path"] for frame in content["frames"]] == FILES
    assert ("fl_x" in content) == (len(set(cameras)) == 1)
    for frame, T_map_cam, camera in zip(content["frames"], POSES, cameras, strict=True):
        uv = np.array([12.0, 34.0])
        p_map = T_map_cam[:3, :3] @ backproject_pixels(uv[None], np.array([7.0]), camera)[0] + T_map_cam[:3, 3]
        lens = {**content, **frame}
        assert (lens["w"], lens["h"], lens["camera_model"]) == (camera.width, camera.height, "OPENCV")
        x, y, z, _ = np.linalg.inv(frame["transform_matrix"]) @ [*p_map, 1.0]
        assert z < 0  # the camera looks along -z, its y is up
        seen = [lens["fl_x"] * x / -z + lens["cx"], lens["fl_y"] * -y / -z + lens["cy"]]
        np.testing.assert_allclose(seen, uv + 0.5, atol=1e-9)


def test_the_reader_of_such_folders_finds_the_same_poses_and_camera(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for file in FILES:
        cv2.imwrite(str(tmp_path / file), np.zeros((CAMERA.height, CAMERA.width), np.uint8))
    (tmp_path / "transforms.json").write_bytes(transforms_bytes(POSES, [CAMERA] * 3, FILES))
    sequence = find_sequence(tmp_path)
    assert sequence is not None
    assert sequence.ground_truth is not None
    assert sequence.calibration is not None
    np.testing.assert_allclose(sequence.ground_truth.T_ref_cam, POSES, atol=1e-12)
    np.testing.assert_allclose(np.reshape(sequence.calibration.k, (3, 3)), CAMERA.K)
