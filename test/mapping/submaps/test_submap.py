"""Where a new submap lies in `odom`, also where its chunk makes no sense."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.submaps.submap import place
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame

SMALL = Intrinsics(8.0, 8.0, 3.5, 2.5, 8, 6)
IMAGE = np.zeros((6, 8, 3), np.uint8)
SHARED = 3


def chunk_of(index: int, first: int, unit: float) -> tuple[Chunk, ChunkGeometry]:
    """Eight cameras that drive ahead, without depth or tracks, in a unit that makes their way `unit` times as long."""
    numbers = range(first, first + 8)
    frames = tuple(Frame(number, number, IMAGE, SMALL) for number in numbers)
    T = np.stack([se3.se3(np.eye(3), [0.1 * unit * np.sin(n), 0.0, unit * n]) for n in range(8)])
    nothing = np.zeros((8, 6, 8), np.float32)
    return Chunk(index, frames, SHARED if index else 0), ChunkGeometry(T, (SMALL,) * 8, nothing, nothing)


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-9, 1e-14, 1e9, np.nan])
def test_every_chunk_finds_a_place_that_the_graph_takes(unit: float) -> None:
    config = MapperConfig()
    first = place(*chunk_of(0, 0, 1.0), None, config)
    second = place(*chunk_of(1, 5, unit), first.submap, config)
    graph = SubmapGraph()
    graph.add_submap(0, anchor=first.submap.S_odom_submap)
    graph.add_submap(1, second.edge)
    assert 1e-3 < graph.anchor(1).scale / graph.anchor(0).scale < 1e3


def test_a_chunk_out_of_all_proportion_is_joined_where_both_stood_last() -> None:
    config = MapperConfig()
    first = place(*chunk_of(0, 0, 1.0), None, config)
    chunk, geometry = chunk_of(1, 5, 1e-9)
    second = place(chunk, geometry, first.submap, config)
    assert "out of all proportion" in second.note
    there = second.submap.S_odom_submap.apply(geometry.T_chunk_cam[SHARED - 1, :3, 3])
    np.testing.assert_allclose(there, first.submap.S_odom_submap.apply(first.submap.last_centre), atol=1e-9)
