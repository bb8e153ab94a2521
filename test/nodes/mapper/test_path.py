"""The path as bytes, against the serializer of ROS itself."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from scal3r_ros.geometry import se3
from scal3r_ros.nodes.mapper.output.path import PathBuffer
from scal3r_ros.nodes.ros.messages import pose_message, stamp_message


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    stamps = 1_700_000_000 * 10**9 + np.sort(rng.integers(0, 10**12, count))
    return stamps, se3.exp(rng.normal(0.0, 1.0, (count, 6)))


def path(frame: str, stamps: np.ndarray, T: np.ndarray) -> Path:
    headers = [Header(stamp=stamp_message(int(stamp)), frame_id=frame) for stamp in stamps]
    poses = [PoseStamped(header=header, pose=pose_message(one)) for header, one in zip(headers, T, strict=True)]
    return Path(header=headers[-1] if headers else Header(frame_id=frame), poses=poses)


@pytest.mark.parametrize("frame", ["", "map", "odom", "robot", "car1/map", "wörld", "a" * 9, "a" * 14])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_the_bytes_are_those_of_the_message(frame: str, count: int) -> None:
    stamps, T = drawn(count)
    grown, replaced = PathBuffer(frame), PathBuffer(frame)
    for stamp, one in zip(stamps, T, strict=True):
        grown.append(int(stamp), one)
    replaced.replace(stamps, T)
    expected = path(frame, stamps, T)
    for buffer in (grown, replaced):
        sent = buffer.message(np.arange(count))
        assert deserialize_message(sent, Path) == expected
        assert len(sent) == len(serialize_message(expected))


def test_poses_are_added_to_those_that_were_kept() -> None:
    stamps, T = drawn(200)
    buffer = PathBuffer("map")
    for number in range(150):
        buffer.append(int(stamps[number]), T[number])
    buffer.keep(np.arange(0, 150, 50))
    buffer.append(int(stamps[150]), T[150])
    assert len(buffer) == 4
    chosen = np.array([0, 50, 100, 150])
    assert deserialize_message(buffer.message(np.arange(4)), Path) == path("map", stamps[chosen], T[chosen])
    buffer.replace(stamps[:2], T[:2])
    buffer.append(int(stamps[2]), T[2])
    assert deserialize_message(buffer.message(np.array([0, 2])), Path) == path("map", stamps[[0, 2]], T[[0, 2]])
