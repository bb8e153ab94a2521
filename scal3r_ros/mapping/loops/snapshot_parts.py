"""The places of some submaps alone: what a map takes along of the keyframes that a mapper knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def places_of(arrays: Mapping[str, NDArray[Any]], submaps: Collection[int]) -> dict[str, NDArray[Any]]:
    """Of a `LoopCloser`'s snapshot, the rows that belong to `submaps`: a loaded map that waits is not one's own yet."""
    kept = np.flatnonzero(np.isin(arrays["keyframes_submaps"], list(submaps)))
    if len(kept) == len(arrays["keyframes_submaps"]):
        return dict(arrays)
    ends, content = arrays["keyframes_ends"], arrays["keyframes_bytes"]
    pieces = [content[ends[row] : ends[row + 1]] for row in kept.tolist()]
    return {
        "places_codes": arrays["places_codes"][kept],
        "keyframes_bytes": np.concatenate([np.zeros(0, np.uint8), *pieces]),
        "keyframes_ends": np.concatenate([[0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)]),
        "keyframes_submaps": arrays["keyframes_submaps"][kept],
        "keyframes_stamps_ns": arrays["keyframes_stamps_ns"][kept],
    }
