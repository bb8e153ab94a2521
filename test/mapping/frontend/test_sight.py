"""Poses that no image shows: extrapolated for half a second, lost from then on, ever more uncertain."""

from __future__ import annotations

import numpy as np

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.frontend.sight import Sight
from scal3r_ros.mapping.frontend.tracker import Tracked
from scal3r_ros.mapping.values import PoseSource


def pose(seconds: float, source: PoseSource) -> Tracked:
    """A camera that goes 2 units a second."""
    return Tracked(se3.se3(np.eye(3), [2.0 * seconds, 0.0, 0.0]), 1e-6 * np.eye(6), source)


def judged(sources: list[PoseSource], connected: bool = True) -> list[Tracked]:
    sight = Sight()
    return [sight.judged(pose(0.1 * i, source), round(1e9 + 1e8 * i), connected) for i, source in enumerate(sources)]


def test_a_camera_is_lost_after_half_a_second() -> None:
    given = judged([PoseSource.TRACKED] * 5 + [PoseSource.EXTRAPOLATED] * 15 + [PoseSource.TRACKED])
    assert [tracked.source for tracked in given] == (
        [PoseSource.TRACKED] * 5 + [PoseSource.EXTRAPOLATED] * 5 + [PoseSource.LOST] * 10 + [PoseSource.TRACKED]
    )


def test_a_lost_camera_may_have_gone_as_fast_as_before() -> None:
    given = judged([PoseSource.TRACKED] * 5 + [PoseSource.EXTRAPOLATED] * 20)
    sigma = np.sqrt([tracked.covariance[0, 0] for tracked in given])
    assert (np.diff(sigma[10:]) > 0).all()
    assert 0.9 * 2.0 * 2.0 < sigma[-1] < 1.1 * 2.0 * 2.0  # two seconds at two units a second


def test_poses_of_a_segment_apart_say_so() -> None:
    given = judged([PoseSource.TRACKED, PoseSource.CHUNK, PoseSource.EXTRAPOLATED], connected=False)
    assert [tracked.source for tracked in given] == [PoseSource.UNCONNECTED] * 2 + [PoseSource.EXTRAPOLATED]
    assert given[0].source.measured
    assert not given[2].source.measured
