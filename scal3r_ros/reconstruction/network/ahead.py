"""The next chunk's frames go through the encoder while the heads still work on this one.

A separate thread resizes the images and gives the encoder to the device, on CUDA on a separate stream: so neither the
processor nor the device waits for the other chunk. On a CPU the two share the cores, and nothing is gained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from scal3r_ros.model.encoder.encoder import Encoding

FrameKey = tuple[int, int]
"""Index and stamp of a frame."""

Encodings = Mapping[FrameKey, Encoding]


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


def upload(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on `device`; to a GPU from pinned memory, so that the stream waits and not the thread."""
    return images.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else images.to(device)
