"""What the encoder said of the frames of the last chunk: the next chunk begins with some of them.

Shapes: S frames of a chunk, N patches of a frame, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.protocol import Frame

FrameKey = tuple[int, int]


class TokenCache:
    """Holds one chunk's encodings, on the device they were computed on; frames are known by index and stamp."""

    def __init__(self) -> None:
        self._kept: dict[FrameKey, Encoding] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def encode(self, frames: Sequence[Frame], encode: Callable[[Sequence[int]], Encoding]) -> Encoding:
        """Encodings of all `frames`; `encode` is asked for those, by position, that the last call did not hold."""
        keys = [(frame.index, frame.stamp_ns) for frame in frames]
        fresh = [position for position, key in enumerate(keys) if key not in self._kept]
        known = dict(self._kept)
        if fresh:
            known |= {keys[position]: Encoding(*rows) for position, *rows in zip(fresh, *encode(fresh), strict=True)}
        whole = Encoding(*(torch.stack(rows) for rows in zip(*(known[key] for key in keys), strict=True)))
        self._kept = {key: Encoding(*rows) for key, *rows in zip(keys, *whole, strict=True)}
        return whole

    def clear(self) -> None:
        """Forgets all frames."""
        self._kept = {}
