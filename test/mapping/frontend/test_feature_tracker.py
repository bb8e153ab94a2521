"""Tracks hold on through quick turns, black images and a dropped second; what cannot be connected is adrift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scal3r_ros.features.klt import KltConfig, KltTracker
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.frontend.feature_tracker import FeatureTracker
from scal3r_ros.reconstruction.protocol import Features, Frame
from scal3r_ros.simulation.simulate import SimulatedFrame

CONFIG = KltConfig(cell=60)


def frames_of(images: list[np.ndarray], camera: Intrinsics) -> list[Frame]:
    return [Frame(i, 10**9 + i * 10**8, image, camera) for i, image in enumerate(images)]


def common(one: Features, other: Features) -> int:
    return len(np.intersect1d(one.ids, other.ids))


def turned(image: np.ndarray, pixels: int) -> np.ndarray:
    """What is in view `pixels` to the right of `image`: the rest is new."""
    rng = np.random.default_rng(pixels)
    fresh = rng.integers(0, 255, image.shape).astype(np.uint8)
    fresh[:, :-pixels] = image[:, pixels:]
    return fresh


def test_a_turn_of_a_third_of_the_image_keeps_tracks(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    image = street_frames[0].image
    images = [image, turned(image, image.shape[1] // 3)]
    plain, tracker = KltTracker(CONFIG), FeatureTracker(CONFIG)
    before_plain, after_plain = (plain.track(one) for one in images)
    before, after = (tracker.track(frame) for frame in frames_of(images, street_camera))
    assert 2 * common(before_plain, after_plain) < common(before, after)
    assert common(before, after) > 60
    assert not tracker.adrift
    _, i, j = np.intersect1d(before.ids, after.ids, return_indices=True)
    assert np.median(np.abs(before.uv[i] - after.uv[j] - [image.shape[1] // 3, 0])) < 0.1


def test_points_bring_their_velocity_unless_the_images_are_too_far_apart(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    image = street_frames[0].image
    frames = frames_of([turned(image, pixels) for pixels in (4, 8, 12)], street_camera)
    frames[2] = replace(frames[2], stamp_ns=frames[1].stamp_ns + 10**9)
    tracker = FeatureTracker(CONFIG)
    first, second, third = (tracker.track(frame) for frame in frames)
    assert first.velocity is None
    assert third.velocity is None
    assert second.velocity is not None
    np.testing.assert_allclose(np.median(second.velocity, axis=0), [-40.0, 0.0], atol=0.5)


def test_tracks_go_on_after_a_second_of_black(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> None:
    images = [frame.image for frame in street_frames[:14]]
    images[3:11] = [np.zeros_like(images[0])] * 8
    tracker, seen, adrift = FeatureTracker(CONFIG), [], []
    for frame in frames_of(images, street_camera):
        seen.append(tracker.track(frame))
        adrift.append(tracker.adrift)
    assert adrift[7:] == [True] * 4 + [False] * 3  # black images are passed over as blurred ones, up to four
    assert common(seen[2], seen[11]) > 25
    assert common(seen[2], seen[5]) == 0


def test_another_place_stays_adrift_until_a_segment_begins(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    images = [street_frames[0].image] * 2 + [np.ascontiguousarray(street_frames[20].image[::-1])] * 3
    tracker = FeatureTracker(CONFIG)
    seen = [tracker.track(frame) for frame in frames_of(images, street_camera)]
    assert tracker.adrift
    assert common(seen[1], seen[4]) == 0
    assert common(seen[2], seen[4]) > 100  # followed all the same
    tracker.begin_segment()
    tracker.track(Frame(5, 2 * 10**9, images[-1], street_camera))
    assert not tracker.adrift


def test_tracks_go_on_where_the_camera_comes_back(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics
) -> None:
    wide = np.concatenate([frame.image for frame in street_frames[:20:7]], axis=1)
    width = street_frames[0].image.shape[1]
    there = list(range(0, 2 * width, width // 10))
    images = [np.ascontiguousarray(wide[:, at : at + width]) for at in (*there, *there[::-1])]
    plain, tracker = FeatureTracker(CONFIG), FeatureTracker(CONFIG, revisits=30)
    seen_plain = [plain.track(frame) for frame in frames_of(images, street_camera)]
    seen = [tracker.track(frame) for frame in frames_of(images, street_camera)]
    assert common(seen_plain[0], seen_plain[-1]) == 0
    _, i, j = np.intersect1d(seen[0].ids, seen[-1].ids, return_indices=True)
    assert len(i) > 40
    assert np.median(np.abs(seen[0].uv[i] - seen[-1].uv[j])) < 0.3
    assert max(len(features.ids) for features in seen) <= 1.5 * CONFIG.max_features
