"""`scal3r replay --rerun`: a recording that Rerun's own reader opens, and a clear error without the package."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scal3r_ros.io.clouds.ply import read_ply
from scal3r_ros.io.trajectories import read_trajectory

Scal3r = Callable[..., Any]
SMALL = ("--set", "geometric.sweep.width=64", "--set", "geometric.sweep.planes=8", "--set", "window.size=8",
         "--set", "window.overlap=3")  # fmt: skip


def columns_of(path: Path) -> dict[str, dict[str, list[Any]]]:
    """Every column of a recording by entity, rows in order of time."""
    chunks = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed")
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for chunk in chunks.RrdReader(path).stream().to_chunks():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            found[str(chunk.entity_path)][name] += batch.column(name).to_pylist()
    return found


def test_the_recording_has_the_map_the_path_and_the_camera(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    file = tmp_path / "new" / "street.rrd"
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--rerun", file, *SMALL)
    assert done.code == 0, done
    entities = columns_of(file)
    (points,) = entities["/map/points/all"]["Points3D:positions"]
    cloud = read_ply(tmp_path / "out" / "map.ply")
    np.testing.assert_allclose(np.array(points), cloud.points, atol=1e-4)
    path = np.array(entities["/map/path"]["LineStrips3D:strips"][-1][0])
    trajectory = read_trajectory(tmp_path / "out" / "trajectory.tum")
    np.testing.assert_allclose(path, trajectory.T_ref_cam[:, :3, 3], atol=1e-3)
    assert "/map/truth" in entities
    camera = entities["/map/camera"]
    places = np.array(camera["Transform3D:translation"]).reshape(-1, 3)
    assert len(places) > 3
    assert np.linalg.norm(places[-1] - places[0]) > 3.0
    stamps = {int(np.datetime64(stamp, "ns").astype(np.int64)) for stamp in camera["image"]}
    assert stamps <= set(trajectory.stamps_ns.tolist())  # of the images, not of this machine's clock


def test_without_the_package_it_is_named_before_anything_is_mapped(
    scal3r: Scal3r, street_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "rerun" else find_spec(name))
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--rerun", tmp_path / "a.rrd", *SMALL)
    assert done.code == 1
    assert "rerun-sdk" in done.err
    assert not (tmp_path / "out").exists()


def test_a_name_that_rerun_cannot_write_is_one_sentence(scal3r: Scal3r, street_bag: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    done = scal3r("replay", street_bag, "-o", tmp_path / "out", "--rerun", tmp_path / "caf\udce9.rrd", *SMALL)
    assert done.code == 1
    assert "Rerun needs a name in UTF-8" in done.err
