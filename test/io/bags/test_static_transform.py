"""The bags of this project say where the camera sits on the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from scipy.spatial.transform import Rotation

from scal3r_ros.io.bags.topics import typestore
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole, simulate


def static_transforms(path: Path) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    with AnyReader([path], default_typestore=typestore()) as reader:
        (connection,) = [item for item in reader.connections if item.topic == "/tf_static"]
        (profile,) = connection.ext.offered_qos_profiles
        assert profile.durability.name == "TRANSIENT_LOCAL"
        messages = [reader.deserialize(raw, connection.msgtype) for _, _, raw in reader.messages([connection])]
    found = []
    for item in (item for message in messages for item in message.transforms):
        q, t = item.transform.rotation, item.transform.translation
        R = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
        found.append((item.header.frame_id, item.child_frame_id, R, np.array([t.x, t.y, t.z])))
    return found


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_the_camera_looks_along_the_x_of_the_base(storage, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", storage) as writer:
        writer.write_image(10**9, np.zeros((4, 6), np.uint8))
        writer.write_image(2 * 10**9, np.zeros((4, 6), np.uint8))
    ((parent, child, R, t),) = static_transforms(tmp_path / "bag")
    assert (parent, child) == ("base_link", "camera_optical")
    np.testing.assert_allclose(R @ [0, 0, 1], [1, 0, 0], atol=1e-12)  # forward
    np.testing.assert_allclose(R @ [0, 1, 0], [0, 0, -1], atol=1e-12)  # down
    np.testing.assert_array_equal(t, 0)


def test_the_simulated_camera_sits_as_high_above_the_base_as_above_the_road(tmp_path: Path) -> None:
    drive = street_drive(3.0, seed=1)
    simulate(drive, tmp_path / "bag", pinhole(64, 32, 80.0), seed=1, depth_every=0)
    ((_, _, _, t),) = static_transforms(tmp_path / "bag")
    assert t[2] == pytest.approx(drive.T_ref_cam[0, 2, 3], abs=0.1)
    np.testing.assert_array_equal(t[:2], 0)
