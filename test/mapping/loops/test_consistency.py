"""Which loops are accepted, and that wrong ones do not move the map: false, lone, implausible or contradicting ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind, odometry_edge
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.loops.consistency import LoopConsistency

LAP = 40
SIGMAS = np.array([0.1] * 3 + [0.005] * 3 + [0.01])
COVARIANCE = np.diag(SIGMAS**2)


def two_laps(seed: int = 0, bias: float = 0.004) -> tuple[SubmapGraph, list[Sim3]]:
    """Two laps of 300 m on noisy odometry that loses scale, and the true anchors."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(2 * LAP) / LAP
    true = [
        Sim3(1.0, se3.rotation_exp([0, 0, a]), 300.0 / (2 * np.pi) * np.array([np.cos(a) - 1, np.sin(a), 0.0]))
        for a in angles
    ]
    graph = SubmapGraph(LoopConfig().max_conflict)
    graph.add_submap(0)
    for k in range(1, 2 * LAP):
        drift = Sim3.from_log(rng.normal(size=7) * 0.3 * SIGMAS + [0, 0, 0, 0, 0, 0, bias])
        S = true[k - 1].inverse() @ true[k] @ drift
        graph.add_submap(k, odometry_edge(k - 1, k, S, 0.1 * COVARIANCE))
    return graph, true


def loop(true: list[Sim3], i: int, j: int, wrong: Sim3 | None = None, seed: int = 0) -> Edge:
    noise = Sim3.from_log(np.random.default_rng([seed, i, j]).normal(size=7) * 0.5 * SIGMAS)
    S = true[i].inverse() @ true[j] @ noise
    return Edge(i, j, S if wrong is None else S @ wrong, COVARIANCE, EdgeKind.LOOP)


def ate(graph: SubmapGraph, true: list[Sim3]) -> float:
    error = np.array([graph.anchor(k).t - S.t for k, S in enumerate(true)])
    return float(np.sqrt(np.mean(np.square(error).sum(axis=1))))


def close(graph: SubmapGraph, loops: list[Edge]) -> LoopConsistency:
    """As the mapper does it: one loop after the other, optimised after each that is accepted."""
    consistency = LoopConsistency(LoopConfig())
    for edge in loops:
        problem = graph.problem()
        accepted = consistency.accept(edge, problem.anchors, problem)
        for confirmed in accepted:
            graph.add_edge(confirmed)
        if accepted:
            solution = graph.solve(graph.problem())
            graph.accept(solution)
            consistency.reject(solution.rejected)
    return consistency


def test_a_lone_loop_waits_until_another_says_the_same() -> None:
    graph, true = two_laps()
    consistency = LoopConsistency(LoopConfig())
    problem = graph.problem()
    assert consistency.accept(loop(true, 5, 45), problem.anchors, problem) == []
    assert consistency.pending == 1
    accepted = consistency.accept(loop(true, 7, 47), problem.anchors, problem)
    assert sorted((edge.i, edge.j) for edge in accepted) == [(5, 45), (7, 47)]
    assert consistency.pending == 0


@pytest.mark.parametrize("wrong", [Sim3(1.0, np.eye(3), np.array([6.0, 0, 0])), Sim3.from_log([0, 0, 0, 0, 0, 0.4, 0])])
def test_loops_that_contradict_each_other_do_not_confirm_each_other(wrong: Sim3) -> None:
    graph, true = two_laps()
    consistency = LoopConsistency(LoopConfig())
    problem = graph.problem()
    assert consistency.accept(loop(true, 5, 45), problem.anchors, problem) == []
    assert consistency.accept(loop(true, 7, 47, wrong), problem.anchors, problem) == []
    assert consistency.pending == 2


def test_a_loop_that_no_drift_explains_is_refused() -> None:
    graph, true = two_laps()
    consistency = LoopConsistency(LoopConfig())
    problem = graph.problem()
    assert consistency.accept(Edge(5, 20, Sim3.identity(), COVARIANCE, EdgeKind.LOOP), problem.anchors, problem) == []
    shrunk = loop(true, 5, 45, Sim3(3.0, np.eye(3), np.zeros(3)))
    assert consistency.accept(shrunk, problem.anchors, problem) == []
    assert (consistency.pending, consistency.gated) == (0, 2)


def test_a_stretch_that_was_badly_measured_may_have_drifted_further() -> None:
    graph, true = two_laps()
    shrunk = loop(true, 5, 45, Sim3(3.0, np.eye(3), np.zeros(3)))
    doubtful = SubmapGraph()
    wide = np.diag(np.square([0.5] * 3 + [0.05] * 3 + [0.4]))
    for index in graph.anchors():
        edge = next((one for one in graph.edges if one.j == index), None)
        if edge is not None and edge.i == 20:
            edge = replace(edge, covariance=wide)
        doubtful.add_submap(index, edge)
    for one, gated in ((graph, 1), (doubtful, 0)):
        consistency, problem = LoopConsistency(LoopConfig()), one.problem()
        assert consistency.accept(shrunk, problem.anchors, problem) == []
        assert (consistency.gated, consistency.pending) == (gated, 1 - gated)
    sigmas = [one.problem().between(5, 45).sigma_of_log_scale for one in (graph, doubtful)]
    assert sigmas[1] == pytest.approx(np.hypot(sigmas[0], 0.4), rel=0.05)


