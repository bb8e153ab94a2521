"""Feature tracks follow the images: shifts known to a fraction of a pixel, and the flow of a rendered street."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from scal3r_ros.features.klt import KltConfig, KltTracker, exposed_like
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.protocol import Features
from scal3r_ros.simulation.simulate import SimulatedFrame

CONFIG = KltConfig(cell=80)


def shifted(dx: float, dy: float) -> np.ndarray:
    """A smooth random image, its content moved by (dx, dy) pixels."""
    texture = np.random.default_rng(3).uniform(0, 255, (140, 180)).astype(np.float32)
    blurred = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX)
    moved = cv2.warpAffine(blurred, np.float32([[1, 0, dx], [0, 1, dy]]), (180, 140), flags=cv2.INTER_CUBIC)
    return np.repeat(np.clip(moved, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def common(before: Features, after: Features) -> tuple[np.ndarray, np.ndarray]:
    _, i, j = np.intersect1d(before.ids, after.ids, return_indices=True)
    return before.uv[i], after.uv[j]


def test_a_shift_is_followed_to_a_fraction_of_a_pixel() -> None:
    tracker = KltTracker(CONFIG)
    before = tracker.track(shifted(0, 0))
    uv, moved = common(before, tracker.track(shifted(3.25, -1.5)))
    assert len(uv) > 0.6 * len(before.ids)  # the others left the image or came too close to its border
    assert np.abs(moved - uv - [3.25, -1.5]).max(axis=1).mean() < 0.05


@pytest.mark.parametrize(("gain", "offset"), [(1.3, 0.0), (0.7, 10.0), (0.9, -15.0)])
def test_tracks_survive_a_camera_that_adjusts_its_exposure(gain: float, offset: float) -> None:
    tracker = KltTracker(CONFIG)
    steady = 0.7 * shifted(0, 0) + 20.0
    before = tracker.track(steady.astype(np.uint8))
    moved = np.clip(gain * (0.7 * shifted(3.25, -1.5) + 20.0) + offset, 0, 255)
    uv, there = common(before, tracker.track(moved.astype(np.uint8)))
    assert len(uv) > 0.6 * len(before.ids)
    assert np.abs(there - uv - [3.25, -1.5]).max(axis=1).mean() < 0.15


def test_images_of_equal_exposure_stay_as_they_are() -> None:
    image = shifted(0, 0)[..., 0]
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    assert exposed_like(image, noisy) is image
    black = np.zeros_like(image)
    assert exposed_like(black, image) is black  # it has no exposure to go by


def test_tracks_follow_the_true_flow_of_a_street(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    tracker = KltTracker(CONFIG)
    before = tracker.track(street_frames[20].image)
    errors = []
    for frame, after in itertools.pairwise(street_frames[20:28]):
        features = tracker.track(after.image)
        uv, seen = common(before, features)
        column, row = np.rint(uv).astype(int).T
        z = frame.depth_m[row, column]
        around = [frame.depth_m[row + dv, column + du] for du in (-2, 0, 2) for dv in (-2, 0, 2)]
        smooth = (np.min(around, axis=0) > 0.97 * z) & (
            np.max(around, axis=0) < 1.03 * z
        )  # not on an edge: whose depth?
        rays = np.column_stack([uv, np.ones(len(uv))]) @ np.linalg.inv(street_camera.K).T
        T = np.linalg.inv(after.T_ref_cam) @ frame.T_ref_cam
        local = (rays * z[:, None]) @ T[:3, :3].T + T[:3, 3]
        true = (local @ street_camera.K.T)[:, :2] / local[:, 2:]
        errors.append(np.linalg.norm(seen - true, axis=1)[(z > 0) & smooth])
        before = features
    assert np.median(np.concatenate(errors)) < 0.3
    assert np.percentile(np.concatenate(errors), 90) < 1.5


def test_ids_ascend_and_are_never_used_again(street_frames: list[SimulatedFrame]) -> None:
    tracker = KltTracker(CONFIG)
    gone: set[int] = set()
    last: set[int] = set()
    for number, frame in enumerate(street_frames[:12]):
        if number == 6:
            tracker.reset()
        features = tracker.track(frame.image)
        assert np.all(np.diff(features.ids) > 0)
        assert len(features.ids) == len(features.uv) <= CONFIG.max_features
        now = set(features.ids.tolist())
        gone |= last - now
        assert not now & gone
        last = now


def test_points_keep_off_the_border_and_spread_over_the_image(street_frames: list[SimulatedFrame]) -> None:
    image = street_frames[0].image
    uv = KltTracker(KltConfig(cell=28)).track(image).uv
    margin = KltConfig().window // 2
    assert np.all((uv >= margin) & (uv < np.array([image.shape[1], image.shape[0]]) - margin))
    blocks = {(int(4 * x / image.shape[1]), int(4 * y / image.shape[0])) for x, y in uv}
    assert len(blocks) >= 12


def test_black_frames_hold_no_points_and_tracks_start_anew_after_them() -> None:
    tracker = KltTracker(CONFIG)
    first = tracker.track(shifted(0, 0))
    assert len(tracker.track(np.zeros((140, 180, 3), np.uint8)).ids) == 0
    again = tracker.track(shifted(0, 0))
    assert len(again.ids) == len(first.ids)
    assert again.ids.min() > first.ids.max()


def test_a_change_of_size_starts_all_tracks_anew() -> None:
    tracker = KltTracker(CONFIG)
    first = tracker.track(shifted(0, 0))
    smaller = tracker.track(shifted(0, 0)[:100, :120].copy())
    assert len(smaller.ids)
    assert smaller.ids.min() > first.ids.max()


@pytest.mark.parametrize("size", [(6, 6), (16, 200), (200, 9)])
def test_an_image_too_small_for_a_cell_has_no_points(size: tuple[int, int]) -> None:
    tracker = KltTracker(KltConfig(cell=400))
    for _ in range(2):
        assert len(tracker.track(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).ids) == 0


def test_equal_images_give_equal_tracks(street_frames: list[SimulatedFrame]) -> None:
    runs = []
    for _ in range(2):
        tracker = KltTracker(CONFIG)
        runs.append([tracker.track(frame.image) for frame in street_frames[:6]])
    for one, other in zip(*runs, strict=True):
        assert one.ids.tobytes() == other.ids.tobytes()
        assert one.uv.tobytes() == other.uv.tobytes()
