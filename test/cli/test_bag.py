"""The bag that the demo plays holds the images of whatever was given."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from scal3r_ros.cli.bag import write_bag_of
from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.sources import SourceOptions


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)


def images(folder: Path) -> Path:
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index)[..., ::-1])
    return folder


def test_a_folder_becomes_a_bag_with_its_camera(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text("50 0 31.5\n0 50 23.5\n0 0 1\n")
    options = SourceOptions(calib=tmp_path / "calib.txt", rate_hz=5.0)
    write_bag_of(images(tmp_path / "images"), options, tmp_path / "bag")
    with BagReader(tmp_path / "bag") as reader:
        frames = list(reader.frames())
    assert len(frames) == 4
    assert frames[1].stamp_ns - frames[0].stamp_ns == 2 * 10**8
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(index))
        assert frame.intrinsics == Intrinsics(50.0, 50.0, 31.5, 23.5, 64, 48)


def test_images_that_cannot_be_read_leave_no_bag(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    for path in folder.iterdir():
        path.write_bytes(b"x")
    with pytest.raises(SequenceError, match="no image that can be read"):
        write_bag_of(folder, SourceOptions(), tmp_path / "bag")
    assert not (tmp_path / "bag").exists()
