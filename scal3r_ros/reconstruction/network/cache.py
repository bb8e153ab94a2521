"""The encoder's tokens of a chunk's frames: the next chunk begins with some of these, and has its others made ahead.

Ahead means while the heads still work on the chunk before: a separate thread resizes the images and gives the encoder
to the device, on CUDA on a separate stream, so that neither processor nor device waits for the other chunk. On a CPU
the two share the cores, and nothing is gained.

Shapes: S frames of a chunk, N patches of a frame, C channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from scal3r_ros.model.encoder.encoder import Encoding
from scal3r_ros.reconstruction.protocol import Frame

FrameKey = tuple[int, int]
"""Index and stamp of a frame."""

Encodings = Mapping[FrameKey, Encoding]

Encode = Callable[[Sequence[int]], Encoding]
"""Encodings of a chunk's frames at some positions, which follow each other."""


class EncoderAhead:
    """At most one chunk's encodings in the making. For one thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            untyped: Callable[..., torch.cuda.Stream] = torch.cuda.Stream
            self._stream = untyped(device)
        # Threads set by torch.set_num_threads are those of the caller: another number could round otherwise.
        self._pool = ThreadPoolExecutor(1, "encoder", torch.set_num_threads, (torch.get_num_threads(),))
        self._begun: Future[Encodings] | None = None

    def begin(self, encode: Callable[[], Encodings]) -> None:
        """Has `encode` done beside what the caller does next."""
        self.take()
        self._begun = self._pool.submit(self._run, encode)

    def take(self) -> Encodings:
        """What was begun, once it is there; empty where nothing was, or where it failed."""
        begun, self._begun = self._begun, None
        if begun is None or begun.exception() is not None:
            return {}  # the chunk's own attempt meets the same fault, and reports it
        encodings = begun.result()
        if self._stream is not None:
            for encoding in encodings.values():
                for tensor in encoding:
                    tensor.record_stream(torch.cuda.current_stream(self._device))
        return encodings

    def close(self) -> None:
        """Ends the thread, after what it has begun."""
        self._pool.shutdown()

    def _run(self, encode: Callable[[], Encodings]) -> Encodings:
        beside = contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        with torch.inference_mode(), beside:
            encodings = encode()
            if self._stream is not None:
                self._stream.synchronize()
        return encodings


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
