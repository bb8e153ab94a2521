"""Simulated sensors against the motion they are of: right without errors, off by as much as they claim with them."""

import itertools

import numpy as np
import pymap3d
import pytest

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import Fix
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.sensors.gnss import GnssModel, enu_of, simulate_gnss
from scal3r_ros.simulation.sensors.imu import ImuModel, simulate_imu
from scal3r_ros.simulation.sensors.motion import SmoothMotion
from scal3r_ros.simulation.sensors.suite import simulate_sensors
from scal3r_ros.simulation.sensors.wheels import WheelModel, simulate_wheels


@pytest.fixture(scope="module")
def motion():
    return SmoothMotion(street_drive(200.0, seed=2))


def test_motion_passes_through_the_poses_of_the_drive(motion):
    drive = street_drive(200.0, seed=2)
    T = motion.poses(drive.stamps_ns)
    relative = np.linalg.inv(T[0]) @ T
    np.testing.assert_allclose(relative, np.linalg.inv(drive.T_ref_cam[0]) @ drive.T_ref_cam, atol=1e-6)


def test_integrating_a_perfect_imu_gives_the_motion_back(motion):
    perfect = ImuModel(gyro_noise=0, accel_noise=0, gyro_bias=0, accel_bias=0, gyro_wander=0, accel_wander=0)
    samples = simulate_imu(motion, 1, perfect)[400:1000]
    T = motion.poses(np.array([s.stamp_ns for s in samples])) @ se3.invert(perfect.T_imu_cam)
    R, dt = T[0, :3, :3], 1.0 / perfect.rate_hz
    position, velocity = T[0, :3, 3], (T[1, :3, 3] - T[0, :3, 3]) / dt
    for k, (a, b) in enumerate(itertools.pairwise(samples)):
        force = R @ (0.5 * (a.linear_acceleration + b.linear_acceleration)) - [0, 0, 9.80665]
        position = position + velocity * dt + 0.5 * force * dt**2
        velocity = velocity + force * dt
        R = R @ se3.rotation_exp(0.5 * (a.angular_velocity + b.angular_velocity) * dt)
        assert np.linalg.norm(position - T[k + 1, :3, 3]) < 0.1
    assert se3.rotation_angle(R.T @ T[-1, :3, :3]) < 1e-3


def test_perfect_wheels_measure_the_way_of_the_base(motion):
    perfect = WheelModel(circumference=0, step=0, slip_most=0, yaw=0)
    poses = np.stack([s.T_wheel_base for s in simulate_wheels(motion, 1, perfect)])
    stamps = motion.stamps_at(perfect.rate_hz)
    base = motion.poses(stamps) @ se3.invert(perfect.T_base_cam)
    way = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    # On a plane, and along the vehicle's own axis: what sways sideways or heaves is no way of wheels.
    assert way == pytest.approx(np.linalg.norm(np.diff(base[:, :2, 3], axis=0), axis=1).sum(), rel=2e-3)


def test_wheels_err_by_their_circumference_and_slip_now_and_then(motion):
    stamps = motion.stamps_at(50.0)
    base = motion.poses(stamps) @ se3.invert(WheelModel().T_base_cam)
    true = np.linalg.norm(np.diff(base[:, :2, 3], axis=0), axis=1)
    ratios, slipped = [], 0
    for seed in range(8):
        poses = np.stack([s.T_wheel_base for s in simulate_wheels(motion, seed)])
        way = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        ratios.append(np.median(way / true))
        slipped += int((np.abs(way / true - ratios[-1]) > 0.06).sum())
    assert 0.001 < np.std(ratios) < 0.01
    assert slipped > 20


def test_fixes_err_by_what_they_claim_and_stop_in_outages(motion):
    model = GnssModel(rate_hz=5.0, outages=((5.0, 12.0),))
    errors, claimed = [], 0.0
    for seed in range(20):
        fixes = simulate_gnss(motion, seed, model)
        origin = (model.latitude_deg, model.longitude_deg, model.altitude_m)
        measured = np.array(
            [pymap3d.geodetic2enu(f.latitude_deg, f.longitude_deg, f.altitude_m, *origin) for f in fixes]
        )
        true = enu_of(motion.poses(np.array([f.stamp_ns for f in fixes]))[:, :3, 3], model)
        errors.append(measured - true)
        claimed = float(np.sqrt(fixes[0].covariance_enu[0, 0]))
        seconds = (np.array([f.stamp_ns for f in fixes]) - motion.stamps_ns[0]) * 1e-9
        assert not ((seconds >= 5.0) & (seconds < 12.0)).any()
    assert np.std(np.concatenate(errors)[:, :2]) == pytest.approx(claimed, rel=0.2)


def test_a_suite_is_in_order_and_the_same_for_the_same_seed():
    drive = street_drive(60.0)
    some, same = simulate_sensors(drive, 3, [2.0]), simulate_sensors(drive, 3, [2.0])
    assert [s.stamp_ns for s in some] == sorted(s.stamp_ns for s in some)
    assert len(some) == len(same)
    fixes, others = [s for s in some if isinstance(s, Fix)], [s for s in same if isinstance(s, Fix)]
    assert [f.latitude_deg for f in fixes] == [f.latitude_deg for f in others]


def test_a_still_is_no_motion():
    drive = street_drive(60.0)
    with pytest.raises(SimulationError, match="4 or more"):
        SmoothMotion(Trajectory(drive.stamps_ns[:3], drive.T_ref_cam[:3]))
