"""`scal3r replay --save-map`, `--load-map` and `scal3r export`: maps go to disk, go on, and open elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import laspy
import numpy as np
import open3d as o3d
import pytest
import yaml
from evo.tools import file_interface
from rosbags.highlevel import AnyReader

from scal3r_ros.io.bags.topics import typestore
from scal3r_ros.io.clouds.ply import read_ply
from scal3r_ros.io.datasets import find_sequence
from scal3r_ros.io.sources import open_source
from scal3r_ros.io.trajectories import read_times, read_trajectory
from scal3r_ros.mapping.storage.contents import SavedMap

Scal3r = Callable[..., Any]
SMALL = ("--set", "geometric.sweep.width=64", "--set", "geometric.sweep.planes=8", "--set", "window.size=8",
         "--set", "window.overlap=3")  # fmt: skip


@pytest.fixture
def saved(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> Path:
    """The street's map, the result of its run beside it in `out`."""
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--save-map", tmp_path / "map", *SMALL)
    assert done.code == 0, done
    return tmp_path / "map"


def test_a_saved_map_is_what_the_run_wrote_in_every_format(scal3r: Scal3r, saved: Path, tmp_path: Path) -> None:
    wanted = ("--ply", tmp_path / "a.ply", "--pcd", tmp_path / "a.pcd", "--tum", tmp_path / "new" / "a.tum")
    done = scal3r("export", saved, *wanted, "--colmap", tmp_path / "model")
    assert done.code == 0, done
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "out" / "map.ply").read_bytes()
    assert (tmp_path / "new" / "a.tum").read_bytes() == (tmp_path / "out" / "trajectory.tum").read_bytes()
    assert "coordinates are not in metres" in done.err
    clouds = [np.asarray(o3d.io.read_point_cloud(str(tmp_path / name)).points) for name in ("a.ply", "a.pcd")]
    assert len(clouds[0]) > 100
    np.testing.assert_array_equal(*clouds)
    assert file_interface.read_tum_trajectory_file(tmp_path / "new" / "a.tum").num_poses == 24
    images = [line for line in (tmp_path / "model" / "images.txt").read_text().splitlines() if ".png" in line]
    stamps = read_trajectory(tmp_path / "new" / "a.tum").stamps_ns
    assert [line.split()[9] for line in images] == [f"drive_0/{stamp:019d}.png" for stamp in stamps]


def test_images_of_the_drive_come_with_points_that_they_see(
    scal3r: Scal3r, saved: Path, street_bag: Path, tmp_path: Path
) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    wanted = ("--colmap", tmp_path / "colmap", "--nerfstudio", tmp_path / "ns", "--images", street_bag)
    for source in (saved, tmp_path / "out"):  # a map and a result alike
        done = scal3r("export", source, *wanted, "--every", 2)
        assert done.code == 0, done
        model = pycolmap.Reconstruction(tmp_path / "colmap" / "sparse" / "0")
        model.update_point_3d_errors()
        assert model.num_reg_images() == 12
        assert model.num_points3D() > 50
        assert model.compute_mean_track_length() >= 3
        assert model.compute_mean_reprojection_error() < 1.0
    with open_source(street_bag) as reader:
        frames = {frame.stamp_ns: frame.image for frame in reader.frames()}
    for image in model.images.values():
        pixels = cv2.imread(str(tmp_path / "colmap" / "images" / image.name))
        np.testing.assert_array_equal(pixels[..., ::-1], frames[int(image.name.removesuffix(".png"))])
    again = find_sequence(tmp_path / "ns")
    assert again is not None
    assert again.ground_truth is not None
    assert [path.name for path in again.paths] == sorted(image.name for image in model.images.values())
    every = read_trajectory(tmp_path / "out" / "trajectory.tum").T_ref_cam
    np.testing.assert_allclose(again.ground_truth.T_ref_cam, every[::2], atol=1e-6)
    cloud = np.asarray(o3d.io.read_point_cloud(str(tmp_path / "ns" / "points.ply")).points)
    assert len(cloud) == len(read_ply(tmp_path / "out" / "map.ply").points)


def test_a_map_in_metres_says_what_measured_them(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    height = ("--set", "scale.camera_height=1.65", "--set", "geometric.sweep.width=160")
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--save-map", tmp_path / "map", *SMALL, *height)
    assert done.code == 0, done
    assert yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["scale"]["sources"] == ["camera_height"]
    for source in (tmp_path / "map", tmp_path / "out"):
        done = scal3r("export", source, "--las", tmp_path / "a.las", "--ply", tmp_path / "a.ply")
        assert done.code == 0, done
        assert "coordinates are in metres, by camera_height" in done.err
        assert b"metres, by camera_height" in (tmp_path / "a.ply").read_bytes()
        assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "out" / "map.ply").read_bytes()
        assert b'UNIT["metre",1]' in (tmp_path / "a.las").read_bytes()


