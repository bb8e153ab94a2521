"""Resize and crop: the released pixels, and a calibration that follows them."""

import numpy as np
import pytest
import torch

from scal3r_ros.errors import ModelError
from scal3r_ros.model import plan_resize


def waves(height: int, width: int) -> np.ndarray:
    """The image behind the reference numbers."""
    random = np.random.RandomState(height)
    yy, xx = np.mgrid[0:height, 0:width]
    channels = [127 + 80 * np.sin(0.05 * xx + c) + 40 * np.cos(0.08 * yy - c) for c in range(3)]
    noisy = np.stack(channels, -1) + 5 * random.standard_normal((height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("camera", ["kitti", "vga", "portrait"])
def test_pixels_equal_the_released_ones_within_one_grey_level(reference_folder, camera):
    reference = np.load(reference_folder / "preprocessing.npz")
    height, width = (int(n) for n in reference[f"{camera}/input_size"])
    plan = plan_resize(height, width, 518, 14)
    assert plan.target == tuple(reference[f"{camera}/output_size"])
    ours = (plan(waves(height, width)) * 255).permute(1, 2, 0)[::2, ::2].numpy()
    theirs = reference[f"{camera}/output"].astype(np.float64)
    assert (np.abs(ours - theirs) <= 1.001).mean() > 0.99


@pytest.mark.parametrize("size", [(376, 1241), (480, 640), (640, 360), (97, 101)])
@pytest.mark.parametrize("patch", [8, 14])
def test_result_is_made_of_whole_patches_of_the_width_asked_for(size, patch):
    plan = plan_resize(*size, 40 * patch + 3, patch)
    assert plan.target[1] == 40 * patch
    assert plan.target[0] % patch == 0
    assert plan(np.zeros((*size, 3), np.uint8)).shape == (3, *plan.target)


@pytest.mark.parametrize("principal_point", [None, (250.0, 260.0), (400.0, 215.0)])
def test_calibration_follows_the_pixels(principal_point):
    height, width = 480, 640
    plan = plan_resize(height, width, 256, 8, principal_point)
    # A blob whose centre of mass is known before and after.
    yy, xx = np.mgrid[0:height, 0:width]
    blob = 250 * np.exp(-((xx - 310.0) ** 2 + (yy - 236.0) ** 2) / (2 * 12.0**2))
    result = plan(np.repeat(blob[..., None], 3, axis=2).astype(np.uint8))[0].double()
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in plan.target), indexing="ij")
    found = [float((result * axis).sum() / result.sum()) for axis in (columns, rows)]
    # A ray through the blob, with any calibration of the source.
    K = np.array([[500.0, 0, 320.0], [0, 510.0, 240.0], [0, 0, 1]])
    ray = np.linalg.inv(K) @ [310.0, 236.0, 1.0]
    expected = plan.calibration(K) @ ray
    np.testing.assert_allclose(found, expected[:2] / expected[2], atol=0.1)


def test_principal_point_comes_to_the_middle_and_what_is_outside_is_black():
    plan = plan_resize(480, 640, 256, 8, (200.0, 240.0))
    K = plan.calibration(np.array([[500.0, 0, 200.0], [0, 500.0, 240.0], [0, 0, 1]]))
    np.testing.assert_allclose(K[:2, 2] + 0.5, np.array(plan.target[::-1]) / 2, atol=0.51)
    image = plan(np.full((480, 640, 3), 255, np.uint8))
    assert (image[:, :, :40] == 0).all()
    assert (image[:, 8:-8, 60:] == 1).all()


def test_images_of_another_size_are_refused():
    plan = plan_resize(48, 64, 32, 8)
    with pytest.raises(ModelError, match="one size"):
        plan(np.zeros((64, 48, 3), np.uint8))
    with pytest.raises(ModelError, match="float32"):
        plan(np.zeros((48, 64, 3), np.float32))
    with pytest.raises(ModelError, match="cannot be resized"):
        plan_resize(0, 64, 32, 8)
