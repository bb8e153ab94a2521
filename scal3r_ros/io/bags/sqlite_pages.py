"""Rows of a damaged SQLite file, found page by page (https://www.sqlite.org/fileformat2.html).

SQLite finds rows through a tree whose upper pages lie anywhere in the file: where one of them is lost, it gives nothing
of what is below. The rows themselves lie in leaf pages, and the rest of a long one in a chain of overflow pages, which
this module follows without the tree.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

Value = int | str | bytes | None

MAGIC = b"SQLite format 3\0"
LEAF = 13
"""First byte of a leaf page. In an overflow page it is that of a page number: smaller in files below 890 GB."""
LEAF_HEADER = 8
NULL = 0
INTEGER_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
FIRST_BLOB = 12
"""Serial types from here on are blobs where even, and texts where odd."""


class _Cell(NamedTuple):
    """A row as its leaf page has it: `begin` of its record in the file, so many bytes of it `here`, and in all."""

    begin: int
    here: int
    total: int


class SqlitePages:
    """The rows of a file in SQLite, of whatever table, that are whole. Usable as a context.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        self._page_bytes, self._usable = self._sizes()

    def __enter__(self) -> SqlitePages:
        return self

    def __exit__(self, *error: object) -> None:
        if self._content is not None:
            self._content.close()

    def rows(self, columns: int) -> Iterator[tuple[int, list[Value]]]:
        """Number and values of the rows with so many columns, of which the first is the number, in ascending order.

        That first column is None in the values, as are floating-point numbers.
        """
        for number, cell in sorted(self._cells(columns).items()):
            record = self._record(cell)
            if record is not None:
                yield number, _values(record)

    def _sizes(self) -> tuple[int, int]:
        """Bytes of a page, and of those the ones that hold content; 0 and 0 where the file is none of SQLite's."""
        if self._content is None or len(self._content) < 100 or self._content[:16] != MAGIC:
            return 0, 0
        (page_bytes,) = struct.unpack(">H", self._content[16:18])
        page_bytes = 65536 if page_bytes == 1 else page_bytes
        is_valid = page_bytes >= 512 and page_bytes & (page_bytes - 1) == 0
        return (page_bytes, page_bytes - self._content[20]) if is_valid else (0, 0)

    def _cells(self, columns: int) -> dict[int, _Cell]:
        """The rows of all leaf pages by number. Copies that SQLite left behind when it moved rows are equal."""
        if self._content is None or not self._page_bytes:
            return {}
        found: dict[int, _Cell] = {}
        whole = len(self._content) // self._page_bytes
        kinds = np.frombuffer(self._content, np.uint8, whole * self._page_bytes)[:: self._page_bytes].copy()
        for page in np.flatnonzero(kinds == LEAF).tolist():
            begin = page * self._page_bytes
            (count,) = struct.unpack(">H", self._content[begin + 3 : begin + 5])
            if LEAF_HEADER + 2 * count > self._usable:
                continue
            for at in struct.unpack(f">{count}H", self._content[begin + LEAF_HEADER : begin + LEAF_HEADER + 2 * count]):
                if at < self._usable:
                    number, cell = self._cell(begin, at)
                    types = [] if cell is None else _types(self._content[cell.begin : cell.begin + cell.here])
                    if cell is not None and len(types) == columns and types[0] == NULL:
                        found.setdefault(number, cell)
        return found

    def _cell(self, page: int, at: int) -> tuple[int, _Cell | None]:
        assert self._content is not None
        cell = self._content[page + at : page + self._usable]
        total, length = _varint(cell, 0)
        number, begin = _varint(cell, length)
        here = total
        if total > self._usable - 35:
            least = (self._usable - 12) * 32 // 255 - 23
            here = least + (total - least) % (self._usable - 4)
            here = here if here <= self._usable - 35 else least
        rest = 4 if here < total else 0
        fits = begin + here + rest <= len(cell)
        return number, _Cell(page + at + begin, here, total) if fits else None

    def _record(self, cell: _Cell) -> bytes | None:
        """The whole record; None where its chain of overflow pages leaves the file or ends early."""
        assert self._content is not None
        end = cell.begin + cell.here
        parts, missing = [self._content[cell.begin : end]], cell.total - cell.here
        following = self._content[end : end + 4]
        while missing:
            (page,) = struct.unpack(">I", following)
            begin = (page - 1) * self._page_bytes
            taken = min(missing, self._usable - 4)
            if page < 2 or begin + 4 + taken > len(self._content):
                return None
            parts.append(self._content[begin + 4 : begin + 4 + taken])
            following = self._content[begin : begin + 4]
            missing -= taken
        return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where the next begins; (0, end) where the data end before."""
    value = 0
    for position in range(at, min(at + 9, len(data))):
        byte = data[position]
        if position == at + 8:
            return value << 8 | byte, position + 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + 1
    return 0, len(data)


def _types(record: bytes) -> list[int]:
    """Serial types of the columns; none where the record's header is not whole."""
    length, at = _varint(record, 0)
    if not 0 < length <= len(record):
        return []
    types = []
    while at < length:
        kind, at = _varint(record, at)
        types.append(kind)
    return types


def _values(record: bytes) -> list[Value]:
    values: list[Value] = []
    at, _ = _varint(record, 0)
    for kind in _types(record):
        size = (kind - FIRST_BLOB) // 2 if kind >= FIRST_BLOB else INTEGER_BYTES.get(kind, 8)
        content = record[at : at + size]
        at += size
        if kind >= FIRST_BLOB:
            values.append(content if kind % 2 == 0 else content.decode("utf-8", "replace"))
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            values.append(int.from_bytes(content, "big", signed=True) if kind in range(1, 7) else None)
    return values
