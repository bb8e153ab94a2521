"""`scal3r benchmark` on miniatures of KITTI odometry: two drives along the simulated street, and one in the dark."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from evo.core import metrics
from evo.core.trajectory import PosePath3D
from rich.console import Console

from scal3r_ros.cli.benchmark.html import benchmark_page
from scal3r_ros.cli.benchmark.printing import print_table
from scal3r_ros.cli.benchmark.scoring import truth_at
from scal3r_ros.cli.benchmark.tables import Table
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import kitti_bytes, read_trajectory
from scal3r_ros.simulation.simulate import SimulatedFrame

Scal3r = Callable[..., Any]
SMALL = ("--set", "geometric.sweep.width=64", "--set", "geometric.sweep.planes=8", "--set", "window.size=8",
         "--set", "window.overlap=3", "--jobs", "1")  # fmt: skip
COUNT = 20


@pytest.fixture(scope="module")
def kitti(
    tmp_path_factory: pytest.TempPathFactory, street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> Path:
    root = tmp_path_factory.mktemp("kitti") / "dataset"
    camera = street_camera
    (root / "poses").mkdir(parents=True)
    for name, light in (("00", 1.0), ("03", 0.0)):
        folder = root / "sequences" / name
        (folder / "image_0").mkdir(parents=True)
        for number, frame in enumerate(street_frames[:COUNT]):
            cv2.imwrite(
                str(folder / "image_0" / f"{number:06d}.png"), (frame.image[..., ::-1] * light).astype(np.uint8)
            )
        stamps = np.array([frame.stamp_ns for frame in street_frames[:COUNT]])
        (folder / "times.txt").write_text("".join(f"{(s - stamps[0]) / 1e9:e}\n" for s in stamps))
        line = f"{camera.fx} 0 {camera.cx} 0 0 {camera.fy} {camera.cy} 0 0 0 1 0"
        (folder / "calib.txt").write_text("".join(f"P{number}: {line}\n" for number in range(4)))
        poses = Trajectory(stamps, np.stack([frame.T_ref_cam for frame in street_frames[:COUNT]]))
        (root / "poses" / f"{name}.txt").write_bytes(kitti_bytes(poses))
    return root


def test_a_table_with_many_columns_leaves_the_page_as_wide_as_the_window(chromium: Any, tmp_path: Path) -> None:
    header = ["method", *(f"sequence_{number:02d}" for number in range(20)), "average"]
    path = tmp_path / "benchmark.html"
    table = Table("ATE", tuple(header), (tuple("1234.5" for _ in header),), ())
    path.write_text(benchmark_page("KITTI", "", [table], [], ""), encoding="utf-8")
    shown = chromium.new_page(viewport={"width": 1280, "height": 800})
    shown.goto(path.as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1280
    assert shown.locator("th").last.inner_text() == "average"
    shown.close()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_printed_table_shortens_no_cell(width: int) -> None:
    header = ("method", *(f"sequence_{number:02d} [m]" for number in range(12)), "average")
    rows = tuple(
        (name, *(f"{1000 + 7 * at}.5" for at in range(len(header) - 1)))
        for name in ("ORB-SLAM2", "scal3r_ros, geometric")
    )
    page = Console(width=width, file=io.StringIO(), highlight=False)
    print_table(Table("ATE", header, rows, ("A note on it all.",)), page)
    text = page.file.getvalue()
    assert "…" not in text
    assert text.count("[m]") == 12
    for cells in rows:
        lines = [line.split() for line in text.splitlines() if line.strip().startswith(cells[0])]
        name = cells[0].split()
        assert all(line[: len(name)] == name for line in lines)
        assert [cell for line in lines for cell in line[len(name) :]] == list(cells[1:])
    assert max(map(len, text.splitlines())) <= width
    assert text.rstrip().endswith("A note on it all.")


def test_tables_hold_what_evo_measures_and_lost_sequences_are_named(
    scal3r: Scal3r, kitti: Path, tmp_path: Path
) -> None:
    done = scal3r("benchmark", "kitti", kitti, "-o", tmp_path / "out", *SMALL)
    assert done.code == 0, done
    with (tmp_path / "out" / "sequences.csv").open() as file:
        rows = {row["sequence"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"00", "03", "average of 1 of 2"}
    assert (rows["00"]["images"], rows["00"]["posed"], rows["03"]["ATE Sim(3) [m]"]) == ("20", "20", "lost")
    estimate = read_trajectory(tmp_path / "out" / "00" / "trajectory.tum")
    true = read_trajectory(kitti / "poses" / "00.txt", estimate.stamps_ns)
    for with_scale, column in ((True, "ATE Sim(3) [m]"), (False, "ATE SE(3) [m]")):
        reference, moved = (PosePath3D(poses_se3=list(each.T_ref_cam)) for each in (true, estimate))
        moved.align(reference, correct_scale=with_scale)
        ape = metrics.APE(metrics.PoseRelation.translation_part)
        ape.process_data((reference, moved))
        assert float(rows["00"][column]) == pytest.approx(ape.get_statistic(metrics.StatisticsType.rmse), rel=2e-3)
    with (tmp_path / "out" / "published.csv").open() as file:
        published = list(csv.DictReader(file))
    assert published[-1]["method"] == "scal3r_ros, geometric"
    averages = {row["method"]: row["average"] for row in published}
    assert (averages["Scal3R"], averages["scal3r_ros, geometric"]) == ("14.55", "–")  # not all of 00–10 were run
    assert published[-1]["00"] == rows["00"]["ATE Sim(3) [m]"]
    assert published[-1]["03"] == "lost"
    assert (rows["00"]["t_rel [%]"], rows["00"]["r_rel [deg/100 m]"]) == ("–", "–")  # its way is below 100 m
    assert "03 is lost" in done.out
    text = (tmp_path / "out" / "benchmark.html").read_text()
    assert text.count("<img") == 1
    assert "| 00 |" in (tmp_path / "out" / "benchmark.md").read_text()
    # What is done is not done again, unless an option changes.
    trajectory = tmp_path / "out" / "00" / "trajectory.tum"
    written = trajectory.stat().st_mtime_ns
    again = scal3r("benchmark", "kitti", kitti, "-o", tmp_path / "out", *SMALL)
    assert again.err.count("done before") == 2
    assert trajectory.stat().st_mtime_ns == written
    changed = scal3r("benchmark", "kitti", kitti, "-o", tmp_path / "out", *SMALL, "--sequence", "00", "--every", "2")
    assert "done before" not in changed.err
    assert trajectory.stat().st_mtime_ns != written
    with (tmp_path / "out" / "published.csv").open() as file:
        ours = list(csv.DictReader(file))[-1]
    assert ours["00"] == "–"  # every second image does not fill the papers' column
    assert float(ours["00, a part"]) > 0


def test_a_folder_without_sequences_is_one_sentence(scal3r: Scal3r, tmp_path: Path) -> None:
    for folder, sentence in ((tmp_path, "holds no sequence of TUM RGB-D"), (tmp_path / "none", "is no folder")):
        done = scal3r("benchmark", "tum", folder)
        assert done.code == 1
        assert sentence in done.err
        assert len(done.err.splitlines()) == 1


def test_true_poses_at_a_rate_of_their_own_are_taken_by_time() -> None:
    truth = Trajectory(np.arange(10) * 10**8, np.tile(np.eye(4), (10, 1, 1)) * np.arange(1, 11)[:, None, None])
    estimate = Trajectory(np.array([30_000_000, 440_000_000, 960_000_000]), np.tile(np.eye(4), (3, 1, 1)))
    matched = truth_at(truth, estimate)
    np.testing.assert_array_equal(
        matched.stamps_ns, estimate.stamps_ns[:2]
    )  # the last lies 60 ms after the truth's end
    np.testing.assert_array_equal(matched.T_ref_cam[:, 0, 0], [1, 5])


def test_depth_of_a_set_is_compared_at_the_keyframes(
    scal3r: Scal3r, tmp_path: Path, street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    folder, camera = tmp_path / "vkitti" / "Scene01" / "clone", street_camera
    intrinsic, extrinsic = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"], ["frame cameraID r1,1 r1,2 r1,3 t1"]
    for kind in ("rgb", "depth"):
        (folder / "frames" / kind / "Camera_0").mkdir(parents=True)
    for number, frame in enumerate(street_frames[:COUNT]):
        cv2.imwrite(str(folder / "frames/rgb/Camera_0" / f"rgb_{number:05d}.jpg"), frame.image[..., ::-1])
        centimetres = np.clip(frame.depth_m * 100, 0, 65535).astype(np.uint16)
        cv2.imwrite(str(folder / "frames/depth/Camera_0" / f"depth_{number:05d}.png"), centimetres)
        intrinsic.append(f"{number} 0 {camera.fx} {camera.fy} {camera.cx} {camera.cy}")
        extrinsic.append(f"{number} 0 " + " ".join(map(str, np.linalg.inv(frame.T_ref_cam).ravel().tolist())))
    (folder / "intrinsic.txt").write_text("\n".join(intrinsic) + "\n")
    (folder / "extrinsic.txt").write_text("\n".join(extrinsic) + "\n")
    done = scal3r("benchmark", "vkitti", tmp_path / "vkitti", "-o", tmp_path / "out", *SMALL)
    assert done.code == 0, done
    with (tmp_path / "out" / "depth.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["median error [%]"]) < 8.0  # of 64 pixels a row
    assert int(row["keyframes"]) >= 8
    # `scal3r evaluate` reads the same depth, of all images.
    (result,) = (path.parent for path in (tmp_path / "out").glob("*/run.yaml"))
    assert scal3r("evaluate", result, "--truth", folder, "-o", tmp_path / "report").code == 0
    assert "confident_fraction" in (tmp_path / "report" / "metrics.json").read_text()
