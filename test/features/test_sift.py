"""Local features and place descriptors: found again under a turn of the camera, a change of light, or half the size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scal3r_ros.features.descriptors import bundled_vocabulary, place_descriptor
from scal3r_ros.features.sift import find_local_features, match
from scal3r_ros.simulation.simulate import SimulatedFrame


def shifted(image: np.ndarray, right: int) -> np.ndarray:
    return np.roll(image, right, axis=1)


def test_points_are_found_where_the_image_moved(street_frames: list[SimulatedFrame]) -> None:
    image = street_frames[0].image
    first, second = find_local_features(image, 200), find_local_features(shifted(image, 12), 200)
    pairs = match(first, second)
    moved = second.uv[pairs[:, 1]] - first.uv[pairs[:, 0]]
    assert len(pairs) > 60
    assert np.mean(np.abs(moved - [12, 0]).max(axis=1) < 1.0) > 0.9


def test_features_are_the_strongest_and_equal_from_call_to_call(street_frames: list[SimulatedFrame]) -> None:
    image = street_frames[3].image
    some, more = find_local_features(image, 50), find_local_features(image, 150)
    assert len(some) == 50
    assert len(more) <= 150
    assert find_local_features(image, 50).descriptors.tobytes() == some.descriptors.tobytes()


def test_pixels_of_a_large_image_are_its_own() -> None:
    small = (np.random.default_rng(0).random((60, 120, 3)) * 255).astype(np.uint8)
    image = cv2.resize(small, (1920, 960), interpolation=cv2.INTER_CUBIC)
    features = find_local_features(image, 100)
    assert features.uv[:, 0].max() > 1000
    assert (features.sigma >= 1.0).all()


def test_an_image_without_points_has_no_features() -> None:
    features = find_local_features(np.full((100, 200, 3), 90, np.uint8), 100)
    assert len(features) == 0
    assert len(match(features, features)) == 0
    assert not place_descriptor(features).any()


@pytest.mark.parametrize("gain", [0.7, 1.3])
def test_a_place_looks_like_itself_in_another_light(street_frames: list[SimulatedFrame], gain: float) -> None:
    def descriptor(image: np.ndarray) -> np.ndarray:
        return place_descriptor(find_local_features(image, 300))

    here = descriptor(street_frames[0].image)
    bright = descriptor(np.clip(street_frames[0].image * gain, 0, 255).astype(np.uint8))
    elsewhere = descriptor(street_frames[-1].image)
    assert here.shape == (bundled_vocabulary().words.size,)
    assert np.linalg.norm(here) == pytest.approx(1.0, abs=1e-5)
    assert here @ bright > 2 * (here @ elsewhere)
