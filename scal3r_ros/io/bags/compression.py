"""Bags that `ros2 bag record` compressed with Zstandard: by file, or message by message."""

from __future__ import annotations

from pathlib import Path

import zstandard

from scal3r_ros.errors import SequenceError

SUFFIXES = (".zstd", ".zst")
MAGIC = b"\x28\xb5\x2f\xfd"
"""How a Zstandard frame begins; a CDR message begins with 0."""


def without_compression(path: Path) -> Path:
    """The name of a file before it was compressed."""
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


def decompress_file(path: Path, folder: Path) -> Path:
    """Decompresses a file into `folder`; of one that is cut off, what is there.

    Raises:
        SequenceError: the disk of `folder` is full or cannot be written to.
        OSError: the file cannot be read.
    """
    target = folder / without_compression(path).name
    with path.open("rb") as source:
        try:
            with target.open("wb") as sink, zstandard.ZstdDecompressor().stream_reader(source) as reader:
                while block := reader.read(1 << 20):
                    sink.write(block)
        except zstandard.ZstdError:
            pass  # the reader of what came out finds the cut
        except OSError as error:
            raise SequenceError(
                f"bag file {path} cannot be decompressed into {folder} ({error.strerror}); "
                "name a folder with more room in TMPDIR"
            ) from error
    return target


def decompress_message(data: bytes) -> bytes:
    """A message as it was before it was compressed; as it is where it was not, or is damaged."""
    if not data.startswith(MAGIC):
        return data
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError:
        return data
