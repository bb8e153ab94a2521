"""`scal3r replay`: a bag becomes a result, and whatever is wrong becomes one line."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pymap3d
import pytest
import yaml

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.topics import header, typestore
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.trajectories import read_trajectory
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.values import MapUpdate
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.simulate import SimulatedFrame

Scal3r = Callable[..., Any]
SMALL = ("--set", "geometric.sweep.width=64", "--set", "geometric.sweep.planes=8", "--set", "window.size=8",
         "--set", "window.overlap=3")  # fmt: skip
ROOT = Path(__file__).resolve().parents[3]


def fails(done: Any) -> str:
    """The one line that a failed command leaves."""
    assert done.code == 1, done
    lines = [line for line in done.err.splitlines() if line]  # a progress bar that ends leaves an empty one
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    return str(lines[0])


def test_a_bag_becomes_a_result_that_can_be_evaluated(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--save-depth", *SMALL)
    assert done.code == 0, done
    assert "24 of 24 images posed" in done.err
    assert len(read_trajectory(tmp_path / "out" / "trajectory.tum")) == 24
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert run["bag"] == "street.bag"
    assert run["counts"]["frames_in"] == run["counts"]["frames_posed"] == 24
    assert run["counts"]["chunks_by_health"]["ok"] == run["counts"]["submaps"]
    assert run["parameters"]["geometric.sweep.planes"] == 8
    assert run["real_time_factor"] > 0
    assert len(list((tmp_path / "out" / "depth").iterdir())) == run["counts"]["keyframes"]
    assert scal3r("evaluate", tmp_path / "out", "--truth", street_bag).code == 0


def test_refused_stamps_are_dropped_images_and_no_jump_of_the_clock_is_time_that_passed(
    scal3r: Scal3r, street_frames: list[SimulatedFrame], street_camera: Intrinsics, tmp_path: Path
) -> None:
    usual = int(np.median(np.diff([frame.stamp_ns for frame in street_frames])))
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        for number, frame in enumerate(street_frames[:24]):
            stamp = {12: street_frames[11].stamp_ns, 23: frame.stamp_ns + 3600 * 10**9}.get(number, frame.stamp_ns)
            calibration = CameraCalibration.pinhole(
                street_camera.width, street_camera.height, street_camera.K.ravel().tolist()
            )
            writer.write_camera_info(stamp, calibration)
            writer.write_image(stamp, frame.image)
    done = scal3r("replay", tmp_path / "bag", "-o", tmp_path / "out", *SMALL)
    assert done.code == 0, done
    assert "1 × stamp jumped, 1 × stamp repeated" in done.err
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert run["counts"]["frames_in"] == 24
    assert run["counts"]["frames_posed"] == 22
    assert run["counts"]["frames_dropped"] == {"stamp jumped": 1, "stamp repeated": 1}
    assert run["real_time_factor"] * run["seconds"] == pytest.approx(24 * usual * 1e-9, rel=0.15)


def test_a_stamp_that_was_not_set_is_a_dropped_image_and_a_clock_set_back_begins_anew(
    scal3r: Scal3r,
    street_frames: list[SimulatedFrame],
    street_camera: Intrinsics,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calibration = CameraCalibration.pinhole(street_camera.width, street_camera.height, street_camera.K.ravel().tolist())
    back_ns = 3600 * 10**9
    for name, stamps in (
        ("zero", {12: 0}),
        ("back", {number: street_frames[number].stamp_ns - back_ns for number in range(10, 24)}),
    ):
        with BagWriter(tmp_path / name, "mcap") as writer:
            for number, frame in enumerate(street_frames[:24]):
                stamp_ns = stamps.get(number, frame.stamp_ns)
                writer.write_camera_info(stamp_ns, calibration)
                message = typestore().types["sensor_msgs/msg/Image"](
                    header(stamp_ns, "camera"), *frame.image.shape[:2], "rgb8", 0, frame.image.shape[1] * 3,
                    frame.image.ravel(),
                )  # fmt: skip
                writer.write_message("/camera/image", street_frames[0].stamp_ns + number * 10**8, message)
        done = scal3r("replay", tmp_path / name, "-o", tmp_path / f"out_{name}", *SMALL)
        assert done.code == 0, done
    counts = yaml.safe_load((tmp_path / "out_zero" / "run.yaml").read_text())["counts"]
    assert (counts["frames_in"], counts["frames_posed"]) == (24, 23)
    assert counts["frames_dropped"] == {"stamp not set": 1}
    counts = yaml.safe_load((tmp_path / "out_back" / "run.yaml").read_text())["counts"]
    assert counts["frames_in"] == 24
    assert counts["frames_dropped"] == {"stamp jumped": 2}  # until a third shows that it is the clock
    third = street_frames[12].stamp_ns - back_ns
    assert f"time jumped back to image stamp {third // 10**9}.{third % 10**9:09d} s" in caplog.text
    newest = read_trajectory(tmp_path / "out_back" / "trajectory.tum")
    assert newest.stamps_ns[-1] == street_frames[23].stamp_ns - back_ns
    assert np.all(np.diff(newest.stamps_ns) > 0)


def test_a_data_set_with_a_satellite_receiver_is_mapped_in_metres(
    scal3r: Scal3r, street_frames: list[SimulatedFrame], street_camera: Intrinsics, tmp_path: Path
) -> None:
    """A drive of KITTI raw: OXTS 2 cm good at the camera itself, which looks along the unit's x."""
    folder = tmp_path / "2011_09_26" / "2011_09_26_drive_0001_sync"
    (folder / "image_00" / "data").mkdir(parents=True)
    (folder / "oxts" / "data").mkdir(parents=True)
    camera = street_camera
    line = f"{camera.fx} 0 {camera.cx} 0 0 {camera.fy} {camera.cy} 0 0 0 1 0"
    unit, still = "R: 1 0 0 0 1 0 0 0 1\nT: 0 0 0\n", "R_rect_00: 1 0 0 0 1 0 0 0 1\n"
    (folder.parent / "calib_imu_to_velo.txt").write_text(unit)
    (folder.parent / "calib_velo_to_cam.txt").write_text("R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n")
    (folder.parent / "calib_cam_to_cam.txt").write_text(still + f"P_rect_00: {line}\n")
    times = []
    for number, frame in enumerate(street_frames):
        cv2.imwrite(str(folder / "image_00" / "data" / f"{number:010d}.png"), frame.image[..., ::-1])
        seconds = (frame.stamp_ns - street_frames[0].stamp_ns) / 1e9
        times.append(f"2011-09-26 13:02:{10 + seconds:012.9f}\n")
        fix = pymap3d.enu2geodetic(*(street_frames[0].T_ref_cam[:3, :3] @ frame.T_ref_cam[:3, 3]), 49.0, 8.4, 110.0)
        numbers = [*fix, 0.0, 0.0, 0.0, *[0.0] * 17, 0.02, *[0.0] * 6]
        (folder / "oxts" / "data" / f"{number:010d}.txt").write_text(" ".join(map(repr, map(float, numbers))))
    for place in ("image_00", "oxts"):
        (folder / place / "timestamps.txt").write_text("".join(times))
    with_them = scal3r("replay", folder, "-o", tmp_path / "a", *SMALL)
    assert with_them.code == 0, with_them
    run = yaml.safe_load((tmp_path / "a" / "run.yaml").read_text())
    assert run["scale"]["sources"] == ["gnss"]
    poses = read_trajectory(tmp_path / "a" / "trajectory.tum").T_ref_cam[:, :3, 3]
    true = np.stack([frame.T_ref_cam for frame in street_frames])[: len(poses), :3, 3]
    ratio = np.linalg.norm(poses[-1] - poses[0]) / np.linalg.norm(true[-1] - true[0])
    assert ratio == pytest.approx(1.0, abs=0.05)
    without = scal3r("replay", folder, "-o", tmp_path / "b", "--no-sensors", *SMALL)
    assert without.code == 0, without
    assert "scale" not in yaml.safe_load((tmp_path / "b" / "run.yaml").read_text())


