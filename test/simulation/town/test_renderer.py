"""The renderer as an oracle: what it says of depth and pose has to agree from one view to the next."""

import cv2
import numpy as np
import pytest

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole
from scal3r_ros.simulation.town.renderer import Rendering, RenderOptions, render
from scal3r_ros.simulation.town.town import Town, build_town

CAMERA = pinhole(320, 128, 85.0)
CLEAN = RenderOptions(noise=0.0)


@pytest.fixture(scope="module")
def drive() -> Trajectory:
    return street_drive(120.0, seed=1)


@pytest.fixture(scope="module")
def town(drive: Trajectory) -> Town:
    return build_town(drive, seed=1)


def view(town: Town, drive: Trajectory, index: int, options: RenderOptions = CLEAN, seed: int = 0) -> Rendering:
    return render(town.scene, CAMERA, town.T_scene_ref @ drive.T_ref_cam[index], options, seed)


def carried(drive: Trajectory, a: int, b: int, u: np.ndarray, v: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Where points (n) of view a with z-depth appear in view b: u, v, z (n, 3)."""
    points = np.stack([(u - CAMERA.cx) / CAMERA.fx * depth, (v - CAMERA.cy) / CAMERA.fy * depth, depth])
    T_b_a = np.linalg.inv(drive.T_ref_cam[b]) @ drive.T_ref_cam[a]
    x, y, z = T_b_a[:3, :3] @ points + T_b_a[:3, 3:]
    return np.stack([x / z * CAMERA.fx + CAMERA.cx, y / z * CAMERA.fy + CAMERA.cy, z], axis=-1)


@pytest.mark.parametrize(("a", "b"), [(20, 22), (60, 63), (95, 93)])
def test_depth_and_colour_of_one_view_predict_another(town: Town, drive: Trajectory, a: int, b: int) -> None:
    first, second = view(town, drive, a), view(town, drive, b)
    v, u = np.nonzero(first.depth_m > 0)
    seen = carried(drive, a, b, u, v, first.depth_m[v, u])
    inside = (
        (seen[:, 2] > 0.5)
        & (seen[:, 0] > 1) & (seen[:, 0] < CAMERA.width - 2) & (seen[:, 1] > 1) & (seen[:, 1] < CAMERA.height - 2)
    )  # fmt: skip
    seen, u, v = seen[inside], u[inside], v[inside]
    count = len(seen) - len(seen) % 256  # OpenCV's images have less than 32,768 columns
    seen, u, v = seen[:count], u[:count], v[:count]
    map_u, map_v = (seen[:, axis].reshape(-1, 256).astype(np.float32) for axis in range(2))
    # Inverse depth is linear in the image on planes, so that it may be interpolated.
    inverse = 1.0 / np.where(second.depth_m > 0, second.depth_m, 1e9)
    there = 1.0 / cv2.remap(inverse, map_u, map_v, cv2.INTER_LINEAR).reshape(-1)
    agrees = np.abs(there / seen[:, 2] - 1.0) < 0.01
    assert inside.mean() > 0.5
    assert agrees.mean() > 0.85  # the rest is hidden in one of the views, or on an edge
    colour = cv2.remap(second.image, map_u, map_v, cv2.INTER_LINEAR).reshape(-1, 3).astype(float)
    difference = np.abs(colour - first.image[v, u])[agrees]
    assert np.median(difference) <= 3.0
    assert np.mean(difference > 40.0) < 0.02


@pytest.mark.parametrize(("rate_hz", "median_px"), [(10.0, 0.4), (50.0, 0.2)])
def test_tracked_features_follow_the_true_flow(town: Town, rate_hz: float, median_px: float) -> None:
    drive = street_drive(120.0, rate_hz=rate_hz, seed=1)
    errors, counts = [], []
    for a in range(10, len(drive) - 1, len(drive) // 8):
        first, second = (view(town, drive, index, RenderOptions(), seed=index) for index in (a, a + 1))
        grey = [cv2.cvtColor(picture.image, cv2.COLOR_RGB2GRAY) for picture in (first, second)]
        corners = cv2.goodFeaturesToTrack(grey[0], 400, 0.01, 6)
        found, status, _ = cv2.calcOpticalFlowPyrLK(grey[0], grey[1], corners, None, winSize=(15, 15))
        back, returned, _ = cv2.calcOpticalFlowPyrLK(grey[1], grey[0], found, None, winSize=(15, 15))
        kept = (status & returned).ravel().astype(bool) & (np.linalg.norm(back - corners, axis=2).ravel() < 0.5)
        corners, found = corners[kept, 0], found[kept, 0]
        column, row = np.round(corners).astype(int).T
        depth = first.depth_m[row, column]
        solid = depth > 0
        seen = carried(drive, a, a + 1, *corners[solid].T.astype(float), depth[solid].astype(float))
        errors.append(np.linalg.norm(seen[:, :2] - found[solid], axis=1))
        counts.append(len(errors[-1]))
    assert min(counts) > 80
    assert np.median(np.concatenate(errors)) < median_px
    assert np.mean(np.concatenate(errors) < 1.0) > 0.8


def test_equal_input_gives_equal_bytes_and_seeds_differ(town: Town, drive: Trajectory) -> None:
    first, again = (view(town, drive, 30, RenderOptions(), seed=7) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.depth_m.tobytes() == again.depth_m.tobytes()
    other = view(town, drive, 30, RenderOptions(), seed=8)
    assert other.depth_m.tobytes() == first.depth_m.tobytes()
    assert (other.image != first.image).mean() > 0.3
    elsewhere = build_town(drive, seed=2)
    assert (view(elsewhere, drive, 30).depth_m != first.depth_m).mean() > 0.3


def test_noise_has_the_strength_that_was_asked_for(town: Town, drive: Trajectory) -> None:
    clean = view(town, drive, 30).image.astype(float)
    noisy = view(town, drive, 30, RenderOptions(noise=4.0), seed=1).image.astype(float)
    unclipped = (clean > 20) & (clean < 235)
    residual = (noisy - clean)[unclipped]
    assert residual.std() == pytest.approx(4.0, rel=0.05)
    assert abs(residual.mean()) < 0.1


def test_exposure_brightens(town: Town, drive: Trajectory) -> None:
    dark, bright = (view(town, drive, 30, RenderOptions(exposure, 0.0)).image.mean() for exposure in (0.5, 1.0))
    assert dark < 0.8 * bright


def test_the_image_is_lively_everywhere_but_in_the_sky(town: Town, drive: Trajectory) -> None:
    """Texture to track: most blocks of 16 × 16 pixels that show something solid vary by some grey levels."""
    rendering = view(town, drive, 40)
    grey = rendering.image.mean(axis=2).reshape(8, 16, 20, 16).swapaxes(1, 2)
    solid = (rendering.depth_m > 0).reshape(8, 16, 20, 16).all(axis=(1, 3))
    assert np.mean(grey.std(axis=(2, 3))[solid] > 4.0) > 0.8


def test_sky_has_no_depth_and_the_rest_is_within_sight(town: Town, drive: Trajectory) -> None:
    up = drive.T_ref_cam[40].copy()
    up[:3, :3] = up[:3, :3] @ cv2.Rodrigues(np.array([np.pi / 2, 0, 0]))[0]
    depth = render(town.scene, CAMERA, town.T_scene_ref @ up).depth_m
    assert (depth == 0).mean() > 0.5
    level = view(town, drive, 40).depth_m
    assert np.all((level >= 0) & (level < 300))
    assert (level > 0).mean() > 0.7


def test_a_camera_outside_the_world_is_refused(town: Town, drive: Trajectory) -> None:
    far = drive.T_ref_cam[0].copy()
    far[:2, 3] = 5000
    with pytest.raises(SimulationError, match="outside the world"):
        render(town.scene, CAMERA, far)
