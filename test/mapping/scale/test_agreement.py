"""A source that keeps contradicting the others is named."""

import numpy as np

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.observations import ScaleObservation, Source
from scal3r_ros.mapping.scale.agreement import conflicts

ANCHORS = {k: Sim3(2.0, np.eye(3), np.zeros(3)) for k in range(30)}


def observed(source, error, sigma=0.02, seed=0):
    rng = np.random.default_rng([seed, list(Source).index(source)])
    return [ScaleObservation(k, np.log(2.0) + error + sigma * rng.normal(), sigma, source) for k in range(30)]


def test_the_one_of_three_that_is_off_is_named_with_how_far():
    observations = (
        observed(Source.CAMERA_HEIGHT, 0.0) + observed(Source.GNSS, 0.0) + observed(Source.WHEEL_ODOMETRY, 0.08)
    )
    (found,) = conflicts(observations, ANCHORS)
    assert found.source is Source.WHEEL_ODOMETRY
    assert abs(found.log_ratio - 0.08) < 0.03
    assert found.sigmas > 3


def test_two_that_contradict_each_other_are_both_named():
    observations = observed(Source.CAMERA_HEIGHT, 0.0) + observed(Source.WHEEL_ODOMETRY, 0.1)
    assert {d.source for d in conflicts(observations, ANCHORS)} == {Source.CAMERA_HEIGHT, Source.WHEEL_ODOMETRY}


def test_agreement_a_lone_source_and_few_observations_are_silent():
    assert conflicts(observed(Source.CAMERA_HEIGHT, 0.0) + observed(Source.GNSS, 0.01), ANCHORS) == ()
    assert conflicts(observed(Source.GNSS, 0.5), ANCHORS) == ()
    assert conflicts(observed(Source.CAMERA_HEIGHT, 0.0) + observed(Source.GNSS, 0.5)[:3], ANCHORS) == ()
