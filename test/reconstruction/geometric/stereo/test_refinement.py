"""Least squares matching on planes whose inverse depth is known at every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.reconstruction.geometric.stereo.refinement import refined

H, W, F = 60, 90, 80.0
NOISE = 1.0


def texture(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(8)
    waves, phase = rng.normal(0, 5.0, (60, 2)), rng.uniform(0, 2 * np.pi, 60)
    return 6 * np.cos(x[..., None] * waves[:, 0] + y[..., None] * waves[:, 1] + phase).sum(axis=-1)


def image_at(offset: float, near: float, slant: float) -> tuple[np.ndarray, np.ndarray]:
    """The plane z = near + slant · x seen from x = `offset`: image and inverse depth (H, W)."""
    v, u = np.mgrid[0:H, 0:W]
    x, y = (u - (W - 1) / 2) / F, (v - (H - 1) / 2) / F
    z = (near + slant * offset) / (1.0 - slant * x)
    return texture(offset + x * z, y * z).astype(np.float32), (1.0 / z).astype(np.float32)


def error_after(off_px: float, slant: float, offsets: list[float], more: tuple[np.ndarray, ...] = ()) -> np.ndarray:
    """Error in pixels of the widest source, away from the border, after one step from `off_px` beside the truth.

    `more` images are taken for ones seen from 0.4.
    """
    reference, true = image_at(0.0, 5.0, slant)
    sources = [*(image_at(offset, 5.0, slant)[0] for offset in offsets), *more]
    offsets = [*offsets, *[0.4] * len(more)]
    widest = F * max(map(abs, offsets))
    b = np.array([[-F * offset, 0, 0] for offset in offsets], np.float32)
    A = np.repeat(np.eye(3, dtype=np.float32)[None], len(offsets), axis=0)
    found, _ = refined(reference, np.stack(sources), A, b, true + np.float32(off_px / widest), NOISE)
    return ((found - true) * widest)[5:-5, 20:-20]


@pytest.mark.parametrize("slant", [0.0, 0.7, -0.7])
@pytest.mark.parametrize("off_px", [-0.6, 0.3, 0.6])
def test_a_step_comes_nearer_to_the_truth(off_px: float, slant: float) -> None:
    offsets = [-0.4, 0.4, 0.7]
    assert np.median(np.abs(error_after(off_px, slant, offsets))) < 0.35 * abs(off_px)
    assert np.median(np.abs(error_after(0.0, slant, offsets))) < 0.06


def test_a_source_that_shows_something_else_does_not_pull() -> None:
    other = np.random.default_rng(3).normal(0, 40, (H, W)).astype(np.float32)
    alone, with_it = error_after(0.4, 0.0, [-0.4, 0.4]), error_after(0.4, 0.0, [-0.4, 0.4], (other,))
    assert np.median(np.abs(with_it)) < np.median(np.abs(alone)) + 0.05


def test_without_texture_nothing_moves() -> None:
    flat, start = np.full((H, W), 7.0, np.float32), np.full((H, W), 0.2, np.float32)
    still, moved = np.eye(3, dtype=np.float32)[None], np.array([[-30.0, 0, 0]], np.float32)
    found, match = refined(flat, flat[None], still, moved, start, NOISE)
    np.testing.assert_array_equal(found, start)
    assert not match.any()
