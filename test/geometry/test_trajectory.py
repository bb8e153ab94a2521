"""Which stamp is nearest, against a search of all."""

from __future__ import annotations

import numpy as np
import pytest

from scal3r_ros.geometry.trajectory import nearest_in_time


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_the_nearest_stamp_is_found_and_of_two_equally_near_the_earlier(count: int) -> None:
    rng = np.random.default_rng(count)
    stamps = np.cumsum(rng.integers(1, 8, count))
    wanted = np.arange(-3, stamps[-1] + 4)
    expected = [int(np.argmin(np.abs(stamps - one))) for one in wanted]  # the first of equal ones
    assert nearest_in_time(stamps, wanted).tolist() == expected
