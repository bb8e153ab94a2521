"""Points that are found again by the patches that their tracks began with."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scal3r_ros.features.anchors.anchors import Anchors
from scal3r_ros.features.klt import KltConfig, KltTracker

WIDTH, HEIGHT, FRAMES = 320, 240, 25


def texture(seed: int) -> NDArray[np.uint8]:
    """Smooth noise, with detail in several sizes."""
    rng = np.random.default_rng(seed)
    levels = sum(
        cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)), (0, 0), width) * width for width in (1.5, 3.0, 6.0)
    )
    return np.asarray(np.clip(128 + 60 * levels / np.std(levels), 0, 255), np.uint8)


def warp(frame: int) -> NDArray[np.float64]:
    """From the pixels of the first frame to those of a later one (2, 3): it grows, turns and moves."""
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), 0.4 * frame, 1.015**frame)
    matrix[:, 2] += (0.4 * frame, -0.3 * frame)
    return np.asarray(matrix)


def frames(seed: int) -> list[NDArray[np.uint8]]:
    base, noise = texture(seed), np.random.default_rng(seed + 1)
    shown = [cv2.warpAffine(base, warp(n), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC) for n in range(FRAMES)]
    return [np.clip(each + noise.normal(0.0, 2.0, each.shape), 0, 255).astype(np.uint8) for each in shown]


def errors(config: KltConfig, seed: int) -> NDArray[np.float64]:
    """How far (n,) the points of the first frame are from where they should be in the last."""
    tracker = KltTracker(config)
    first, last = None, None
    for grey in frames(seed):
        tracker.follow(grey)
        last = tracker.replenish()
        first = first or last
    assert first is not None
    assert last is not None
    _, i, j = np.intersect1d(first.ids, last.ids, return_indices=True)
    matrix = warp(FRAMES - 1)
    true = first.uv[i] @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(np.linalg.norm(last.uv[j] - true, axis=1))


@pytest.mark.parametrize("seed", [0, 7])
def test_a_point_drifts_less_when_it_is_found_by_the_patch_it_began_with(seed: int) -> None:
    config = KltConfig(max_features=150, anchor=9)
    followed, found = errors(replace(config, anchor=0), seed), errors(config, seed)
    assert len(found) > 40
    assert np.median(found) < 0.5 * np.median(followed)
    assert np.median(found) < 0.1


def test_a_point_stays_where_its_patch_looks_like_nothing_there() -> None:
    anchors, ids = Anchors(11), np.arange(3)
    uv = np.array([[60.0, 60.0], [120.0, 100.0], [3.0, 3.0]], np.float32)
    anchors.begin(texture(1), ids, uv)
    np.testing.assert_array_equal(anchors.located(texture(2), ids, uv + 0.4), uv + 0.4)


def test_gain_and_offset_of_the_image_move_no_point() -> None:
    anchors, grey, ids = Anchors(11), texture(3), np.arange(2)
    uv = np.array([[60.0, 60.0], [120.5, 100.25]], np.float32)
    anchors.begin(grey, ids, uv)
    darker = np.asarray(0.6 * grey + 20, np.uint8)
    np.testing.assert_allclose(anchors.located(darker, ids, uv + np.float32(0.7)), uv, atol=0.05)
