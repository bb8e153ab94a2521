"""All sensors of a simulated drive together."""

from __future__ import annotations

from collections.abc import Iterable

from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import SensorSample
from scal3r_ros.simulation.sensors.gnss import GnssModel, simulate_gnss
from scal3r_ros.simulation.sensors.imu import simulate_imu
from scal3r_ros.simulation.sensors.motion import SmoothMotion
from scal3r_ros.simulation.sensors.wheels import simulate_wheels

OUTAGE_S = 30.0


def simulate_sensors(drive: Trajectory, seed: int = 0, outages_at_s: Iterable[float] = ()) -> list[SensorSample]:
    """Wheel odometry, IMU and fixes along a drive, by stamp; fixes fail for 30 s from each of `outages_at_s` on.

    Raises:
        SimulationError: the drive is too short.
    """
    motion = SmoothMotion(drive)
    gnss = GnssModel(outages=tuple((begin, begin + OUTAGE_S) for begin in outages_at_s))
    samples: list[SensorSample] = [
        *simulate_wheels(motion, seed),
        *simulate_imu(motion, seed),
        *simulate_gnss(motion, seed, gnss),
    ]
    return sorted(samples, key=lambda sample: sample.stamp_ns)
