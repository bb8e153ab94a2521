"""Times in files and in names of files: seconds, or milli-, micro- or nanoseconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SequenceError

NANOSECONDS_OF = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))
"""A time below the first number has so many nanoseconds in its unit; from the last one on it is in nanoseconds. In each
larger unit it would be a date after the year 5000."""


def stamps_ns(times: Sequence[Decimal]) -> NDArray[np.int64]:
    """Stamps (n,) in nanoseconds of times in one unit, which their size shows; exact, as no double would be.

    Raises:
        SequenceError: a time fits into no stamp.
    """
    largest = max(map(abs, times))
    unit = next((nanoseconds for below, nanoseconds in NANOSECONDS_OF if largest < below), 1)
    stamps = [int((time * unit).to_integral_value()) for time in times]
    if max(map(abs, stamps)) > np.iinfo(np.int64).max:
        raise SequenceError(f"the time {largest} is too large for seconds, milli-, micro- and nanoseconds alike")
    return np.array(stamps, np.int64)
