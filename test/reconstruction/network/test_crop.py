"""Windows that the network sees, laid back onto whole frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.model import encode_pose
from scal3r_ros.reconstruction.network.crop import Crop, crop_of
from scal3r_ros.reconstruction.protocol import Frame


def framing(cx: float, cy: float, height: int = 120, width: int = 200) -> Crop:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    camera = Intrinsics(150.0, 160.0, cx, cy, width, height)
    return crop_of([Frame(i, i, image, camera) for i in range(3)], 64, 8)


@pytest.mark.parametrize(("cx", "cy"), [(99.5, 59.5), (80.0, 70.0), (130.0, 59.5), (99.5, 30.0), (-500.0, 900.0)])
def test_a_pixel_of_the_window_keeps_its_ray_and_its_depth_on_the_whole_frame(cx: float, cy: float) -> None:
    view = framing(cx, cy)
    plan, frame = view.plans[1], view.frames[1]
    assert frame.intrinsics is not None
    window_K = plan.calibration(frame.intrinsics.K)
    whole_K = view.calibration(1, frame.intrinsics).K
    height, width = plan.target
    v, u = np.mgrid[0:height, 0:width]
    rays = np.linalg.inv(window_K) @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    whole_u, whole_v, _ = np.rint(whole_K @ rays).astype(int)
    depth = np.arange(1.0, u.size + 1, dtype=np.float32)
    maps = view.on_frames(depth.reshape(1, height, width), [1])
    assert maps.shape == (3, *plan.resized)
    assert not maps[[0, 2]].any()
    on_it = (whole_u >= 0) & (whole_u < plan.resized[1]) & (whole_v >= 0) & (whole_v < plan.resized[0])
    np.testing.assert_array_equal(maps[1][whole_v[on_it], whole_u[on_it]], depth[on_it])
    assert np.count_nonzero(maps) == on_it.sum()


def test_the_networks_own_calibration_moves_with_the_window() -> None:
    view = framing(80.0, 70.0)
    top, left = view.plans[0].offset
    height, width = view.plans[0].target
    K = torch.tensor([[70.0, 0, width / 2], [0, 75.0, height / 2], [0, 0, 1]], dtype=torch.float64).expand(3, 3, 3)
    T = torch.eye(4, dtype=torch.float64)[:3].expand(3, 3, 4)
    cameras = view.cameras(encode_pose(T, K, height, width), use_camera_info=False)
    first = cameras.intrinsics[0]
    np.testing.assert_allclose([first.fx, first.fy, first.cx, first.cy], [70, 75, width / 2 + left, height / 2 + top])
    assert (first.height, first.width) == view.size
    np.testing.assert_allclose(cameras.T_chunk_cam, np.tile(np.eye(4), (3, 1, 1)), atol=1e-12)


def test_a_field_of_view_that_no_camera_has_stays_finite() -> None:
    encoding = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 0.0, 0.0], [0, 0, 0, 0, 0, 0, 1, 9.0, 9.0]]).repeat(2, 1)[:3]
    assert framing(99.5, 59.5).cameras(encoding, use_camera_info=False).finite


def test_a_rotation_without_direction_is_not_finite() -> None:
    assert not framing(99.5, 59.5).cameras(torch.zeros(3, 9), use_camera_info=True).finite


def test_images_are_windows_of_the_frames_asked_for() -> None:
    view = framing(80.0, 70.0)
    assert view.images([2, 0]).shape == (2, 3, *view.plans[0].target)
    assert (view.grid.rows * 8, view.grid.columns * 8) == view.plans[0].target
