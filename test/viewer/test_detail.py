"""How much a page draws at once: little where it is slow, all of it where it is quick or rests."""

from __future__ import annotations

import numpy as np

from scal3r_ros.viewer.detail import FEWEST_POINTS, FIRST_POINTS, Detail, Eye, drawn_levels, in_sight

AHEAD = Eye(np.zeros(3), np.array([1.0, 0.0, 0.0]), 0.6)


def test_a_slow_page_draws_less_and_a_quick_one_more() -> None:
    detail = Detail(1_000_000)
    assert detail.budget(0.0) == 1_000_000  # nothing moves yet
    detail.took(0.06, 1.0)
    assert detail.budget(1.0) == FIRST_POINTS
    for _ in range(20):
        detail.took(0.5, 2.0)
    assert detail.budget(2.0) == FEWEST_POINTS
    assert detail.budget(4.0) == 1_000_000  # the view rests
    for _ in range(60):
        detail.took(0.02, 5.0)
    assert detail.budget(5.0) == 1_000_000


def test_a_page_settles_at_what_it_can_draw_in_time() -> None:
    """For a page that takes 0.4 µs a point, the budget settles where a frame takes between 50 and 80 ms."""
    detail = Detail(1_000_000)
    for tick in range(100):
        detail.took(4e-7 * detail.budget(0.1 * tick), 0.1 * tick)
    assert 0.05 <= 4e-7 * detail.budget(10.0) <= 0.088


def test_what_is_drawn_fits_and_is_finest_near_the_eye() -> None:
    shown = {(x, y, 0): (10, 70, 560) for x in range(-20, 20) for y in range(-2, 2)}
    chosen = drawn_levels(shown, 10.0, [AHEAD], 20_000)
    assert chosen is not None
    assert sum(sum(shown[key][:levels]) for key, levels in chosen.items()) <= 20_000
    seen = [key for key in shown if in_sight(key, 10.0, [AHEAD])]
    assert all(chosen[key] == 0 for key in shown if key not in seen)
    assert all(chosen[key] >= 1 for key in seen)
    assert chosen[1, 0, 0] == 3
    assert chosen[19, 0, 0] == 2
    assert drawn_levels(shown, 10.0, [AHEAD], 200_000) is None
    assert drawn_levels(shown, 10.0, [], 10) is None


def test_in_sight_is_what_the_cone_of_the_view_touches() -> None:
    assert in_sight((5, 0, 0), 10.0, [AHEAD])
    assert in_sight((0, 0, 0), 10.0, [AHEAD])  # around the eye
    assert not in_sight((-5, 0, 0), 10.0, [AHEAD])
    assert not in_sight((2, 9, 0), 10.0, [AHEAD])
    assert in_sight((2, 9, 0), 10.0, [AHEAD, Eye(np.zeros(3), np.array([0.0, 1.0, 0.0]), 0.6)])
