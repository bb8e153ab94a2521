"""A short bag, and the command as a user calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from scal3r_ros.cli.main import main
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.simulation.simulate import SimulatedFrame


class Done(NamedTuple):
    """How a command ended and what it wrote to the terminal."""

    code: int
    out: str
    err: str


@pytest.fixture
def scal3r(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `scal3r` with arguments, in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["scal3r", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "500")
        capsys.readouterr()
        try:
            code = main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        written = capsys.readouterr()
        return Done(code, written.out, written.err)

    return run


@pytest.fixture(scope="session")
def street_bag(
    tmp_path_factory: pytest.TempPathFactory, street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> Path:
    """24 images of the street with calibration and true poses."""
    path = tmp_path_factory.mktemp("bags") / "street.bag"
    camera = street_camera
    calibration = CameraCalibration.pinhole(camera.width, camera.height, camera.K.ravel().tolist())
    with BagWriter(path, "mcap") as writer:
        for frame in street_frames[:24]:
            writer.write_camera_info(frame.stamp_ns, calibration)
            writer.write_image(frame.stamp_ns, frame.image)
            writer.write_pose(frame.stamp_ns, frame.T_ref_cam)
    return path
