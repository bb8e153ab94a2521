"""Comparing frames: where a picture has gone is found, coarsely and then finely."""

from __future__ import annotations

import torch
from torch.nn import functional

from scal3r_ros.model.encoder.matching import Matcher, best_of, correlation, places_of, shifted_products, warp


def test_correlation_finds_where_a_picture_has_gone() -> None:
    picture = torch.rand(1, 8, 9, 11) - 0.5
    moved = torch.roll(picture, (2, -3), dims=(2, 3))  # what is at (y, x) was at (y − 2, x + 3)
    likeness = correlation(moved, picture, reach=4)
    inside = (slice(3, -1), slice(1, -4))
    assert (likeness[0][:, *inside].argmax(0) == (4 - 2) * 9 + (4 + 3)).all()
    assert likeness[0, 0, 0, 0] == 0  # above the image's edge
    column, row, share = best_of(30 * likeness, reach=4)[0][:, *inside]
    torch.testing.assert_close(row, torch.full_like(row, -2), atol=0.3, rtol=0)
    torch.testing.assert_close(column, torch.full_like(column, 3), atol=0.3, rtol=0)
    assert (share > 0.5).all()


def test_a_second_likely_place_far_away_does_not_pull_the_best() -> None:
    likeness = torch.zeros(1, 81, 2, 2)
    likeness[:, 4 * 9 + 8] = 9.0  # four columns to the right
    likeness[:, 4 * 9 + 0] = 8.9  # four to the left
    column, row, share = best_of(likeness, reach=4)[0]
    torch.testing.assert_close(column, torch.full_like(column, 4.0), atol=1e-2, rtol=0)
    torch.testing.assert_close(row, torch.zeros_like(row), atol=1e-2, rtol=0)
    assert (share < 0.6).all()


def test_warping_by_the_motion_brings_a_picture_back() -> None:
    picture = torch.rand(1, 3, 8, 10)
    moved = torch.roll(picture, (1, -2), dims=(2, 3))
    back = warp(picture, torch.tensor([2.0, -1.0])[None, :, None, None].expand(1, 2, 8, 10))
    torch.testing.assert_close(back[:, :, 1:, :-2], moved[:, :, 1:, :-2], atol=1e-5, rtol=0)
    assert (back[:, :, 0].abs() < 1e-5).all()


def test_shifted_products_agree_with_an_explicit_sum() -> None:
    x, other = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6)
    products = shifted_products(x, other, 1)
    # what lies one row up and one column to the right
    expected = (functional.normalize(x, dim=1)[:, :, 1:, :-1] * functional.normalize(other, dim=1)[:, :, :-1, 1:]).sum(
        1
    )
    torch.testing.assert_close(products[:, 2, 1:, :-1], expected)
    assert (products[:, 2, 0] == 0).all()


def test_places_are_about_the_middle_in_half_widths() -> None:
    across, down = places_of(torch.zeros(1, 1, 2, 4))[0]
    torch.testing.assert_close(across[0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(down[:, 0], torch.tensor([-0.25, 0.25]))


def test_matches_of_a_frame_know_that_frame_and_the_one_before_alone() -> None:
    torch.manual_seed(0)
    matcher = Matcher(16, fine_channels=8, reach=2)
    fine, coarse = torch.rand(3, 8, 8, 12), torch.rand(3, 16, 4, 6)
    said = matcher(fine, coarse, [0, 0, 1])
    other = torch.cat((torch.rand(1, 8, 8, 12), fine[1:])), torch.cat((torch.rand(1, 16, 4, 6), coarse[1:]))
    changed = matcher(*other, [0, 0, 1])
    assert said.matches.shape == (3, 3, 8, 12)
    assert said.tokens.shape == (3, 2 * 3, 16)
    torch.testing.assert_close(changed.matches[2], said.matches[2])
    assert not torch.allclose(changed.matches[1], said.matches[1], atol=1e-4)
