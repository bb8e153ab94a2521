"""What the windows of a drive say together of something that all images of a camera share."""

from __future__ import annotations

from collections import deque

import numpy as np

_REMEMBERED = 400
_LEAST_INFLATION = 10.0
"""How much larger the variance of a window's estimate is than that of independent errors, at least."""


class SharedCoefficient:
    """One coefficient of `Intrinsics`, from one estimate a window. State: the newest estimates.

    Errors of tracks hang together all over a window, so that windows scatter by more than each of them says. By how
    much is measured, and all variances are inflated by it (Birge 1932): a turn, which shows distortion well, still
    counts more than a straight way, and a camera whose windows contradict each other keeps what was expected.

    `value` is the coefficient, and `sigma` its standard deviation.
    """

    def __init__(self, sigma: float, overlap: float, expected: float = 0.0) -> None:
        """What is `expected` of such cameras, give or take `sigma`. `overlap`: how many windows see each frame."""
        self._sigma, self._overlap, self._expected = sigma, max(1.0, overlap), expected
        self._estimates: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self.value, self.sigma = expected, sigma
        self._counted = False  # whether what the newest window says is among the estimates

    def add(self, value: float, information: float) -> None:
        """Takes in what one more window says."""
        self._counted = False
        if self._sigma <= 0 or not np.isfinite([value, information]).all() or information <= 0:
            return
        self._estimates.append((value, information))
        self._counted = True
        values, weights = np.array(self._estimates).T
        mean = float((weights * values).sum() / weights.sum())
        excess = float((weights * (values - mean) ** 2).sum()) / max(1, len(values) - 1)
        known = weights.sum() / (self._overlap * max(_LEAST_INFLATION, excess))
        share = known / (known + 1.0 / self._sigma**2)
        self.value = share * mean + (1.0 - share) * self._expected
        self.sigma = float((known + 1.0 / self._sigma**2) ** -0.5)

    def revise(self, value: float, information: float) -> None:
        """Takes in what the newest window says once it has been adjusted again."""
        if self._counted:
            self._estimates.pop()
        self.add(value, information)
