"""Wheels, satellites and an IMU against submaps of a drive whose unit is known."""

import numpy as np
import pytest
from submap_views import submaps

from scal3r_ros.mapping.graph.observations import PositionObservation, ScaleObservation, UpObservation
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.sources.gnss import GnssScale
from scal3r_ros.mapping.scale.sources.imu import ImuScale
from scal3r_ros.mapping.scale.sources.wheel_odometry import WheelScale
from scal3r_ros.mapping.values import WheelOdometry
from scal3r_ros.reconstruction.protocol import ChunkHealth
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.sensors.gnss import GnssModel, enu_of, simulate_gnss
from scal3r_ros.simulation.sensors.imu import simulate_imu
from scal3r_ros.simulation.sensors.motion import SmoothMotion
from scal3r_ros.simulation.sensors.wheels import WheelModel, simulate_wheels

UNIT_M = 7.3


@pytest.fixture(scope="module")
def drive():
    return street_drive(260.0, seed=3)


@pytest.fixture(scope="module")
def motion(drive):
    return SmoothMotion(drive)


def observed(source, samples, views):
    """All that a source observes, the samples given as they would come: before the submap they end with."""
    waiting = list(samples)
    found = []
    for view in views:
        while waiting and waiting[0].stamp_ns <= view.stamps_ns[-1] + 10**9:
            source.add(waiting.pop(0))
        found.append(source.observe(view))
    return found


def scales(found):
    return [o for part in found for o in part if isinstance(o, ScaleObservation)]


def test_wheels_know_the_unit_within_a_percent_and_their_sigma_is_honest(drive, motion):
    found = scales(observed(WheelScale(ScaleConfig()), simulate_wheels(motion, 1), submaps(drive, UNIT_M)))
    errors = np.array([o.log_scale - np.log(UNIT_M) for o in found])
    sigmas = np.array([o.sigma for o in found])
    assert len(found) >= 15
    assert abs(np.median(errors)) < 0.01
    assert np.sqrt(np.mean(np.square(errors / sigmas))) < 2.0


def test_wheels_follow_a_unit_that_drifts(drive, motion):
    model = WheelModel(circumference=0.0, slip_most=0.0)
    views = submaps(drive, UNIT_M, growth=0.03)
    found = scales(observed(WheelScale(ScaleConfig()), simulate_wheels(motion, 1, model), views))
    slope = np.polyfit([o.submap for o in found], [o.log_scale for o in found], 1)[0]
    assert slope == pytest.approx(0.03, abs=0.002)


def test_wheels_whose_mount_is_unknown_are_not_asked_in_tight_turns(drive, motion):
    bare = [WheelOdometry(s.stamp_ns, s.T_wheel_base) for s in simulate_wheels(motion, 1)]
    known = scales(observed(WheelScale(ScaleConfig()), simulate_wheels(motion, 1), submaps(drive, UNIT_M)))
    unknown = scales(observed(WheelScale(ScaleConfig()), bare, submaps(drive, UNIT_M)))
    assert 0 < len(unknown) <= len(known)
    assert np.abs([o.log_scale - np.log(UNIT_M) for o in unknown]).max() < 0.05


def test_wheels_observe_nothing_where_they_do_not_know(drive, motion):
    samples = simulate_wheels(motion, 1)
    lost = submaps(drive, UNIT_M, health=ChunkHealth.PURE_ROTATION)
    assert not scales(observed(WheelScale(ScaleConfig()), samples, lost))
    stopped = [s for k, s in enumerate(samples) if k % 40 == 0]  # a sample every 0.8 s
    assert not scales(observed(WheelScale(ScaleConfig()), stopped, submaps(drive, UNIT_M)))
    still = [WheelOdometry(s.stamp_ns, np.eye(4), s.T_base_cam) for s in samples]
    assert not scales(observed(WheelScale(ScaleConfig()), still, submaps(drive, UNIT_M)))