def test_a_street_of_equal_facades_closes_no_loop() -> None:
    """Every house looks like the one two before it, and each such pair confirms the next: the way says otherwise."""
    graph, true = two_laps()
    facades = [Edge(k - 6, k, Sim3.identity(), COVARIANCE, EdgeKind.LOOP) for k in range(10, 30)]
    before = ate(graph, true)
    consistency = close(graph, facades)
    assert consistency.gated == len(facades)
    assert ate(graph, true) == before


@pytest.mark.parametrize("seed", range(4))
def test_loops_take_the_drift_out(seed: int) -> None:
    graph, true = two_laps(seed)
    before = ate(graph, true)
    close(graph, [loop(true, k, k + LAP, seed=seed) for k in range(0, LAP, 3)])
    assert ate(graph, true) < 0.35 * before


@pytest.mark.parametrize("seed", range(4))
def test_false_loops_of_a_tenth_of_all_edges_move_the_error_by_less_than_a_tenth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    honest, true = two_laps(seed)
    fooled, _ = two_laps(seed)
    right = [loop(true, k, k + LAP, seed=seed) for k in range(LAP)]
    count = (len(honest.edges) + len(right)) // 10
    false = []
    for _ in range(count):
        i = int(rng.integers(0, 2 * LAP - 8))
        j = int(rng.integers(i + 6, 2 * LAP))
        # Half of them lead anywhere; the others are near misses that drift could explain.
        wild = rng.random() < 0.5
        offset = rng.normal(size=7) * (
            np.array([20.0] * 3 + [1.0] * 3 + [0.3]) if wild else [4.0] * 3 + [0.1] * 3 + [0.05]
        )
        false.append(loop(true, i, j, Sim3.from_log(offset), seed))
    mixed = [right[k] for k in range(LAP)]
    for edge in false:
        mixed.insert(int(rng.integers(0, len(mixed) + 1)), edge)
    close(honest, right)
    close(fooled, mixed)
    assert ate(fooled, true) < 1.1 * ate(honest, true)


def test_a_rejected_loop_supports_no_other_also_where_the_graph_was_joined_to_another_meanwhile() -> None:
    graph, true = two_laps()
    consistency = LoopConsistency(LoopConfig())
    problem = graph.problem()
    for edge in (loop(true, 5, 45), loop(true, 7, 47)):
        for accepted in consistency.accept(edge, problem.anchors, problem):
            graph.add_edge(accepted)
    earlier = SubmapGraph()
    earlier.add_submap(1000)
    graph.absorb(earlier.snapshot(), Sim3.identity())
    rejected = [edge for edge in graph.edges if edge.kind is EdgeKind.LOOP]
    assert len(rejected) == 2
    consistency.reject(rejected)
    assert consistency.accept(loop(true, 6, 46), problem.anchors, problem) == []
    assert consistency.pending == 1


def test_a_loop_that_the_others_contradict_is_taken_out_again() -> None:
    graph, true = two_laps()
    for k in range(0, LAP, 4):
        graph.add_edge(loop(true, k, k + LAP))
    graph.optimise()
    good = ate(graph, true)
    false = loop(true, 10, 50, Sim3(1.0, np.eye(3), np.array([8.0, 3.0, 0.0])))
    graph.add_edge(false)
    solution = graph.solve(graph.problem())
    graph.accept(solution)
    assert solution.rejected == (false,)
    assert false not in graph.edges
    assert ate(graph, true) == pytest.approx(good, abs=1e-3)


def test_submaps_added_while_the_graph_is_solved_follow_their_neighbours() -> None:
    graph, true = two_laps()
    for k in range(0, LAP, 4):
        graph.add_edge(loop(true, k, k + LAP))
    solution = graph.solve(graph.problem())
    S = Sim3.from_log([1.0, 0.2, 0.0, 0.0, 0.0, 0.1, 0.0])
    graph.add_submap(2 * LAP, odometry_edge(2 * LAP - 1, 2 * LAP, S, COVARIANCE))
    graph.add_edge(loop(true, 1, 1 + LAP))
    assert graph.accept(solution)
    np.testing.assert_allclose(graph.anchor(2 * LAP).matrix, (graph.anchor(2 * LAP - 1) @ S).matrix, atol=1e-12)
    assert len(graph.problem().constraints) == 1  # came too late for this one
    graph.restore(SubmapGraph().snapshot())
    assert graph.accept(solution) is False
    assert len(graph) == 0


def test_the_way_between_submaps_goes_by_loops_where_that_is_shorter() -> None:
    graph, true = two_laps(bias=0.0)
    assert graph.problem().path_length(0, LAP) == pytest.approx(300.0, rel=0.05)
    graph.add_edge(loop(true, 2, 2 + LAP))
    graph.optimise()
    assert graph.problem().path_length(0, LAP) == pytest.approx(4 * 300.0 / LAP, rel=0.1)
    assert graph.problem().path_length(0, 1000) == float("inf")
