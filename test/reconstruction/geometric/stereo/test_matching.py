"""Matching costs against a plain computation of the same correlation, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.reconstruction.geometric.stereo.matching import WORST, matching_cost

H, W = 14, 22
NOISE = 2.0


def views(count: int, seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A reference, sources (n, H, W), and A (n, 3, 3), b (n, 3) of cameras that are turned and moved a little."""
    rng = np.random.default_rng(seed)
    A = np.eye(3) + rng.normal(0, 1, (count, 3, 3)) * [[0.02, 0.02, 0.6], [0.02, 0.02, 0.6], [5e-4, 5e-4, 0.01]]
    b = rng.normal(0, 1, (count, 3)) * [6.0, 3.0, 0.05]
    images = rng.normal(0, 12, (count + 1, H, W))
    return tuple(np.asarray(array, np.float32) for array in (images[0], images[1:], A, b))


def sampled(image: np.ndarray, x: float, y: float) -> float:
    """Bilinear, with the border repeated."""
    x, y = min(max(x, 0.0), W - 1.0), min(max(y, 0.0), H - 1.0)
    left, top = min(int(x), W - 2), min(int(y), H - 2)
    across, down = x - left, y - top
    upper = (1 - across) * image[top, left] + across * image[top, left + 1]
    lower = (1 - across) * image[top + 1, left] + across * image[top + 1, left + 1]
    return float((1 - down) * upper + down * lower)


def plain_cost(
    reference: np.ndarray, sources: np.ndarray, A: np.ndarray, b: np.ndarray, q: float, radius: int, kept: int
) -> np.ndarray:
    costs = np.empty((len(sources), H, W))
    for s, source in enumerate(sources.astype(np.float64)):
        warped, seen = np.empty((H, W)), np.empty((H, W), bool)
        for v in range(H):
            for u in range(W):
                x, y, z = A[s].astype(np.float64) @ [u, v, 1.0] + q * b[s].astype(np.float64)
                seen[v, u] = z > 0 and 0 <= x / z <= W - 1 and 0 <= y / z <= H - 1
                warped[v, u] = sampled(source, x / z, y / z)
        for v in range(H):
            for u in range(W):
                window = np.s_[max(0, v - radius) : v + radius + 1, max(0, u - radius) : u + radius + 1]
                one, two = reference[window].astype(np.float64), warped[window]
                both = ((one - one.mean()) * (two - two.mean())).mean()
                correlation = both / np.sqrt((one.var() + NOISE) * (two.var() + NOISE))
                costs[s, v, u] = min(1.0, 1.0 - correlation) if seen[v, u] else 1.0
    return np.sort(costs, axis=0)[:kept].mean(axis=0)


@pytest.mark.parametrize(("count", "kept", "radius"), [(1, 1, 2), (3, 2, 2), (4, 2, 1), (5, 3, 3)])
def test_costs_are_those_of_the_plain_correlation(count: int, kept: int, radius: int) -> None:
    reference, sources, A, b = views(count)
    planes = np.linspace(0.02, 0.3, 11, dtype=np.float32)  # more than one block of planes, and a part of one
    cost = matching_cost(reference, sources, A, b, planes, radius, NOISE, kept)
    assert cost.shape == (H, W, 11)
    for d in (0, 5, 10):
        plain = plain_cost(reference, sources, A, b, float(planes[d]), radius, kept) * WORST
        assert np.abs(cost[:, :, d] - plain).max() < 1.0


def test_another_exposure_costs_nothing() -> None:
    reference, _, _, _ = views(1)
    still, none = np.eye(3, dtype=np.float32)[None], np.zeros((1, 3), np.float32)
    brighter = (0.6 * 10 * reference + 30.0)[None].astype(np.float32)
    cost = matching_cost(10 * reference, brighter, still, none, np.array([0.1], np.float32), 2, NOISE, 1)
    assert cost.max() <= 1


def test_images_without_texture_match_everything_equally_badly() -> None:
    flat = np.full((H, W), 3.0, np.float32)
    still, moved = np.eye(3, dtype=np.float32)[None], np.array([[4.0, 0.0, 0.0]], np.float32)
    cost = matching_cost(flat, flat[None], still, moved, np.linspace(0.1, 1.0, 9, dtype=np.float32), 2, NOISE, 1)
    assert (cost == WORST).all()