def test_an_aligned_map_is_in_metres_and_in_the_frame_of_the_trajectory(
    scal3r: Scal3r, saved: Path, street_bag: Path, tmp_path: Path
) -> None:
    wanted = ("--tum", tmp_path / "a.tum", "--las", tmp_path / "a.laz", "--kitti", tmp_path / "k.txt")
    done = scal3r("export", saved, *wanted, "--bag", tmp_path / "bag", "--align", street_bag)
    assert done.code == 0, done
    assert f"coordinates are in metres, by {street_bag.name}" in done.err
    with open_source(street_bag) as reader:
        truth = reader.ground_truth()
    assert truth is not None
    moved = read_trajectory(tmp_path / "a.tum")
    rows = np.searchsorted(truth.stamps_ns, moved.stamps_ns)
    away = np.linalg.norm((moved.T_ref_cam - truth.T_ref_cam[rows])[:, :3, 3], axis=1)
    length = np.linalg.norm(np.diff(truth.T_ref_cam[:, :3, 3], axis=0), axis=1).sum()
    assert away.max() < 0.03 * length
    with laspy.open(tmp_path / "a.laz") as las:
        assert las.header.point_count == len(read_ply(tmp_path / "out" / "map.ply").points)
    np.testing.assert_allclose(
        read_trajectory(tmp_path / "k.txt", read_times(tmp_path / "k_times.txt")).T_ref_cam, moved.T_ref_cam, atol=1e-7
    )
    with AnyReader([tmp_path / "bag"], default_typestore=typestore()) as reader:
        assert {topic: found.msgcount for topic, found in reader.topics.items()}["/odometry"] == len(moved)


def test_a_map_is_loaded_and_the_drive_goes_on_in_a_frame_of_its_own(
    scal3r: Scal3r, saved: Path, street_bag: Path, tmp_path: Path
) -> None:
    before = SavedMap(saved).drives()
    done = scal3r("replay", street_bag, "-o", tmp_path / "again", "--load-map", saved, "--save-map", saved, *SMALL)
    assert done.code == 1
    assert "would be lost" in done.err
    assert "was not found again" in done.err
    assert len(read_trajectory(tmp_path / "again" / "trajectory.tum")) == 24
    assert yaml.safe_load((tmp_path / "again" / "run.yaml").read_text())["loaded_map"] == "map"
    after = SavedMap(saved).drives()
    assert len(before) == len(after) == 1
    np.testing.assert_array_equal(before[0].T_ref_cam, after[0].T_ref_cam)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "nothing to export"),
        (("--tum", "a.tum", "--drive", 1), "has 1 drives"),
        (("--ply", "file/a"), "written"),
        (("--nerfstudio", "a"), "--images"),
        (("--las", "a.xyz"), "neither .las nor .laz"),
        (("--colmap", "a", "--images", "other"), "stamp of a posed frame"),
    ],
)
def test_what_can_not_be_exported_is_one_sentence(
    scal3r: Scal3r,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("other").mkdir()
    cv2.imwrite("other/5.0.png", np.zeros((20, 30), np.uint8))
    done = scal3r("export", saved, *arguments)
    assert done.code == 1
    assert sentence in done.err
    assert len(done.err.splitlines()) == 1


def test_a_folder_without_a_map_is_told_before_anything_is_mapped(
    scal3r: Scal3r, street_bag: Path, tmp_path: Path
) -> None:
    for command in (
        ("export", tmp_path, "--ply", tmp_path / "a.ply"),
        ("replay", street_bag, "-o", tmp_path / "out", "--load-map", tmp_path, *SMALL),
    ):
        done = scal3r(*command)
        assert done.code == 1
        assert "holds no map" in done.err
    (tmp_path / "file").write_text("")
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--save-map", tmp_path / "file", *SMALL)
    assert done.code == 1
    assert "no map can be written into" in done.err
    assert "posed" not in done.err


def test_a_result_becomes_a_mesh(scal3r: Scal3r, saved: Path, tmp_path: Path) -> None:
    done = scal3r("export", tmp_path / "out", "--mesh", tmp_path / "a.ply", "--mesh-cell", "0.5")
    assert done.code == 0, done
    done = scal3r("export", saved, "--mesh", tmp_path / "a.glb", "--mesh-cell", "0.5")
    assert done.code == 0, done
    meshes = [o3d.io.read_triangle_mesh(str(tmp_path / name)) for name in ("a.ply", "a.glb")]
    counts = [len(mesh.triangles) for mesh in meshes]
    assert counts[0] > 500
    assert counts[1] == pytest.approx(counts[0], rel=0.02)
    cloud = o3d.io.read_point_cloud(str(tmp_path / "out" / "map.ply"))
    vertices = o3d.geometry.PointCloud(meshes[0].vertices)
    assert np.asarray(vertices.compute_point_cloud_distance(cloud)).max() < 1.1
    assert meshes[0].has_vertex_colors()
    assert scal3r("export", saved, "--mesh", tmp_path / "a.obj").code == 1
