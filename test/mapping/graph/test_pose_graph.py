"""The submap graph: odometry composes, loops close, wrong loops fade, and the noise is ordered as GTSAM wants it."""

import time

import gtsam
import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import odometry_edge, unknown_covariance
from scal3r_ros.mapping.graph.pose_graph import Edge, EdgeKind, SubmapGraph

SIGMAS = np.array([0.05, 0.05, 0.05, 0.005, 0.005, 0.005, 0.01])
LOOSE, TIGHT = np.diag(SIGMAS**2), 1e-6 * np.eye(7)
START = Sim3.from_log([1.0, 2.0, 3.0, 0.4, 0.5, 0.6, 0.0])


def circle(count, radius=10.0):
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [
        START @ Sim3(1.0, se3.rotation_exp([0, 0, a]), radius * np.array([np.cos(a) - 1, np.sin(a), 0])) for a in angles
    ]


def drifting(count, seed=0, bias=(0, 0, 0, 0, 0, 0, 0.01)):
    """A graph whose odometry around a circle is noisy and loses scale, and where its submaps truly lie."""
    rng = np.random.default_rng(seed)
    true = circle(count)
    graph = SubmapGraph()
    graph.add_submap(0, anchor=START)
    for k in range(1, count):
        drift = Sim3.from_log(np.array(bias) + rng.normal(size=7) * SIGMAS)
        graph.add_submap(k, Edge(k - 1, k, true[k - 1].inverse() @ true[k] @ drift, LOOSE))
    return graph, true


def errors(graph, true):
    return np.array([np.linalg.norm(graph.anchor(k).t - S.t) for k, S in enumerate(true)])


def loop(true, i, j, covariance=TIGHT):
    return Edge(i, j, true[i].inverse() @ true[j], covariance, EdgeKind.LOOP)


def test_odometry_composes_from_the_first_anchor():
    graph, _ = drifting(5)
    S = START
    for edge in graph.edges:
        S = S @ edge.S_i_j
        np.testing.assert_allclose(graph.anchor(edge.j).matrix, S.matrix, atol=1e-12)
    assert list(graph.anchors()) == [0, 1, 2, 3, 4]
    assert len(graph) == 5


def test_without_loops_optimising_moves_nothing():
    graph, _ = drifting(50)
    before = graph.anchors()
    assert graph.optimise() is False
    assert all(graph.anchor(k) is S for k, S in before.items())


@pytest.mark.parametrize("seed", range(5))
def test_a_loop_closes_a_circle_that_lost_its_scale(seed):
    graph, true = drifting(30, seed)
    before = errors(graph, true)
    assert before[-1] > 0.5
    graph.add_edge(loop(true, 0, 29))
    assert graph.optimise() is True
    after = errors(graph, true)
    assert after[-1] < 0.02
    assert abs(graph.anchor(29).scale - 1) < 0.01
    assert after.mean() < before.mean()
    np.testing.assert_allclose(graph.anchor(0).matrix, START.matrix, atol=1e-6)
    assert graph.optimise() is False


def test_the_solution_is_where_an_independent_optimiser_ends():
    graph, true = drifting(12)
    graph.add_edge(Edge(2, 11, true[2].inverse() @ true[11], LOOSE, EdgeKind.ODOMETRY))
    initial = graph.anchors()
    edges = graph.edges
    graph.optimise()

    def cost(anchors):
        delta = [(e.S_i_j.inverse() @ anchors[e.i].inverse() @ anchors[e.j]).log() for e in edges]
        return sum(float(d @ np.linalg.solve(e.covariance, d)) for d, e in zip(delta, edges, strict=True))

    solved = graph.anchors()
    assert cost(solved) < cost(initial)
    rng = np.random.default_rng(0)
    for _ in range(200):  # a minimum: no small step of any anchor but the fixed first lowers the cost
        k = int(rng.integers(1, 12))
        nudged = solved | {k: solved[k] @ Sim3.from_log(rng.normal(size=7) * SIGMAS * 0.1)}
        assert cost(nudged) > cost(solved)


def test_covariance_is_in_the_order_of_the_tangent():
    """Of two measurements that disagree in translation and rotation alike, each direction follows the surer one."""
    S = Sim3.from_log([0.4, 0.0, 0.0, 0.0, 0.2, 0.0, 0.1])
    sure_of_translation = np.diag([1e-8, 1e-8, 1e-8, 1.0, 1.0, 1.0, 1.0])
    sure_of_rotation = np.diag([1.0, 1.0, 1.0, 1e-8, 1e-8, 1e-8, 1e-8])
    graph = SubmapGraph()
    graph.add_submap(0)
    graph.add_submap(1, Edge(0, 1, Sim3.identity(), sure_of_translation))
    graph.add_edge(Edge(0, 1, S, sure_of_rotation))
    graph.optimise()
    estimate = graph.anchor(1).log()
    np.testing.assert_allclose(estimate[:3], 0, atol=1e-3)
    np.testing.assert_allclose(estimate[3:], S.log()[3:], atol=1e-3)


