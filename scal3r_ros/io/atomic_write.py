"""Files that appear under their names only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scal3r_ros.errors import MappingError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file beside its place and puts it there at the end, so that no half file bears its name.

    Raises:
        MappingError: the disk does not take it.
    """
    part = path.with_name(path.name + ".part")
    with os_errors_as(path):
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def os_errors_as(path: Path) -> Iterator[None]:
    """Turns an error of the disk at `path` into one sentence."""
    try:
        yield
    except OSError as error:
        raise MappingError(
            f"{path} cannot be written: {error.strerror}; free some space or choose another folder"
        ) from error
