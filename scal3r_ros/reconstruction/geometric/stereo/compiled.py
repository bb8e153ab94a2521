"""`compiled`: numba's compiler as the dense stage uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

FASTMATH = {"contract", "arcp", "nsz", "nnan", "ninf"}
"""Departures from IEEE 754: none that changes the order of sums; no image or pose holds NaN."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """The function as machine code without the GIL, kept on disk where a folder can be written to; deterministic."""
    try:
        return cast("FunctionT", njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)(function))
    except RuntimeError:  # numba finds no folder for its cache
        return cast("FunctionT", njit(nogil=True, error_model="numpy", fastmath=FASTMATH)(function))
