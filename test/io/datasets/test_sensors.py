"""What an IMU and a satellite receiver of a data set recorded, in the published layouts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pymap3d
import pytest
import yaml

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.io.datasets import find_sequence
from scal3r_ros.io.sources import SampleList, open_source
from scal3r_ros.mapping.values import Fix, ImuSample

COUNT = 4
TIMES_S = [1_608_634_786 + number / 10 for number in range(COUNT)]
"""22 December 2020, 10:59:46 UTC, and after."""
FIRST_NS = 1_403_636_579_763_555_584
T_BODY_CAM = se3.exp([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
T_VELO_IMU, T_CAM_VELO = se3.exp([0.8, -0.3, 0.8, 0.0, 0.0, 0.01]), se3.exp([0.0, -0.1, -0.3, 1.2, -1.2, 1.2])


def images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((24, 32), np.uint8))


def euroc(root: Path) -> Path:
    camera, imu = root / "mav0" / "cam0", root / "mav0" / "imu0"
    images(camera / "data", [f"{FIRST_NS + number * 50_000_000}.png" for number in range(COUNT)])
    sensor = {"T_BS": {"data": T_BODY_CAM.ravel().tolist()}, "intrinsics": [20.0, 20.0, 15.5, 11.5],
              "resolution": [32, 24], "distortion_coefficients": [0.0] * 4}  # fmt: skip
    (camera / "sensor.yaml").write_text(yaml.safe_dump(sensor))
    imu.mkdir()
    return root


def sentence(content: str) -> str:
    checksum = 0
    for byte in content.encode():
        checksum ^= byte
    return f"${content}*{checksum:02X}\n"


def four_seasons(root: Path) -> Path:
    """4 images, an IMU at 20 Hz, a receiver at 10 Hz; the IMU is turned and moved by the published example."""
    folder = root / "recording_2020-12-22_11-54-24"
    images(folder / "undistorted_images" / "cam0", [f"{round(time * 10) * 10**8}.png" for time in TIMES_S])
    (folder / "Transformations.txt").write_text(
        "# transform_S_AS: translation vector, rotation quaternion\n"
        "0.000000,0.000000,0.000000,0.000590,-0.005845,0.005162,0.999969\n\n"
        "# TS_cam_imu: translation vector, rotation quaternion\n"
        "0.175412,0.003689,-0.058106,-0.007202,0.708623,-0.705546,-0.002350\n\n"
        "# GNSS scale\n0.969397\n"
    )
    rows = [f"{round(time * 10) * 10**8 + n * 50_000_000} 0.1 0.2 0.3 1.0 2.0 {9 + n}" for time in TIMES_S
            for n in range(2)]  # fmt: skip
    (folder / "imu.txt").write_text("\n".join(rows) + "\n")
    lines = [sentence("GPGGA,105945.900000,4811.0000,N,01137.0000,E,4,20,0.8,500.0,M,47.5,M,1.0,0000")]  # no date yet
    for number in range(COUNT):
        clock = f"1059{46 + number // 10}.{number % 10}00000"
        lines.append(sentence(f"GPRMC,{clock},A,4811.7826,N,01137.2283,E,11.5,53.5,221220,3.6,E,D"))
        height = f"{480 + number},M,47.5,M"
        lines.append(sentence(f"GPGGA,{clock},4811.7826286,N,01137.2283491,E,{(4, 4, 1, 0)[number]},20,0.8,{height},,"))
    lines.append(sentence("GPGGA,,,,,,0,,,,M,,M,,"))
    lines.append(lines[2].replace("480", "999"))  # a wrong checksum
    (folder / "septentrio.nmea").write_text("".join(lines))
    return folder


def kitti(root: Path, step_ns: int) -> Path:
    """A drive to the east, 2 m a sample, with 3 m/s² ahead and 0.2 rad/s to the left."""
    folder = root / "2011_09_26" / "2011_09_26_drive_0001_extract"
    images(folder / "image_00" / "data", [f"{number:010d}.png" for number in range(COUNT)])
    second = [number * step_ns / 1e9 for number in range(COUNT)]
    times = "".join(f"2011-09-26 13:02:{25 + s:012.9f}\n" for s in second)
    (folder / "image_00" / "timestamps.txt").write_text(times)
    for name, T in (("imu_to_velo", T_VELO_IMU), ("velo_to_cam", T_CAM_VELO)):
        lines = [f"{key}: " + " ".join(map(repr, part.ravel().tolist()))
                 for key, part in zip("RT", (T[:3, :3], T[:3, 3]), strict=True)]  # fmt: skip
        (folder.parent / f"calib_{name}.txt").write_text("calib_time: 25-May-2012 16:47:16\n" + "\n".join(lines) + "\n")
    rectified = "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_00: 20 0 15.5 0 0 20 11.5 0 0 0 1 0\n"
    (folder.parent / "calib_cam_to_cam.txt").write_text(rectified)
    (folder / "oxts" / "data").mkdir(parents=True)
    (folder / "oxts" / "timestamps.txt").write_text(times)
    for number in range(COUNT):
        latitude, longitude, altitude = pymap3d.enu2geodetic(2.0 * number, 0.0, 0.0, 49.0, 8.4, 110.0)
        motion = [20.0, 0.0, 20.0, 0.0, 0.0]
        felt = [3.0, 4.0, 9.81, 3.0, 4.0, 9.81]
        turned = [0.01, 0.02, 0.2, 0.01, 0.02, 0.2]
        quality = [0.05, 0.02, 4.0, 10.0, 5.0, 5.0, 5.0]
        line = [latitude, longitude, altitude, 0.0, 0.0, 0.0, *motion, *felt, *turned, *quality]
        assert len(line) == 30
        (folder / "oxts" / "data" / f"{number:010d}.txt").write_text(" ".join(map(repr, map(float, line))))
    return folder


def test_the_imu_of_euroc_comes_with_the_pose_of_the_camera_on_it(tmp_path: Path) -> None:
    folder = euroc(tmp_path / "MH_01_easy")
    sequence = find_sequence(folder)
    assert sequence is not None
    assert sequence.samples is None  # there is no table yet
    rows = [[FIRST_NS + 5_000_000 * n, 0.1 * n, 0.2, 0.3, 1.0, 2.0, 9.0 + n] for n in range(3)]
    text = "#timestamp [ns],w_RS_S_x [rad s^-1]\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows)
    (folder / "mav0" / "imu0" / "data.csv").write_text(text)
    samples = open_source(folder).samples()
    assert [sample.stamp_ns for sample in samples] == [row[0] for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert isinstance(sample, ImuSample)
        np.testing.assert_array_equal(sample.angular_velocity, row[1:4])
        np.testing.assert_array_equal(sample.linear_acceleration, row[4:7])
        np.testing.assert_array_equal(sample.T_imu_cam, T_BODY_CAM)
    (folder / "mav0" / "imu0" / "data.csv").write_text("1,2,3\n")
    with pytest.raises(SequenceError, match="is no table of time in ns"):
        open_source(folder).samples()


def test_fixes_of_raw_kitti_are_at_the_unit_and_as_accurate_as_it_says(tmp_path: Path) -> None:
    samples = open_source(kitti(tmp_path, 100_000_000)).samples()
    assert [type(sample) for sample in samples] == [Fix] * COUNT  # 10 Hz is too slow for an IMU
    unit_cam = (T_CAM_VELO @ T_VELO_IMU)[:3, 3]
    for number, fix in enumerate(samples):
        assert isinstance(fix, Fix)
        east = pymap3d.geodetic2enu(fix.latitude_deg, fix.longitude_deg, fix.altitude_m, 49.0, 8.4, 110.0)
        np.testing.assert_allclose(east, [2.0 * number, 0.0, 0.0], atol=1e-5)
        np.testing.assert_allclose(fix.antenna_cam, unit_cam)
        np.testing.assert_allclose(np.diag(fix.covariance_enu), [0.05**2, 0.05**2, 0.1**2])
    assert np.ptp([fix.stamp_ns for fix in samples]) == 300_000_000


def test_raw_kitti_at_100_hz_has_an_imu_too(tmp_path: Path) -> None:
    samples = open_source(kitti(tmp_path, 10_000_000)).samples()
    felt = [sample for sample in samples if isinstance(sample, ImuSample)]
    assert (len(felt), len(samples)) == (COUNT, 2 * COUNT)
    np.testing.assert_array_equal(felt[0].linear_acceleration, [3.0, 4.0, 9.81])
    np.testing.assert_array_equal(felt[0].angular_velocity, [0.01, 0.02, 0.2])
    np.testing.assert_allclose(felt[0].T_imu_cam, se3.invert(T_CAM_VELO @ T_VELO_IMU))
    stamps = [sample.stamp_ns for sample in samples]
    assert stamps == sorted(stamps)


def test_imu_and_receiver_of_four_seasons_are_read_by_time(tmp_path: Path) -> None:
    folder = four_seasons(tmp_path)
    samples = open_source(folder).samples()
    stamps = [sample.stamp_ns for sample in samples]
    assert stamps == sorted(stamps)
    assert next(iter(samples[1:3])).stamp_ns == stamps[1]
    imu = [sample for sample in samples if isinstance(sample, ImuSample)]
    assert len(imu) == 2 * COUNT
    np.testing.assert_array_equal(imu[1].angular_velocity, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(imu[1].linear_acceleration, [1.0, 2.0, 10.0])
    assert imu[1].stamp_ns == 1_608_634_786_050_000_000
    np.testing.assert_allclose(se3.invert(imu[0].T_imu_cam)[:3, 3], [0.175412, 0.003689, -0.058106])
    np.testing.assert_allclose(se3.invert(imu[0].T_imu_cam)[:3, :3] @ [0, 0, 1.0], [0.0, -1.0, 0.0], atol=0.02)
    fixes = [sample for sample in samples if isinstance(sample, Fix)]
    assert [fix.stamp_ns for fix in fixes] == [1_608_634_786_000_000_000 + n * 10**8 for n in range(3)]
    assert (fixes[0].latitude_deg, fixes[0].longitude_deg) == pytest.approx((48.1963771433, 11.620472485), abs=1e-9)
    assert [fix.altitude_m for fix in fixes] == [527.5, 528.5, 529.5]
    np.testing.assert_allclose(np.sqrt(np.diag(fixes[0].covariance_enu)), [0.016, 0.016, 0.032])
    np.testing.assert_allclose(np.sqrt(np.diag(fixes[2].covariance_enu)), [3.2, 3.2, 6.4])
    np.testing.assert_allclose(fixes[0].antenna_cam, [0.175412, 0.003689, -0.058106])
    (folder / "Transformations.txt").write_text("# GNSS scale\n0.969397\n")
    with pytest.raises(SequenceError, match="has no TS_cam_imu"):
        open_source(folder).samples()


def test_a_day_that_ends_between_date_and_fix_is_the_next_one(tmp_path: Path) -> None:
    folder = four_seasons(tmp_path)
    (folder / "imu.txt").unlink()
    (folder / "septentrio.nmea").write_text(
        sentence("GPRMC,235959.90,A,4811.7826,S,01137.2283,W,11.5,53.5,311220,3.6,E,D")
        + sentence("GPGGA,000000.10,4811.7826,S,01137.2283,W,4,20,0.8,480,M,47.5,M,,")
    )
    (fix,) = open_source(folder).samples()
    assert isinstance(fix, Fix)
    assert fix.stamp_ns == 1_609_459_200_100_000_000  # 1 January 2021
    assert fix.latitude_deg < 0
    assert fix.longitude_deg < 0


def test_samples_are_given_out_once_each_up_to_a_time() -> None:
    samples = SampleList([Fix(stamp, 0.0, 0.0, 0.0) for stamp in (1, 2, 3, 5)])
    assert [sample.stamp_ns for sample in samples.until(2)] == [1, 2]
    assert [sample.stamp_ns for sample in samples.until(2)] == []
    assert [sample.stamp_ns for sample in samples.until(9)] == [3, 5]
