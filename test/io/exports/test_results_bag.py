"""The bag of a result, read by rosbags as a player would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.topics import typestore
from scal3r_ros.io.exports.results_bag import write_results_bag
from scal3r_ros.mapping.values import PointCloud

RNG = np.random.default_rng(0)
STAMPS = 10**18 + np.arange(120) * 100_000_003
POSES = se3.exp(RNG.normal(size=(120, 6)))
CLOUDS = [
    PointCloud(RNG.normal(size=(n, 3)).astype(np.float32), RNG.integers(0, 256, (n, 3), np.uint8)) for n in (40, 60)
]


def matrix(transform: object) -> np.ndarray:
    t, q = transform.translation, transform.rotation
    return se3.se3(se3.rotation_from_quat_xyzw([q.x, q.y, q.z, q.w]), [t.x, t.y, t.z])


def test_transforms_lead_from_the_map_to_the_camera_and_clouds_hold_every_point(tmp_path: Path) -> None:
    submaps = [(int(STAMPS[50]), CLOUDS[0]), (int(STAMPS[-1]), CLOUDS[1])]
    write_results_bag(tmp_path / "bag", Trajectory(STAMPS, POSES), submaps)
    edges: dict[tuple[int, str, str], np.ndarray] = {}
    counts: dict[str, int] = {}
    points: dict[str, list[object]] = {}
    recorded = []
    with AnyReader([tmp_path / "bag"], default_typestore=typestore()) as reader:
        for connection, stamp, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            counts[connection.topic] = counts.get(connection.topic, 0) + 1
            recorded.append(stamp)
            if connection.topic in ("/tf", "/tf_static"):
                for each in message.transforms:
                    at = each.header.stamp.sec * 10**9 + each.header.stamp.nanosec
                    key = (0 if connection.topic == "/tf_static" else at, each.header.frame_id, each.child_frame_id)
                    edges[key] = matrix(each.transform)
            elif connection.topic in ("/points", "/map"):
                points.setdefault(connection.topic, []).append(message)
            elif connection.topic == "/path":
                last_path = message
        durability = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
    assert recorded == sorted(recorded)
    assert counts["/odometry"] == counts["/tf"] == 120
    assert counts["/path"] == 50
    assert len(last_path.poses) == 120
    for stamp, T in zip(STAMPS.tolist(), POSES, strict=True):
        T_map_cam = (
            edges[(stamp, "map", "odom")]
            @ edges[(stamp, "odom", "base_link")]
            @ edges[(0, "base_link", "camera_optical")]
        )
        np.testing.assert_allclose(T_map_cam, T, atol=1e-9)
    assert len(points["/points"]) == 2
    whole = points["/map"][0]
    rows = np.frombuffer(bytes(whole.data), [("p", "<f4", 3), ("bgr", "u1", 3), ("pad", "u1")])
    assert (whole.width, whole.header.frame_id) == (100, "map")
    np.testing.assert_array_equal(rows["p"], np.concatenate([cloud.points for cloud in CLOUDS]))
    np.testing.assert_array_equal(rows["bgr"][:, ::-1], np.concatenate([cloud.colours for cloud in CLOUDS]))
    for topic in ("/map", "/path", "/tf_static"):
        assert durability[topic][0].durability == QosDurability.TRANSIENT_LOCAL


def test_a_result_without_poses_is_an_empty_bag(tmp_path: Path) -> None:
    write_results_bag(tmp_path / "bag", Trajectory(STAMPS[:0], POSES[:0]), [])
    with AnyReader([tmp_path / "bag"], default_typestore=typestore()) as reader:
        assert reader.message_count == 0
