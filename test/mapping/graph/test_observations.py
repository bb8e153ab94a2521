"""Observations of single submaps in the graph: metres, up and places, against drifting odometry with known truth."""

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.observations import PositionObservation, ScaleObservation, Source, UpObservation
from scal3r_ros.mapping.graph.pose_graph import Edge, EdgeKind, SubmapGraph

UNIT_M = 3.7
"""Metres in a unit of the first submap's own unit, which the graph does not know."""
LOOSE = np.diag(np.square([0.05, 0.05, 0.05, 0.005, 0.005, 0.005, 0.02]))


def drive(count=40, growth=0.02, turn=0.0, seed=0):
    """A graph along a bend whose odometry loses scale and heading steadily; the true anchors, in metres."""
    rng = np.random.default_rng(seed)
    heading = np.linspace(0, 1.2, count)
    steps = 5.0 * np.stack([np.cos(heading), np.sin(heading), np.zeros(count)], axis=1)
    places = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)[:-1]])
    units = UNIT_M * np.exp(rng.normal(size=count) * 0.3)  # every submap has a unit of its own
    true = [Sim3(u, se3.rotation_exp([0, 0, h]), p) for u, h, p in zip(units, heading, places, strict=True)]
    graph = SubmapGraph()
    graph.add_submap(0, anchor=Sim3(1.0, np.eye(3), np.zeros(3)))
    for k in range(1, count):
        drift = Sim3(np.exp(growth), se3.rotation_exp([0, 0, turn]), np.zeros(3))
        graph.add_submap(k, Edge(k - 1, k, true[k - 1].inverse() @ true[k] @ drift, LOOSE))
    return graph, true


def scale(k, true, sigma=0.02, error=0.0, source=Source.CAMERA_HEIGHT):
    return ScaleObservation(k, float(np.log(true[k].scale)) + error, sigma, source)


def scale_errors(graph, true):
    return np.array([np.log(graph.anchor(k).scale / S.scale) for k, S in enumerate(true)])


def place_errors(graph, true):
    return np.array([np.linalg.norm(graph.anchor(k).t - S.t) for k, S in enumerate(true)])


def test_scales_make_the_map_metric_and_take_the_drift_away():
    graph, true = drive()
    assert abs(scale_errors(graph, true)[-1]) > 0.5
    rng = np.random.default_rng(1)
    for k in range(0, 40, 2):
        graph.add_observations([scale(k, true, error=0.02 * rng.normal())])
    assert graph.pending
    assert graph.optimise() is True
    assert graph.metric
    assert not graph.pending
    assert np.abs(scale_errors(graph, true)).max() < 0.03
    assert place_errors(graph, true).max() < 0.02 * 200
    # The last submap is one step of odometry (0.02) beyond the last observation (0.02, better with those before).
    assert 0.02 < graph.scale_sigma < 0.0283


def test_the_metre_is_taken_over_once_and_the_first_submap_stays_at_the_origin():
    graph, true = drive(growth=0.0)
    graph.add_observations([scale(3, true, sigma=0.5)])
    assert graph.optimise() is False  # too unsure for the metre to be known
    assert not graph.metric
    graph.add_observations([scale(k, true) for k in range(4, 12)])
    assert graph.optimise() is True
    assert graph.metric
    np.testing.assert_allclose(graph.anchor(0).t, 0, atol=1e-3)
    before = graph.anchors()
    graph.add_observations([scale(k, true) for k in range(12, 20)])
    assert graph.optimise() is False  # all is where it belongs
    assert max(abs(graph.anchor(k).scale / S.scale - 1) for k, S in before.items()) < 1e-3


def test_an_outlier_and_a_source_of_many_outliers_fade():
    graph, true = drive()
    graph.add_observations([scale(k, true) for k in range(40)])
    graph.add_observations([scale(k, true, error=0.7, source=Source.IMU) for k in range(0, 40, 4)])
    graph.optimise()
    assert np.abs(scale_errors(graph, true)).max() < 0.03


def test_submaps_added_meanwhile_follow_in_metres():
    graph, true = drive(20)
    graph.add_observations([scale(k, true) for k in range(20)])
    solution = graph.solve(graph.problem())
    step = Sim3(1.0, np.eye(3), np.array([1.0, 0, 0]))
    graph.add_submap(20, Edge(19, 20, step, LOOSE))
    graph.accept(solution)
    np.testing.assert_allclose(graph.anchor(20).matrix, (graph.anchor(19) @ step).matrix)
    assert graph.anchor(20).scale == pytest.approx(true[19].scale, rel=0.03)


