"""The rotation between two images by a gyroscope: a known turn, mounts, and gaps in which nothing is known."""

from __future__ import annotations

import numpy as np

from scal3r_ros.geometry import se3
from scal3r_ros.mapping.frontend.gyro import Gyro
from scal3r_ros.mapping.values import ImuSample

MOUNT = se3.se3(se3.rotation_exp([0.3, -1.2, 0.4]), [0.1, 0.0, 0.0])


def fed(rate_cam: np.ndarray, seconds: float, hz: float = 200.0) -> Gyro:
    """A camera that turns steadily at `rate_cam` in its own axes from 1 s on."""
    gyro = Gyro()
    for stamp in np.arange(1.0, 1.0 + seconds, 1.0 / hz):
        gyro.add(ImuSample(round(stamp * 1e9), MOUNT[:3, :3] @ rate_cam, np.zeros(3), MOUNT))
    return gyro


def test_a_steady_turn_is_integrated() -> None:
    rate = np.array([0.5, -1.0, 2.0])
    turn = fed(rate, 2.0).turn(1_203_000_000, 2_100_000_000)
    assert turn is not None
    np.testing.assert_allclose(turn, se3.rotation_exp(0.897 * rate), atol=1e-6)


def test_turns_follow_each_other() -> None:
    gyro = fed(np.array([0.2, 0.1, -0.7]), 3.0)
    one, two, both = gyro.turn(10**9, 2 * 10**9), gyro.turn(2 * 10**9, 3 * 10**9), gyro.turn(10**9, 3 * 10**9)
    assert one is not None
    assert two is not None
    assert both is not None
    np.testing.assert_allclose(one @ two, both, atol=1e-6)


def test_nothing_is_known_where_samples_are_missing() -> None:
    gyro = fed(np.ones(3), 1.0)
    assert gyro.turn(10**9, 25 * 10**8) is None
    assert gyro.turn(2 * 10**8, 15 * 10**8) is None
    assert Gyro().turn(10**9, 2 * 10**9) is None
