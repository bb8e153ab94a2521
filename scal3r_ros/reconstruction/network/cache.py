"""The encoder's tokens of the last chunk's frames: the next chunk begins with some of these frames.

Shapes: S frames of a chunk, N patches of a frame, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.network.ahead import EncoderAhead, FrameKey
from scal3r_ros.reconstruction.protocol import Frame

Encode = Callable[[Sequence[int]], Encoding]
"""Encodings of a chunk's frames at some positions, which follow each other."""


class TokenCache:
    """One chunk's encodings, on the device that computed them; frames are identified by index and stamp.

    `ahead` makes those of the next chunk meanwhile; None makes none.
    """

    def __init__(self, ahead: EncoderAhead | None = None) -> None:
        self._kept: Mapping[FrameKey, Encoding] = {}
        self._ahead = ahead

    def __len__(self) -> int:
        return len(self._kept)

    def encode(self, frames: Sequence[Frame], encode: Encode) -> Encoding:
        """Encodings of all `frames`; `encode` computes those that the last call did not have, nor were made ahead."""
        keys = _keys(frames)
        known = {**self._kept, **({} if self._ahead is None else self._ahead.take())}
        known |= _fresh(keys, known, encode)
        encodings = Encoding(*(torch.stack(rows) for rows in zip(*(known[key] for key in keys), strict=True)))
        self._kept = {key: Encoding(*rows) for key, *rows in zip(keys, *encodings, strict=True)}
        return encodings

    def encode_ahead(self, frames: Sequence[Frame], encode: Encode) -> None:
        """Has the frames of the next chunk encoded, where anything can beside what follows."""
        if self._ahead is not None:
            keys, known = _keys(frames), self._kept
            self._ahead.begin(lambda: _fresh(keys, known, encode))

    def clear(self) -> None:
        """Forgets all frames."""
        self._kept = {}
        if self._ahead is not None:
            self._ahead.take()

    def close(self) -> None:
        """Ends what works ahead."""
        if self._ahead is not None:
            self._ahead.close()


def _keys(frames: Sequence[Frame]) -> list[FrameKey]:
    return [(frame.index, frame.stamp_ns) for frame in frames]


def _fresh(keys: Sequence[FrameKey], known: Mapping[FrameKey, Encoding], encode: Encode) -> dict[FrameKey, Encoding]:
    fresh = [position for position, key in enumerate(keys) if key not in known]
    if not fresh:
        return {}
    return {keys[position]: Encoding(*rows) for position, *rows in zip(fresh, *encode(fresh), strict=True)}
