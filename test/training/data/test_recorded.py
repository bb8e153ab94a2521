"""Recordings become clips that show what was recorded."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from scal3r_ros.errors import TrainingError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.training.data.recorded import PosedFrame, RecordedClips, clip_of, posed_bag, posed_folder

SIZES = ((48, 32), (32, 32))


def write_folder(folder: Path, clip) -> Path:
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    for i, (image, depth_m) in enumerate(zip(clip.images, clip.depth_m, strict=True)):
        cv2.imwrite(str(folder / "rgb" / f"{i:04d}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / "depth" / f"{i:04d}.png"), np.rint(depth_m * 1000).astype(np.uint16))
    np.savetxt(folder / "poses.txt", clip.T_world_cam[:, :3].reshape(-1, 12))
    np.savetxt(folder / "calib.txt", clip.K)
    return folder


def write_bag(path: Path, clip) -> Path:
    height, width = clip.images.shape[1:3]
    with BagWriter(path) as writer:
        for i, (image, depth_m) in enumerate(zip(clip.images, clip.depth_m, strict=True)):
            stamp_ns = 10**18 + i * 10**8
            writer.write_camera_info(stamp_ns, CameraCalibration.pinhole(width, height, clip.K.ravel().tolist()))
            writer.write_image(stamp_ns, image)
            writer.write_pose(stamp_ns, clip.T_world_cam[i])
            if i != 1:
                writer.write_depth(stamp_ns, depth_m)
    return path


@pytest.mark.parametrize(("write", "name"), [(write_folder, "room"), (write_bag, "street.bag")], ids=["folder", "bag"])
def test_a_recording_comes_back_as_it_was_at_every_size(tmp_path, clip, write, name):
    recording = write(tmp_path / name, clip)
    clips = RecordedClips(recording, tmp_path / "cache", 6, SIZES)
    whole, narrow = clips.usable(0, 0), clips.usable(1, 0)
    assert len(whole) == len(narrow) >= 2
    first = clips.clip(whole[0])
    kept = [0, 1, 2, 3, 4, 5] if write is write_folder else [0, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(first.images, clip.images[kept])
    np.testing.assert_allclose(first.depth_m, clip.depth_m[kept], atol=6e-3)
    np.testing.assert_allclose(first.T_world_cam, clip.T_world_cam[kept], atol=1e-8)
    np.testing.assert_allclose(first.K, clip.K)
    assert not first.zero_is_far
    assert clips.clip(narrow[0]).images.shape == (6, 32, 32, 3)
    again = RecordedClips(recording, tmp_path / "cache", 6, SIZES)
    np.testing.assert_array_equal(again.clip(whole[0]).images, first.images)


def test_a_clip_is_cut_about_the_principal_point(clip):
    camera = Intrinsics(40.0, 40.0, 28.0, 15.5, 48, 32)
    frame = PosedFrame(clip.images[0], clip.depth_m[0], clip.T_world_cam[0], camera)
    cut = clip_of([frame], 16, 16)
    np.testing.assert_allclose(cut.K, [[20, 0, 7.5], [0, 20, 7.5], [0, 0, 1]], atol=0.5)
    assert cut.images.shape == (1, 16, 16, 3)
    assert cut.depth_m.shape == (1, 16, 16)


def test_too_few_frames_are_refused(tmp_path, clip):
    with pytest.raises(TrainingError, match="fewer than 20 frames"):
        RecordedClips(write_folder(tmp_path / "room", clip), tmp_path / "cache", 20, SIZES)


def test_frames_without_depth_are_passed_over(tmp_path, clip):
    folder = write_folder(tmp_path / "room", clip)
    (folder / "depth" / "0003.png").unlink()
    assert len(list(posed_folder(folder))) == len(clip) - 1
    assert len(list(posed_bag(write_bag(tmp_path / "bag", clip)))) == len(clip) - 1