def test_gtsams_similarity_has_the_tangent_the_graph_takes_it_to_have():
    S = gtsam.Similarity3.Expmap(np.array([0, 0, 0, 0, 0, 0, 0.5]))
    assert S.scale() == pytest.approx(np.exp(0.5))
    S = gtsam.Similarity3.Expmap(np.array([0.3, 0, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(S.rotation().matrix(), se3.rotation_exp([0.3, 0, 0]), atol=1e-12)


def test_a_wrong_loop_fades_against_sure_odometry():
    sure = [0.0] * 7
    clean, true = drifting(30, bias=sure)
    graph, _ = drifting(30, bias=sure)
    for g in (clean, graph):
        g.add_edge(loop(true, 0, 29))
        g.optimise()
    graph.add_edge(
        Edge(5, 20, true[5].inverse() @ true[20] @ Sim3(1.0, np.eye(3), np.array([30.0, 0, 0])), TIGHT, EdgeKind.LOOP)
    )
    graph.optimise()
    assert errors(graph, true).max() < errors(clean, true).max() + 1.0


def test_loops_go_on_being_taken_in_as_the_drive_goes_on():
    graph, true = drifting(40)
    for j in (15, 25, 39):
        graph.add_edge(loop(true, 0, j))
        assert graph.optimise() is True
        assert errors(graph, true)[[0, j]].max() < 0.02
    drift = Sim3.from_log(SIGMAS)
    graph.add_submap(40, Edge(39, 40, drift, LOOSE))
    np.testing.assert_allclose(graph.anchor(40).matrix, (graph.anchor(39) @ drift).matrix, atol=1e-12)
    assert graph.optimise() is False


def test_a_restored_graph_goes_on_as_the_original_would():
    graph, true = drifting(30)
    graph.add_edge(loop(true, 0, 20))
    graph.optimise()
    graph.add_edge(loop(true, 3, 29))  # not yet optimised
    restored = SubmapGraph()
    restored.restore(graph.snapshot())
    for k, S in graph.anchors().items():
        np.testing.assert_array_equal(restored.anchor(k).matrix, S.matrix)
    for g in (graph, restored):
        assert g.optimise() is True
        g.add_submap(30, Edge(29, 30, START, LOOSE))
    for k, S in graph.anchors().items():
        np.testing.assert_allclose(restored.anchor(k).matrix, S.matrix, atol=1e-5)
    assert [edge.kind for edge in restored.edges] == [edge.kind for edge in graph.edges]


def test_an_empty_graph_can_be_kept_and_restored():
    graph = SubmapGraph()
    graph.restore(SubmapGraph().snapshot())
    assert len(graph) == 0
    assert graph.optimise() is False


def test_a_loop_in_a_long_drive_is_taken_in_within_seconds():
    graph, true = drifting(1000, bias=[0.0] * 7)
    graph.add_edge(loop(true, 0, 999))
    start = time.thread_time()
    graph.optimise()
    assert time.thread_time() - start < 5.0
    assert errors(graph, true)[-1] < 0.1


def test_submaps_and_edges_out_of_order_are_refused():
    graph, true = drifting(3)
    edge = Edge(2, 3, START, LOOSE)
    with pytest.raises(MappingError, match="already"):
        graph.add_submap(2, edge)
    for bad in (None, Edge(1, 2, START, LOOSE), Edge(7, 3, START, LOOSE)):
        with pytest.raises(MappingError, match="needs an edge"):
            graph.add_submap(3, bad)
    with pytest.raises(MappingError, match="first"):
        SubmapGraph().add_submap(0, edge)
    with pytest.raises(MappingError, match="needs two submaps"):
        graph.add_edge(loop([*true, START], 0, 3))
    with pytest.raises(MappingError, match="not in the graph"):
        graph.anchor(3)


@pytest.mark.parametrize(
    ("unit", "covariance"),
    [
        (1.0, np.zeros((7, 7))),
        (1.0, np.full((7, 7), np.nan)),
        (1.0, np.ones((7, 7))),
        (1e-6, np.diag([1e-20] * 3 + [1e-4] * 4) + 1e-12 * np.ones((7, 7))),
        (1e4, np.diag([1e10] * 3 + [1e-6] * 4)),
    ],
)
def test_odometry_of_a_degenerate_chunk_is_an_edge_like_any_other(unit, covariance):
    """Whatever the unit of its submap, and however little it says, the graph takes it and stays solvable."""
    graph, true = SubmapGraph(), circle(4)
    in_unit = np.diag(SIGMAS**2 * ([unit**2] * 3 + [1.0] * 4))
    graph.add_submap(0, anchor=true[0])
    for k in range(1, 4):
        step = true[k - 1].inverse() @ true[k]
        step = Sim3(step.scale, step.R, unit * step.t)
        graph.add_submap(k, odometry_edge(k - 1, k, step, covariance if k == 2 else in_unit))
    graph.add_edge(Edge(0, 3, graph.anchor(0).inverse() @ graph.anchor(3), in_unit, EdgeKind.LOOP))
    graph.optimise()
    assert all(np.isfinite(graph.anchor(k).t).all() for k in range(4))


def test_a_usable_covariance_of_odometry_is_only_widened():
    edge = odometry_edge(0, 1, START, LOOSE)
    assert np.linalg.eigvalsh(edge.covariance - LOOSE)[0] >= -1e-15
    np.testing.assert_allclose(edge.covariance - np.diag(np.diag(edge.covariance)), 0.0, atol=1e-15)


@pytest.mark.parametrize(
    "covariance", [np.zeros((7, 7)), np.eye(6), np.full((7, 7), np.nan), np.triu(np.ones((7, 7))) + np.eye(7)]
)
def test_covariances_that_are_none_are_refused(covariance):
    graph, true = drifting(3)
    with pytest.raises(MappingError, match="positive definite"):
        graph.add_edge(loop(true, 0, 2, covariance))
    with pytest.raises(MappingError, match="positive definite"):
        graph.add_submap(3, Edge(2, 3, START, covariance))
    assert len(graph) == 3


def test_another_graph_is_absorbed_in_its_own_frame_and_joined_by_an_edge():
    earlier, true = drifting(20)
    earlier.add_edge(loop(true, 0, 19))
    earlier.optimise()
    S = Sim3.from_log([50.0, -20.0, 3.0, 0.3, 0.1, -0.2, 0.4])  # where the own frame truly lies in the earlier one
    own = SubmapGraph()
    own.add_submap(20, anchor=S.inverse() @ true[10])
    for k in range(1, 5):
        own.add_submap(20 + k, Edge(19 + k, 20 + k, true[9 + k].inverse() @ true[10 + k], LOOSE))
    before = earlier.anchors()
    own.absorb(earlier.snapshot(), S)
    assert list(own.anchors()) == list(range(25))
    for index, anchor in before.items():
        np.testing.assert_allclose(own.anchor(index).matrix, anchor.matrix, atol=1e-12)
    np.testing.assert_allclose(own.anchor(22).matrix, true[12].matrix, atol=1e-9)
    own.add_edge(Edge(12, 22, Sim3.identity(), TIGHT))
    assert own.optimise()
    np.testing.assert_allclose(own.anchor(22).matrix, own.anchor(12).matrix, atol=1e-3)
    own.add_edge(Edge(14, 24, Sim3.identity(), TIGHT, EdgeKind.LOOP))
    own.optimise()
    np.testing.assert_allclose(own.anchor(24).matrix, own.anchor(14).matrix, atol=1e-2)
    with pytest.raises(MappingError, match="submap 0 is in both"):
        own.absorb(earlier.snapshot(), S)


def broken(count, first_lost, seed=0):
    """A circle whose submaps from `first_lost` on have a place and scale of their own, and where they truly lie."""
    rng = np.random.default_rng(seed)
    true, graph = circle(count), SubmapGraph()
    graph.add_submap(0, anchor=START)
    for k in range(1, count):
        if k == first_lost:
            guess = Sim3.from_log([3.0, 1.0, -2.0, 1.0, 0.3, -0.5, 1.2])
            graph.add_submap(k, Edge(k - 1, k, guess, unknown_covariance(), EdgeKind.BRIDGE))
            continue
        noise = Sim3.from_log(0.1 * rng.normal(size=7) * SIGMAS)
        graph.add_submap(k, Edge(k - 1, k, true[k - 1].inverse() @ true[k] @ noise, LOOSE))
    return graph, true


def test_a_segment_is_joined_at_its_own_scale():
    graph, true = broken(12, 7)
    assert graph.unconnected == 5
    assert errors(graph, true)[7:].min() > 1.0
    graph.join(loop(true, 2, 9))
    graph.add_edge(loop(true, 3, 10))
    assert graph.unconnected == 0
    assert graph.optimise()
    assert errors(graph, true).max() < 0.1
    assert max(abs(np.log(graph.anchor(k).scale / S.scale)) for k, S in enumerate(true)) < 0.02
    with pytest.raises(MappingError, match="one segment already"):
        graph.join(loop(true, 1, 8))


def test_segments_survive_a_snapshot():
    graph, true = broken(12, 7)
    again = SubmapGraph()
    again.restore(graph.snapshot())
    assert again.segments == graph.segments
    again.join(loop(true, 2, 9))
    assert again.unconnected == 0
