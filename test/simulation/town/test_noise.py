import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scal3r_ros.simulation.town.noise import band, detail, place_random, repeated_band, value_noise


def test_place_random_is_uniform_and_does_not_repeat_along_an_axis_or_between_seeds() -> None:
    values = np.array([[[place_random(x, y, seed) for x in range(-60, 60)] for y in range(-60, 60)] for seed in (1, 2)])
    assert values.min() >= 0.0
    assert values.max() < 1.0
    assert values.mean() == pytest.approx(0.5, abs=0.01)
    assert values.std() == pytest.approx(12**-0.5, abs=0.01)
    for first, second in (
        (values[:, :, 1:], values[:, :, :-1]),
        (values[:, 1:], values[:, :-1]),
        (values[0], values[1]),
    ):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_value_noise_is_bounded_and_smooth(x: float, y: float) -> None:
    here = value_noise(x, y, 5)
    assert -1.0 <= here <= 1.0
    assert abs(value_noise(x + 1e-3, y, 5) - here) < 0.01


def test_detail_fades_out_before_it_would_alias() -> None:
    assert detail(1.3, 2.7, 0.6, 3, 1.0, 0.9) == 0.0
    steps = [detail(1.3, 2.7, footprint, 3, 1.0, 0.9) for footprint in np.geomspace(0.001, 1.0, 4000)]
    assert np.abs(np.diff(steps)).max() < 0.02  # nothing pops up as one comes closer


@given(st.floats(-3, 3), st.floats(0.01, 2.0), st.floats(0.01, 0.9))
def test_repeated_band_is_the_mean_over_the_pixel(x: float, footprint: float, share: float) -> None:
    samples = x + footprint * (np.arange(2000) + 0.5) / 2000 - footprint / 2
    if footprint <= 0.5:
        expected = np.mean(samples - np.floor(samples) < share)
        assert repeated_band(x, 1.0, share, footprint) == pytest.approx(expected, abs=2e-3)
    else:
        assert repeated_band(x, 1.0, share, footprint) == pytest.approx(share)


@given(st.floats(-3, 3), st.floats(0.01, 2.0))
def test_band_is_the_covered_part_of_the_pixel(x: float, footprint: float) -> None:
    samples = x + footprint * (np.arange(2000) + 0.5) / 2000 - footprint / 2
    assert band(x, -0.4, 0.7, footprint) == pytest.approx(np.mean((samples > -0.4) & (samples < 0.7)), abs=2e-3)
