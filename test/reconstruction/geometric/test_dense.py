"""Dense depth of a rendered street against the depth it was rendered with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject
from scal3r_ros.reconstruction.geometric.dense import KnownDepth, dense_depth
from scal3r_ros.reconstruction.geometric.plane_sweep import PlaneSweepConfig
from scal3r_ros.simulation.simulate import SimulatedFrame

CONFIG = PlaneSweepConfig(width=240, planes=64)
CHOSEN = range(10, 22, 2)
Result = tuple[np.ndarray, np.ndarray, Intrinsics]


def true_points(frame: SimulatedFrame, camera: Intrinsics) -> np.ndarray:
    """Every 41st point that a frame sees, in the world."""
    local = backproject(frame.depth_m, camera)[(frame.depth_m > 0) & (frame.depth_m < 80)][::41]
    return local @ frame.T_ref_cam[:3, :3].T + frame.T_ref_cam[:3, 3]


def run(frames: list[SimulatedFrame], camera: Intrinsics, workers: int = 2, known: KnownDepth | None = None) -> Result:
    chosen = [frames[number] for number in CHOSEN]
    points = {number: true_points(frame, camera) for number, frame in enumerate(chosen)}
    T = np.stack([frame.T_ref_cam for frame in chosen])
    images = [frame.image for frame in chosen]
    with ThreadPoolExecutor(workers) as pool:
        return dense_depth(images, camera, T, points, known, CONFIG, torch.device("cpu"), pool)


@pytest.fixture(scope="module")
def result(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> Result:
    return run(street_frames, street_camera)


@pytest.fixture(scope="module")
def true_depth(street_frames: list[SimulatedFrame], result: Result) -> np.ndarray:
    """The rendered depth at the pixels of the maps."""
    small = result[2]
    height, width = street_frames[0].depth_m.shape
    rows = np.clip(np.rint((np.arange(small.height) + 0.5) * height / small.height - 0.5), 0, height - 1).astype(int)
    columns = np.clip(np.rint((np.arange(small.width) + 0.5) * width / small.width - 0.5), 0, width - 1).astype(int)
    return np.stack([street_frames[number].depth_m[np.ix_(rows, columns)] for number in CHOSEN])


def test_confident_depth_is_true_within_a_few_percent(result: Result, true_depth: np.ndarray) -> None:
    depth, confidence, _ = result
    sure = (confidence > 0.5) & (true_depth > 0)
    error = np.abs(depth[sure] / true_depth[sure] - 1.0)
    assert sure.mean() > 0.36
    assert np.median(error) < 0.015
    assert np.mean(error < 0.1) > 0.93


def test_more_confidence_means_less_error(result: Result, true_depth: np.ndarray) -> None:
    depth, confidence, _ = result
    known = true_depth > 0
    error = np.abs(depth / np.maximum(true_depth, 1e-9) - 1.0)
    unsure, sure = known & (confidence > 0) & (confidence < 0.6), known & (confidence > 0.85)
    assert np.mean(error[sure] > 0.1) < np.mean(error[unsure] > 0.1)


def test_the_sky_has_no_confidence(result: Result, true_depth: np.ndarray) -> None:
    sky = true_depth == 0
    assert sky.mean() > 0.05
    assert np.mean(result[1][sky] > 0.5) < 0.02


def test_confidence_is_a_share_and_depth_is_positive_where_there_is_any(result: Result) -> None:
    depth, confidence, small = result
    assert depth.shape == confidence.shape == (len(CHOSEN), small.height, small.width)
    assert confidence.min() >= 0.0
    assert confidence.max() <= 1.0
    assert np.all(depth[confidence > 0] > 0)


def test_workers_do_not_change_a_byte(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics, result: Result
) -> None:
    depth, confidence, _ = run(street_frames, street_camera, workers=1)
    assert depth.tobytes() == result[0].tobytes()
    assert confidence.tobytes() == result[1].tobytes()


def test_known_depth_is_kept(street_frames: list[SimulatedFrame], street_camera: Intrinsics, result: Result) -> None:
    known = KnownDepth(result[0][:2] * 1.01, result[1][:2] * 0.5)
    depth, confidence, _ = run(street_frames, street_camera, known=known)
    np.testing.assert_array_equal(depth[:2], known.depth)
    np.testing.assert_array_equal(confidence[:2], known.confidence)
    assert (confidence[2:] > 0.5).mean() > 0.15


def test_frames_without_texture_motion_or_points_have_no_depth(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    frame = street_frames[10]
    black = [np.zeros_like(frame.image)] * 3
    moving = np.stack([street_frames[number].T_ref_cam for number in (10, 12, 14)])
    standing = np.stack([frame.T_ref_cam] * 3)
    points = dict.fromkeys(range(3), true_points(frame, street_camera))
    none = dict.fromkeys(range(3), np.empty((0, 3)))
    with ThreadPoolExecutor(1) as pool:
        for images, T, seen in ((black, moving, points), ([frame.image] * 3, standing, points), (black, moving, none)):
            _, confidence, _ = dense_depth(images, street_camera, T, seen, None, CONFIG, torch.device("cpu"), pool)
            assert not confidence.any()
