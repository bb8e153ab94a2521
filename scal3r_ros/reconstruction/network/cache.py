"""The encoder's tokens of the last chunk's frames: the next chunk begins with some of these frames.

Shapes: S frames of a chunk, N patches of a frame, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.protocol import Frame

FrameKey = tuple[int, int]


class TokenCache:
    """One chunk's encodings, on the device that computed them; frames are identified by index and stamp."""

    def __init__(self) -> None:
        self._kept: dict[FrameKey, Encoding] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def encode(self, frames: Sequence[Frame], encode: Callable[[Sequence[int]], Encoding]) -> Encoding:
        """Encodings of all `frames`; `encode` computes those, by position, that the last call did not have."""
        keys = [(frame.index, frame.stamp_ns) for frame in frames]
        fresh = [position for position, key in enumerate(keys) if key not in self._kept]
        known = dict(self._kept)
        if fresh:
            known |= {keys[position]: Encoding(*rows) for position, *rows in zip(fresh, *encode(fresh), strict=True)}
        encodings = Encoding(*(torch.stack(rows) for rows in zip(*(known[key] for key in keys), strict=True)))
        self._kept = {key: Encoding(*rows) for key, *rows in zip(keys, *encodings, strict=True)}
        return encodings

    def clear(self) -> None:
        """Forgets all frames."""
        self._kept = {}
