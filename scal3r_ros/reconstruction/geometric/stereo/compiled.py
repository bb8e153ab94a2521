"""`compiled`: numba's compiler as the dense stage uses it."""

from __future__ import annotations

from functools import partial

from scal3r_ros.features.compiled import WITHOUT_NAN
from scal3r_ros.features.compiled import compiled as compiled_strictly

compiled = partial(compiled_strictly, fastmath=WITHOUT_NAN)
