"""When the camera is found in a loaded map: not by one loop, not by two that contradict, but by two that agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.storage.relocalization import LoadedMap

STEP = Sim3.from_log([8.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0])
S_LOADED_OWN = Sim3.from_log([30.0, -5.0, 1.0, 0.1, 0.2, -0.5, 0.3])
COVARIANCE = np.diag([0.01] * 3 + [1e-4] * 3 + [1e-4])


def chain(first: int, count: int, start: Sim3) -> SubmapGraph:
    graph = SubmapGraph()
    for number in range(count):
        edge = Edge(first + number - 1, first + number, STEP, COVARIANCE) if number else None
        graph.add_submap(first + number, edge, None if number else start)
    return graph


@pytest.fixture
def loaded() -> LoadedMap:
    return LoadedMap(Path("town"), chain(0, 10, Sim3.identity()).snapshot(), {}, {})


@pytest.fixture
def own(loaded: LoadedMap) -> dict[int, Sim3]:
    """Anchors of a drive that truly begins at submap 3 of the loaded map."""
    return chain(10, 5, S_LOADED_OWN.inverse() @ loaded.anchors[3]).anchors()


def loop(i: int, j: int, error: Sim3 | None = None) -> Edge:
    """Submap i of the loaded map and j of the own drive, which are the same places from 3 and 10 on."""
    true = Sim3.identity()
    for _ in range(j - 10 - (i - 3)):
        true = true @ STEP
    return Edge(i, j, true @ (error or Sim3.identity()), COVARIANCE, EdgeKind.LOOP)


def test_two_loops_that_agree_place_the_drive(loaded: LoadedMap, own: dict[int, Sim3]) -> None:
    assert len(loaded) == loaded.next_submap == 10
    assert loaded.consider(loop(3, 10), own) is None
    found = loaded.consider(loop(4, 12), own)
    assert found is not None
    np.testing.assert_allclose(found.S_loaded_own.matrix, S_LOADED_OWN.matrix, atol=1e-9)
    assert [edge.kind for edge in found.edges] == [EdgeKind.ODOMETRY, EdgeKind.LOOP]
    assert {(edge.i, edge.j) for edge in found.edges} == {(3, 10), (4, 12)}


@pytest.mark.parametrize("error", [[9.0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0.5, 0, 0], [0, 0, 0, 0, 0, 0, 0.5]])
def test_loops_that_contradict_place_nothing_until_one_finds_a_partner(
    loaded: LoadedMap, own: dict[int, Sim3], error: list[float]
) -> None:
    assert loaded.consider(loop(3, 10, Sim3.from_log(error)), own) is None
    assert loaded.consider(loop(4, 11), own) is None
    found = loaded.consider(loop(6, 13), own)
    assert found is not None
    assert {(edge.i, edge.j) for edge in found.edges} == {(4, 11), (6, 13)}
    np.testing.assert_allclose(found.S_loaded_own.matrix, S_LOADED_OWN.matrix, atol=1e-9)


def test_an_edge_the_other_way_round_counts_with_its_covariance(loaded: LoadedMap, own: dict[int, Sim3]) -> None:
    forth = loop(4, 12, Sim3.from_log([0.1, 0.0, 0.0, 0.0, 0.02, 0.0, 0.01]))
    covariance = np.diag([0.04, 0.01, 0.01, 1e-4, 4e-4, 1e-4, 1e-4])
    back = Edge(12, 4, forth.S_i_j.inverse(), covariance, EdgeKind.LOOP)
    loaded.consider(loop(3, 10), own)
    found = loaded.consider(back, own)
    assert found is not None
    turned = next(edge for edge in found.edges if edge.j == 12)
    np.testing.assert_allclose(turned.S_i_j.matrix, forth.S_i_j.matrix, atol=1e-9)
    rng = np.random.default_rng(0)  # an independent oracle: inverses of noisy transforms
    noise = rng.multivariate_normal(np.zeros(7), 1e-4 * covariance, 20_000)
    samples = [(turned.S_i_j.inverse() @ (back.S_i_j @ Sim3.from_log(xi)).inverse()).log() for xi in noise[:4000]]
    np.testing.assert_allclose(1e4 * np.cov(np.array(samples).T), turned.covariance, atol=0.1 * covariance.max())


def test_an_edge_to_a_submap_that_nobody_has_is_refused(loaded: LoadedMap, own: dict[int, Sim3]) -> None:
    with pytest.raises(MappingError, match="submap 99"):
        loaded.consider(Edge(3, 99, STEP, COVARIANCE, EdgeKind.LOOP), own)
    assert loaded.consider(loop(3, 10), own) is None
    assert loaded.consider(loop(4, 12), own) is not None
