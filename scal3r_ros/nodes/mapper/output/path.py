"""The path, ready to be sent: thousands of poses as Python objects would keep the camera waiting each time."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.geometry import se3

_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_ALIGNMENT = 8
"""Of doubles in CDR, counted from the end of the four bytes that name the encoding."""


class PathBuffer:
    """A nav_msgs/Path in `frame` that grows, in the encoding that ROS sends (CDR, Object Management Group, XCDR1).

    One call at a time.
    """

    def __init__(self, frame: str) -> None:
        self._text = _text(frame)
        # In the bytes of a pose that begins at a multiple of eight.
        self._text_end = 8 + len(self._text)
        self._doubles = _aligned(self._text_end)
        self._layout = np.dtype(
            {
                "names": ["sec", "nanosec", "frame", "pose"],
                "formats": ["<i4", "<u4", f"V{len(self._text)}", ("<f8", 7)],
                "offsets": [0, 4, 8, self._doubles],
                "itemsize": self._doubles + 7 * 8,
            }
        )
        self._records = np.zeros(0, self._layout)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, stamp_ns: int, T: ArrayLike) -> None:
        """Adds a pose (4, 4)."""
        if self._count == len(self._records):
            room = np.zeros(max(64, 2 * self._count), self._layout)
            room[: self._count] = self._records
            self._records = room
        self._records[self._count] = self._packed(np.array([stamp_ns], np.int64), np.asarray(T, np.float64)[None])[0]
        self._count += 1

    def replace(self, stamps_ns: NDArray[np.int64], T: NDArray[np.float64]) -> None:
        """Takes these poses (n, 4, 4) instead of those so far."""
        self._records, self._count = self._packed(stamps_ns, T), len(stamps_ns)

    def keep(self, indices: NDArray[np.int64]) -> None:
        """Leaves out all poses but these."""
        self._records, self._count = self._records[indices], len(indices)

    def message(self, indices: NDArray[np.int64]) -> bytes:
        """The poses at `indices`, stamped as the last one, 0 where there is none."""
        chosen = self._records[: self._count][indices]
        stamp = (int(chosen["sec"][-1]), int(chosen["nanosec"][-1])) if len(chosen) else (0, 0)
        head = struct.pack("<iI", *stamp) + self._text
        head += bytes(-len(head) % 4) + struct.pack("<I", len(chosen))
        if not len(chosen):
            return _LITTLE_ENDIAN + head
        # The first pose begins wherever the head ends, and all others at a multiple of eight bytes.
        body = chosen.tobytes()
        gap = bytes(-(len(head) + self._text_end) % _ALIGNMENT)
        return b"".join((_LITTLE_ENDIAN, head, body[: self._text_end], gap, body[self._doubles :]))

    def _packed(self, stamps_ns: NDArray[np.int64], T: NDArray[np.float64]) -> NDArray[np.void]:
        records = np.zeros(len(stamps_ns), self._layout)
        records["sec"], records["nanosec"] = np.divmod(stamps_ns, 10**9)
        records["frame"] = np.void(self._text)
        records["pose"][:, :3] = T[:, :3, 3]
        records["pose"][:, 3:] = se3.quat_xyzw(T[:, :3, :3])
        return records


def _text(text: str) -> bytes:
    encoded = text.encode() + b"\x00"
    return struct.pack("<I", len(encoded)) + encoded


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
