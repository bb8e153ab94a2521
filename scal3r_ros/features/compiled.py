"""numba's compiler as everything uses it that follows the camera or maps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

from numba import njit

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

WITHOUT_NAN = frozenset({"contract", "arcp", "nsz", "nnan", "ninf"})
"""Departures from IEEE 754 where no image and no pose holds NaN: none changes the order of sums."""


def compiled(function: FunctionT, *, error_model: str = "numpy", fastmath: Collection[str] = ()) -> FunctionT:
    """The function as machine code without the GIL, kept on disk where a folder can be written to; deterministic.

    `error_model` python raises where a divisor is 0; numpy gives infinity or NaN. `fastmath` names departures from
    IEEE 754; without any, sums keep their order, and NaN and infinity stay what they are.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": error_model, "fastmath": set(fastmath)}
    try:
        return cast("FunctionT", njit(cache=True, **options)(function))
    except RuntimeError:  # numba finds no folder for its cache
        return cast("FunctionT", njit(**options)(function))