def test_loops_and_scales_go_together():
    graph, true = drive()
    graph.add_observations([scale(k, true) for k in range(0, 40, 3)])
    graph.add_edge(Edge(0, 39, true[0].inverse() @ true[39], 1e-6 * np.eye(7), EdgeKind.LOOP))
    graph.optimise()
    assert np.abs(scale_errors(graph, true)).max() < 0.03
    assert place_errors(graph, true)[-1] < 0.1 * 5 * UNIT_M


def test_up_turns_the_map_upright_and_leaves_its_yaw():
    graph, true = drive(growth=0.0)
    lean = se3.rotation_exp([0.05, -0.08, 0.0])  # map is not level: a true up is lean⁻¹ z in it
    for k in range(0, 40, 5):
        up = true[k].R.T @ lean.T @ [0.0, 0.0, 1.0]
        graph.add_observations([UpObservation(k, up, 0.005, Source.IMU)])
    heading = [graph.anchor(k).R[:, 0] for k in range(40)]
    graph.optimise()
    for k in range(0, 40, 5):
        up = graph.anchor(k).R @ true[k].R.T @ lean.T @ [0.0, 0.0, 1.0]
        assert np.degrees(np.arccos(min(1.0, up[2]))) < 0.3
    turned = [np.degrees(np.arctan2(*graph.anchor(k).R[1::-1, 0]) - np.arctan2(*heading[k][1::-1])) for k in (0, 39)]
    np.testing.assert_allclose(turned, 0, atol=1.0)


def test_places_bend_a_drive_back_that_has_lost_scale_and_heading():
    graph, true = drive(turn=0.01)
    graph.add_observations([scale(k, true) for k in range(5)])
    rng = np.random.default_rng(2)
    sigma = np.array([0.5, 0.5, 1.0])
    for k in range(40):
        point = np.array([0.3, -0.2, 0.1])
        place = true[k].apply(point) + rng.normal(size=3) * sigma
        graph.add_observations([PositionObservation(k, point, place, sigma, Source.GNSS)])
    assert place_errors(graph, true).max() > 10.0
    graph.optimise()
    assert place_errors(graph, true)[:, None].max() < 1.5


def test_a_restored_graph_goes_on_with_its_observations():
    graph, true = drive(20)
    graph.add_observations([scale(k, true) for k in range(0, 20, 2)])
    graph.add_observations([UpObservation(4, true[4].R.T @ [0.0, 0.0, 1.0], 0.01, Source.IMU)])
    graph.optimise()
    restored = SubmapGraph()
    restored.restore(graph.snapshot())
    assert restored.metric
    assert len(restored.observations) == 11
    for g in (graph, restored):
        g.add_observations([scale(19, true)])
        g.optimise()
    for k, S in graph.anchors().items():
        np.testing.assert_allclose(restored.anchor(k).matrix, S.matrix, atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        ScaleObservation(99, 0.0, 0.1, Source.IMU),
        ScaleObservation(3, float("nan"), 0.1, Source.IMU),
        ScaleObservation(3, 0.0, 0.0, Source.IMU),
        PositionObservation(3, np.zeros(3), np.full(3, np.inf), np.ones(3), Source.GNSS),
    ],
)
def test_what_cannot_be_used_is_refused(wrong):
    graph, _ = drive(10)
    with pytest.raises(MappingError, match="submap"):
        graph.add_observations([wrong])
    assert graph.observations == ()


def ratio(k, true, sigma=0.03):
    """What a memory knows: how long the unit of a submap is in that of the first."""
    return ScaleObservation(k, float(np.log(true[k].scale / true[0].scale)), sigma, Source.MEMORY, reference=0)


def test_ratios_to_the_first_submap_bound_the_drift_and_know_no_metre():
    graph, true = drive()
    graph.add_observations([ratio(k, true) for k in range(1, 40)])
    assert graph.optimise() is True
    assert not graph.metric
    np.testing.assert_allclose(graph.anchor(0).scale, 1.0, rtol=1e-3)
    drift = [np.log(graph.anchor(k).scale * true[0].scale / S.scale) for k, S in enumerate(true)]
    assert np.abs(drift).max() < 0.05


def test_ratios_stay_true_when_the_map_turns_into_metres():
    graph, true = drive()
    graph.add_observations([ratio(k, true) for k in range(1, 40)])
    graph.optimise()
    graph.add_observations([scale(k, true) for k in range(12)])
    graph.optimise()
    assert graph.metric
    assert np.abs(scale_errors(graph, true)).max() < 0.05
    restored = SubmapGraph()
    restored.restore(graph.snapshot())
    assert restored.observations == graph.observations


def test_a_ratio_to_a_submap_that_is_not_there_is_refused():
    graph, _ = drive(5)
    with pytest.raises(MappingError, match="not in the graph"):
        graph.add_observations([ScaleObservation(1, 0.0, 0.1, Source.MEMORY, reference=77)])
