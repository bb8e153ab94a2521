"""`compiled`: numba's compiler as the dense stage uses it."""

from __future__ import annotations

from functools import partial

from scal3r_ros.reconstruction.geometric.compiled import compiled as compiled_strictly

FASTMATH = {"contract", "arcp", "nsz", "nnan", "ninf"}
"""Departures from IEEE 754: none that changes the order of sums; no image or pose holds NaN."""

compiled = partial(compiled_strictly, fastmath=FASTMATH)