def test_two_replays_write_equal_bytes(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert scal3r("replay", street_bag, "-o", tmp_path / name, *SMALL).code == 0
    for name in ("trajectory.tum", "map.ply"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_ends_the_drive_and_what_was_mapped_is_written(
    scal3r: Scal3r, street_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    push = OnlineMapper.push

    def interrupted(mapper: OnlineMapper, frame: Frame) -> list[MapUpdate]:
        if frame.index == 20:
            os.kill(os.getpid(), number)
        return push(mapper, frame)

    monkeypatch.setattr(OnlineMapper, "push", interrupted)
    before = signal.getsignal(number)
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--save-map", tmp_path / "map", *SMALL)
    assert done.code == 130
    assert "interrupted: writing what was mapped" in done.err
    assert yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["counts"]["frames_in"] == 21
    assert len(read_trajectory(tmp_path / "out" / "trajectory.tum")) == 21
    assert (tmp_path / "out" / "map.ply").stat().st_size > 1000
    assert any((tmp_path / "map").iterdir())
    assert signal.getsignal(number) is before


def test_only_so_many_images_are_taken(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--max-frames", 15, *SMALL)
    assert "15 of 15 images posed" in done.err


def test_a_folder_of_the_same_images_gives_the_same_map(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    with BagReader(street_bag) as reader:
        (tmp_path / "images").mkdir()
        for frame in islice(reader.frames(), 15):
            cv2.imwrite(str(tmp_path / "images" / f"{frame.index}.png"), frame.image[..., ::-1])
            assert frame.intrinsics is not None
            np.savetxt(tmp_path / "calib.txt", frame.intrinsics.K, fmt="%.17g")
    calib = ("--calib", tmp_path / "calib.txt", "--rate", 10)
    assert scal3r("replay", street_bag, "-o", tmp_path / "a", "--max-frames", 15, *SMALL).code == 0
    done = scal3r("replay", tmp_path / "images", "-o", tmp_path / "b", *calib, *SMALL)
    assert done.code == 0, done.err
    for name in ("trajectory.tum", "map.ply"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_bag_too_short_for_a_map_says_so(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--max-frames", 1)
    assert done.code == 1
    assert "Nothing was mapped" in done.err


def test_parameters_of_ros_in_a_file_are_told_and_left_alone(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    config = ROOT / "config" / "default.yaml"
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--config", config, "--max-frames", 15, *SMALL)
    assert done.code == 0
    assert "not used without ROS: " in done.err
    assert "base_frame" in done.err


def test_a_missing_bag_is_one_line_and_costs_no_older_result(scal3r: Scal3r, tmp_path: Path) -> None:
    older = tmp_path / "out" / "trajectory.tum"
    older.parent.mkdir()
    older.write_text("1.0 0 0 0 0 0 0 1\n")
    assert "missing.bag" in fails(scal3r("replay", tmp_path / "missing.bag", "-o", tmp_path / "out"))
    assert older.exists()


def test_an_empty_folder_is_one_line(scal3r: Scal3r, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(scal3r("replay", tmp_path / "empty", "-o", tmp_path / "out"))


def test_a_file_that_is_no_bag_is_one_line(scal3r: Scal3r, tmp_path: Path) -> None:
    for name in ("notes.mcap", "notes.db3", "notes.txt"):
        (tmp_path / name).write_bytes(b"not a bag at all" * 100)
        assert name in fails(scal3r("replay", tmp_path / name, "-o", tmp_path / "out"))


def test_a_bag_that_was_cut_gives_what_it_still_holds_or_one_line(
    scal3r: Scal3r, street_bag: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.bag"
    shutil.copytree(street_bag, cut)
    file = next(cut.glob("*.mcap"))
    size = file.stat().st_size
    os.truncate(file, 2 * size // 3)
    done = scal3r("replay", cut, "-o", tmp_path / "out", *SMALL)
    assert "Traceback" not in done.err
    if done.code:
        fails(done)
    else:
        assert 10 <= len(read_trajectory(tmp_path / "out" / "trajectory.tum")) < 24
    os.truncate(file, 40)
    fails(scal3r("replay", cut, "-o", tmp_path / "out2", *SMALL))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("window.sice=9", "unknown parameter window.sice"),
        ("nonsense=9", "unknown parameter nonsense"),
        ("window.size", "write --set name=value"),
        ("window.size=many", "must be of type int"),
        ("window.size=1", "3 … 256"),
        ("window.size=[", "write --set name=value"),
        ("reconstructor=magic", "one of geometric"),
        ("geometric.device=nonsense", "nonsense"),
        ("window.overlap=60", "share 60"),
    ],
)
def test_a_wrong_setting_is_one_line(
    scal3r: Scal3r, street_bag: Path, tmp_path: Path, setting: str, message: str
) -> None:
    assert message in fails(scal3r("replay", street_bag, "-o", tmp_path / "out", "--set", setting))


def test_the_unknown_setting_is_named_not_one_of_the_file(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    config = ROOT / "config" / "default.yaml"
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--config", config, "--set", "nonsense=1")
    assert "unknown parameter nonsense" in fails(done)


def test_a_missing_or_damaged_parameter_file_is_one_line(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    fails(scal3r("replay", street_bag, "-o", tmp_path / "out", "--config", tmp_path / "no.yaml"))
    (tmp_path / "bad.yaml").write_text("/**: [\n")
    fails(scal3r("replay", street_bag, "-o", tmp_path / "out", "--config", tmp_path / "bad.yaml"))


def test_an_output_that_can_not_be_written_is_one_line(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        assert "cannot be written" in fails(scal3r("replay", street_bag, "-o", out))


def test_a_disk_that_fills_up_on_the_way_is_one_line(
    scal3r: Scal3r, street_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", *SMALL)
    assert "No space left on device" in fails(done)


def test_colours_of_the_bag_reach_the_map(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    from scal3r_ros.io.clouds.ply import read_ply

    assert scal3r("replay", street_bag, "-o", tmp_path / "out", *SMALL).code == 0
    cloud = read_ply(tmp_path / "out" / "map.ply")
    assert len(cloud.points) > 100
    assert np.ptp(cloud.colours, axis=0).min() > 30
