"""Global descriptors of all keyframes, and a search for the most similar ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError

_LARGEST_CODE = 127
_LARGEST_SIGMAS = 8.0
"""An entry of a unit vector of d entries is kept up to so many times 1 / √d, in 127 steps on either side."""


class DescriptorIndex:
    """Unit vectors in one byte an entry, in rows from 0 in order of addition; every search looks at all of them.

    50,000 keyframes of 2048 entries take 100 MB and 7 ms a search. State: the rows.
    """

    def __init__(self) -> None:
        self._index: faiss.IndexScalarQuantizer | None = None

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def clear(self) -> None:
        """Forget all rows, and of what size they were."""
        self._index = None

    def add(self, descriptors: NDArray[np.float32]) -> None:
        """Append descriptors (n, d); they need not be of unit length.

        Raises:
            MappingError: they are of another size than those before.
        """
        self.check(descriptors)
        if self._index is None:
            self._index = _index_for(descriptors.shape[1])
        self._index.add(_codes(descriptors))

    def check(self, descriptors: NDArray[np.float32]) -> None:
        """Raises `MappingError` where descriptors (n, d) are of another size than the rows."""
        if descriptors.ndim != 2 or (self._index is not None and descriptors.shape[1] != self._index.d):
            size = "any" if self._index is None else self._index.d
            raise MappingError(
                f"place descriptors of shape {descriptors.shape} do not fit into an index of {size} numbers each; "
                "use the reconstructor that the map was begun with"
            )

    def search(
        self, descriptors: NDArray[np.float32], most: int, before: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The most similar of the rows 0 … `before` − 1 to each of n descriptors: cosines (n, k) and rows (n, k).

        k is `most`, or `before` where that is less; best first.

        Raises:
            MappingError: the descriptors are of another size than the rows.
        """
        count = min(most, before, len(self))
        if self._index is None or count <= 0:
            return np.empty((len(descriptors), 0), np.float32), np.empty((len(descriptors), 0), np.int64)
        self.check(descriptors)
        within = faiss.SearchParameters(sel=faiss.IDSelectorRange(0, before))
        similarities, rows = self._index.search(_codes(descriptors), count, params=within)
        return similarities * np.float32(1.0 / _step(descriptors.shape[1]) ** 2), rows

    def descriptors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The descriptors (n, d) of some rows, as they are kept."""
        if self._index is None:
            raise MappingError("the index is empty")
        size = int(self._index.d)
        if not len(rows):
            return np.empty((0, size), np.float32)
        kept = np.stack([self._index.reconstruct(int(row)) for row in rows])
        return np.asarray(kept / _step(size), np.float32)

    def snapshot(self, rows: Sequence[int]) -> dict[str, NDArray[np.generic]]:
        """Some rows as one plain array, for `restore`."""
        if self._index is None:
            return {"codes": np.empty((0, 0), np.uint8)}
        return {"codes": faiss.vector_to_array(self._index.codes).reshape(len(self), -1)[np.array(rows, np.intp)]}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Become the index whose `snapshot` is given, in place of this one."""
        codes = np.ascontiguousarray(arrays["codes"], np.uint8)
        self._index = None
        if codes.size:
            self._index = _index_for(codes.shape[1])
            self._index.add_sa_codes(codes)


def _index_for(size: int) -> faiss.IndexScalarQuantizer:
    faiss.omp_set_num_threads(1)  # the camera needs the other cores
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    return faiss.IndexScalarQuantizer(size, kind, faiss.METRIC_INNER_PRODUCT)


def _step(size: int) -> float:
    """Codes per unit."""
    return _LARGEST_CODE * float(np.sqrt(size)) / _LARGEST_SIGMAS


def _codes(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-9)
    codes = np.rint(unit * _step(descriptors.shape[1]))
    return np.ascontiguousarray(np.clip(codes, -_LARGEST_CODE, _LARGEST_CODE), np.float32)
