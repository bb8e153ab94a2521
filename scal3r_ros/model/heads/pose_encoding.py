"""Nine numbers for a camera: translation, quaternion and field of view, to and from matrices.

Shapes: S frames; an encoding is (S, 9): translation (3) and unit quaternion xyzw (4) of T_cam_chunk, then the vertical
and the horizontal field of view in radians. The principal point is (w/2, h/2) as in the released code, which counts
pixel centres in whole numbers.
Source: VGGT ("absT_quaR_FoV").
"""

from __future__ import annotations

import torch
from torch import Tensor

POSE_NUMBERS = 9


def decode_pose(encoding_S9: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """T_cam_chunk (S, 3, 4) and K (S, 3, 3) for images of `height` × `width` pixels; quaternions of any length."""
    rotation_S33 = _matrix_of(encoding_S9[:, 3:7])
    T_cam_chunk_S34 = torch.cat((rotation_S33, encoding_S9[:, :3, None]), dim=-1)
    fov_h, fov_w = encoding_S9[:, 7:].unbind(-1)
    K_S33 = encoding_S9.new_zeros(len(encoding_S9), 3, 3)
    K_S33[:, 0, 0] = width / 2 / torch.tan(fov_w / 2)
    K_S33[:, 1, 1] = height / 2 / torch.tan(fov_h / 2)
    K_S33[:, 0, 2] = width / 2
    K_S33[:, 1, 2] = height / 2
    K_S33[:, 2, 2] = 1
    return T_cam_chunk_S34, K_S33


def encode_pose(T_cam_chunk_S34: Tensor, K_S33: Tensor, height: int, width: int) -> Tensor:
    """The encoding (S, 9) of poses and calibrations: the inverse of `decode_pose`, quaternions with w ≥ 0."""
    fov_h = 2 * torch.atan(height / 2 / K_S33[:, 1, 1])
    fov_w = 2 * torch.atan(width / 2 / K_S33[:, 0, 0])
    quat_xyzw_S4 = _quaternion_of(T_cam_chunk_S34[:, :3, :3])
    return torch.cat((T_cam_chunk_S34[:, :3, 3], quat_xyzw_S4, fov_h[:, None], fov_w[:, None]), dim=-1)


def _matrix_of(quat_xyzw_S4: Tensor) -> Tensor:
    x, y, z, w = (quat_xyzw_S4 / quat_xyzw_S4.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)), dim=-1),
        torch.stack((2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)), dim=-1),
        torch.stack((2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)), dim=-1),
    )
    return torch.stack(rows, dim=-2)


def _quaternion_of(R_S33: Tensor) -> Tensor:
    # The quaternion is the eigenvector of this matrix's largest eigenvalue (Bar-Itzhack 2000): no case distinction.
    xx, yy, zz = R_S33[:, 0, 0], R_S33[:, 1, 1], R_S33[:, 2, 2]
    xy, yx = R_S33[:, 0, 1], R_S33[:, 1, 0]
    xz, zx = R_S33[:, 0, 2], R_S33[:, 2, 0]
    yz, zy = R_S33[:, 1, 2], R_S33[:, 2, 1]
    rows = (
        torch.stack((xx - yy - zz, yx + xy, zx + xz, zy - yz), dim=-1),
        torch.stack((yx + xy, yy - xx - zz, zy + yz, xz - zx), dim=-1),
        torch.stack((zx + xz, zy + yz, zz - xx - yy, yx - xy), dim=-1),
        torch.stack((zy - yz, xz - zx, yx - xy, xx + yy + zz), dim=-1),
    )
    quat_xyzw_S4 = torch.linalg.eigh(torch.stack(rows, dim=-2)).eigenvectors[..., -1]
    return quat_xyzw_S4 * torch.where(quat_xyzw_S4[:, 3:] < 0, -1.0, 1.0)
