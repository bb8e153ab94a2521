"""`scal3r export --nav2`: the grid of a run for Nav2's map_server, from a result and from a saved map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from nav2_map import read_nav2

from scal3r_ros.io.trajectories import read_trajectory

Scal3r = Callable[..., Any]
SMALL = ("--set", "geometric.sweep.width=128", "--set", "geometric.sweep.planes=32", "--set", "window.size=8",
         "--set", "window.overlap=3")  # fmt: skip


def test_a_result_and_a_saved_map_give_the_map_that_was_driven(
    scal3r: Scal3r, street_bag: Path, tmp_path: Path
) -> None:
    metres = ("--set", "scale.camera_height=1.65", "--set", "occupancy.max_range=15.0")
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--save-map", tmp_path / "map", *SMALL, *metres)
    assert done.code == 0, done
    maps = []
    for source in ("out", "map"):
        path = tmp_path / source / "nav2" / "street.yaml"
        done = scal3r("export", tmp_path / source, "--nav2", path)
        assert done.code == 0, done
        assert "cells of 0.1 m in street.pgm" in done.err
        maps.append(read_nav2(path))
    np.testing.assert_array_equal(maps[0].cells, maps[1].cells)
    assert maps[0].origin == maps[1].origin
    assert set(np.unique(maps[0].cells)) == {-1, 0, 100}
    driven = read_trajectory(tmp_path / "out" / "trajectory.tum").T_ref_cam[:, :2, 3]
    seen = driven[np.linalg.norm(driven - driven[0], axis=1) > 6.0]
    column, row = np.floor((seen - maps[0].origin[:2]) / maps[0].resolution).astype(int).T
    assert len(seen) > 3
    assert not (maps[0].cells[row, column] == 100).any()
    assert (maps[0].cells[row, column] == 0).mean() > 0.5


def test_a_map_without_metres_is_refused_with_what_to_do(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    assert scal3r("replay", street_bag, "-o", tmp_path / "out", *SMALL).code == 0
    done = scal3r("export", tmp_path / "out", "--nav2", tmp_path / "street.yaml")
    assert done.code != 0
    assert "scale.camera_height" in done.err
    assert not (tmp_path / "street.yaml").exists()
    done = scal3r("export", tmp_path / "out", "--nav2", tmp_path / "street.pgm")
    assert done.code != 0
    assert "no .yaml file" in done.err
