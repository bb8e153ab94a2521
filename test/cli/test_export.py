"""`scal3r replay --save-map`, `--load-map` and `scal3r export`: maps go to disk, go on, and open elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import pytest
import yaml
from evo.tools import file_interface

from scal3r_ros.io.trajectories import read_trajectory
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
    clouds = [np.asarray(o3d.io.read_point_cloud(str(tmp_path / name)).points) for name in ("a.ply", "a.pcd")]
    assert len(clouds[0]) > 100
    np.testing.assert_array_equal(*clouds)
    assert file_interface.read_tum_trajectory_file(tmp_path / "new" / "a.tum").num_poses == 24
    images = [line for line in (tmp_path / "model" / "images.txt").read_text().splitlines() if ".png" in line]
    stamps = read_trajectory(tmp_path / "new" / "a.tum").stamps_ns
    assert [line.split()[9] for line in images] == [f"drive_0/{stamp:019d}.png" for stamp in stamps]


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
    [((), "nothing to export"), (("--tum", "a.tum", "--drive", 1), "has 1 drives"), (("--ply", "file/a"), "written")],
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
