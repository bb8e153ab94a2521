"""`compiled`: numba's compiler as mapping uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """The function as machine code without the GIL, kept on disk where a folder can be written to; deterministic.

    Sums keep their order, and NaN and infinity stay what they are.
    """
    try:
        return cast("FunctionT", njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # numba finds no folder for its cache
        return cast("FunctionT", njit(nogil=True, error_model="numpy")(function))