def test_fixes_find_the_unit_and_where_the_map_lies(drive, motion):
    model = GnssModel(slow=0.0)
    source = GnssScale(ScaleConfig())
    views = list(submaps(drive, UNIT_M))
    found = observed(source, simulate_gnss(motion, 4, model), views)
    first = scales(found)[0]
    assert abs(first.log_scale - np.log(UNIT_M)) < 4 * first.sigma
    assert first.sigma < 0.03
    places = [o for part in found for o in part if isinstance(o, PositionObservation)]
    assert len(places) > 20
    # In metres of the map that the first fit has made: where its fixes lie, and where the camera truly was.
    errors = np.array(
        [UNIT_M * views[o.submap].anchors[o.submap].apply(o.point_submap) - o.position_map for o in places]
    )
    assert np.sqrt(np.mean(np.square(errors[:, :2]))) < 2.0
    # and on earth
    assert source.reference is not None
    assert source.origin is not None
    true = enu_of(motion.poses(drive.stamps_ns)[:, :3, 3], model)
    way_true = true[200] - true[20]
    way = source.reference.R_enu_map @ (drive.T_ref_cam[200, :3, 3] - drive.T_ref_cam[20, :3, 3])
    plan = np.array([way[0] + 1j * way[1], way_true[0] + 1j * way_true[1]])
    assert abs(np.angle(plan[0] / plan[1])) < np.deg2rad(5.0)


def test_a_wrong_fix_does_not_turn_the_map(drive, motion):
    fixes = simulate_gnss(motion, 4, GnssModel(slow=0.0, white=0.3))
    clean, spoilt = GnssScale(ScaleConfig()), GnssScale(ScaleConfig())
    observed(clean, fixes, submaps(drive, UNIT_M))
    wrong = [
        f if k != 3 else type(f)(f.stamp_ns, f.latitude_deg + 1e-3, f.longitude_deg, f.altitude_m, f.covariance_enu)
        for k, f in enumerate(fixes)
    ]
    observed(spoilt, wrong, submaps(drive, UNIT_M))
    assert clean.reference is not None
    assert spoilt.reference is not None
    turned = clean.reference.R_enu_map.T @ spoilt.reference.R_enu_map
    assert np.degrees(np.arccos(min(1.0, turned[0, 0]))) < 3.0
    assert spoilt.reference.scale == pytest.approx(clean.reference.scale, rel=0.05)


def test_a_fast_receiver_does_not_swell_the_graph(drive, motion):
    fast = simulate_gnss(motion, 4, GnssModel(rate_hz=20.0, slow=0.0))
    found = observed(GnssScale(ScaleConfig()), fast, submaps(drive, UNIT_M))
    places = [o for part in found for o in part if isinstance(o, PositionObservation)]
    counts = np.bincount([o.submap for o in places])
    assert 1 < counts.max() <= 4


def test_an_imu_observes_up_always_and_scale_where_the_motion_shows_it(drive, motion):
    views = list(submaps(drive, UNIT_M, noise=0.003))
    found = observed(ImuScale(ScaleConfig()), simulate_imu(motion, 2), views)
    ups = [o for part in found for o in part if isinstance(o, UpObservation)]
    assert len(ups) >= 10
    for o in ups:
        frame = views[o.submap].chunk.frames[0].index
        true = motion.poses(drive.stamps_ns[[frame]])[0, :3, :3].T @ [0.0, 0.0, 1.0]
        assert np.degrees(np.arccos(min(1.0, float(o.up_submap @ true)))) < max(0.7, 4 * np.degrees(o.sigma_rad))
    known = scales(found)
    assert known
    errors = np.array([(o.log_scale - np.log(UNIT_M)) / o.sigma for o in known])
    assert np.sqrt(np.mean(np.square(errors))) < 2.5
    assert abs(np.median([o.log_scale - np.log(UNIT_M) for o in known])) < 0.05


def test_an_imu_with_a_gap_or_without_parallax_observes_no_scale(drive, motion):
    samples = [s for k, s in enumerate(simulate_imu(motion, 2)) if (k // 100) % 2]
    assert not scales(observed(ImuScale(ScaleConfig()), samples, submaps(drive, UNIT_M)))
    lost = submaps(drive, UNIT_M, health=ChunkHealth.NO_PARALLAX)
    assert not any(observed(ImuScale(ScaleConfig()), simulate_imu(motion, 2), lost))
