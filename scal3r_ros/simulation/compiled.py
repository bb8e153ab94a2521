"""`compiled`: numba's compiler with a cache on disk that notices any change in this room.

Numba's own cache checks only the file of the function itself, and keeps code that was inlined from other files. Here
the cache key is the text of all files of the function's folder and of this one. Where no folder is writable, each
process compiles anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

# Which departures from IEEE 754 are allowed: none that breaks NaN or infinity.
FASTMATH = {"contract", "arcp", "nsz"}

logger = logging.getLogger(__name__)

_Cache: Any = FunctionCache

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """The function as machine code that runs without the GIL; equal input gives equal output, bit for bit."""
    dispatcher: Any = njit(nogil=True, error_model="numpy", fastmath=FASTMATH)(function)
    try:
        functions = _Cache(function)
    except RuntimeError:
        logger.debug("%s is compiled in each process: no folder for numba's cache can be written to", function.__name__)
        return cast("FunctionT", dispatcher)
    functions._cache_file._source_stamp = _text_around(Path(function.__code__.co_filename).parent)
    dispatcher._cache = functions
    return cast("FunctionT", dispatcher)


@cache
def _text_around(folder: Path) -> str:
    digest = hashlib.sha256()
    room = Path(__file__).parent
    for path in sorted({path for place in (room, folder) for path in place.rglob("*.py")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()
