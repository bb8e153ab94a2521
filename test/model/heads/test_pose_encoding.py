"""Nine numbers and a camera are the same thing."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from scal3r_ros.model import decode_pose, encode_pose

HEIGHT, WIDTH = 154, 518


def random_encodings(count: int) -> torch.Tensor:
    random = np.random.default_rng(0)
    translation, quaternion = random.normal(size=(count, 3)), random.normal(size=(count, 4))
    return torch.from_numpy(np.concatenate((translation, quaternion, random.uniform(0.2, 2.5, (count, 2))), axis=1))


def test_rotation_is_that_of_the_quaternion_xyzw():
    encodings = random_encodings(50)
    T_cam_chunk, _ = decode_pose(encodings, HEIGHT, WIDTH)
    np.testing.assert_allclose(T_cam_chunk[:, :, :3], Rotation.from_quat(encodings[:, 3:7]).as_matrix(), atol=1e-12)
    assert torch.equal(T_cam_chunk[:, :, 3], encodings[:, :3])


def test_field_of_view_spans_the_image():
    encodings = random_encodings(50)
    _, K = decode_pose(encodings, HEIGHT, WIDTH)
    for axis, size, column in ((0, WIDTH, 8), (1, HEIGHT, 7)):
        edges = (torch.tensor([0.0, size])[:, None] - K[:, axis, 2]) / K[:, axis, axis]
        torch.testing.assert_close(edges.atan().diff(dim=0)[0], encodings[:, column])


def test_encoding_is_the_inverse_of_decoding():
    encodings = random_encodings(50)
    T_cam_chunk, K = decode_pose(encodings, HEIGHT, WIDTH)
    again = encode_pose(T_cam_chunk, K, HEIGHT, WIDTH)
    normal = encodings[:, 3:7] / encodings[:, 3:7].norm(dim=1, keepdim=True) * encodings[:, 6:7].sign()
    torch.testing.assert_close(again[:, 3:7], normal)
    torch.testing.assert_close(again[:, [0, 1, 2, 7, 8]], encodings[:, [0, 1, 2, 7, 8]])


def test_half_turns_are_encoded():
    R = torch.from_numpy(np.stack([Rotation.from_rotvec(np.pi * axis).as_matrix() for axis in np.eye(3)]))
    T_cam_chunk = torch.cat((R, torch.zeros(3, 3, 1)), dim=-1)
    K = torch.eye(3).double().expand(3, 3, 3)
    decoded, _ = decode_pose(encode_pose(T_cam_chunk, K, 2, 2), 2, 2)
    torch.testing.assert_close(decoded[:, :, :3], R)
