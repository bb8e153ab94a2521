"""A hash table from packed voxel coordinates to integers whose every step is one vectorised pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Values = NDArray[np.int32]

_EMPTY, _ERASED = -1, -2
_SMALLEST_BITS = 12
_MAX_LOAD = 0.6
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Multiplier of Fibonacci hashing (Knuth, TAOCP 3, 6.4): neighbouring keys land far apart."""


class VoxelTable:
    """Open addressing with linear probing. Keys are int64 ≥ 0, values int32 ≥ 0; keys of one call must be unique.

    RAM grows with the number of keys; a call costs what its own keys cost, and now and then a rebuild.
    """

    def __init__(self) -> None:
        self._allocate(_SMALLEST_BITS)

    def __len__(self) -> int:
        return self._count

    @property
    def places(self) -> int:
        """Places allocated, filled or not: what its memory is proportional to."""
        return len(self._keys)

    def find(self, keys: Keys) -> Values:
        """Values (n,) of keys (n,), -1 where a key is absent."""
        places = self._probe(keys)
        return np.where(self._keys[places] == keys, self._values[places], np.int32(-1))

    def insert(self, keys: Keys, values: Values) -> None:
        """Add keys (n,) that are absent, each with its value (n,)."""
        if self._used + len(keys) > _MAX_LOAD * len(self._keys):
            self._rebuild(self._count + len(keys))
        places = self._hash(keys)
        waiting = np.arange(len(keys))
        while len(waiting):
            here = places[waiting]
            found = self._keys[here]
            free = found < 0
            # Of several keys that meet at one free place the last written stays; the others see that and walk on.
            self._keys[here[free]] = keys[waiting[free]]
            won = free & (self._keys[here] == keys[waiting])
            self._values[here[won]] = values[waiting[won]]
            self._used += int(np.count_nonzero(found[won] == _EMPTY))
            waiting = waiting[~won]
            places[waiting] = (places[waiting] + 1) & self._mask
        self._count += len(keys)

    def erase(self, keys: Keys) -> None:
        """Remove keys (n,); absent ones are ignored."""
        places = self._probe(keys)
        places = places[self._keys[places] == keys]
        self._keys[places] = _ERASED
        self._count -= len(places)

    def clear(self) -> None:
        """Remove every key and give the memory back."""
        self._allocate(_SMALLEST_BITS)

    def _allocate(self, bits: int) -> None:
        self._keys: Keys = np.full(1 << bits, _EMPTY, np.int64)
        self._values: Values = np.zeros(1 << bits, np.int32)
        self._shift = np.uint64(64 - bits)
        self._mask = (1 << bits) - 1
        self._count = 0
        self._used = 0

    def _hash(self, keys: Keys) -> Keys:
        return ((keys.view(np.uint64) * _GOLDEN) >> self._shift).astype(np.int64)

    def _probe(self, keys: Keys) -> Keys:
        """The place of each key, or the empty place that proves it absent."""
        places = self._hash(keys)
        waiting = np.arange(len(keys))
        while len(waiting):
            found = self._keys[places[waiting]]
            waiting = waiting[(found != keys[waiting]) & (found != _EMPTY)]
            places[waiting] = (places[waiting] + 1) & self._mask
        return places

    def _rebuild(self, expected: int) -> None:
        """Forget erased places, and make room for `expected` keys and half as many changes."""
        occupied = self._keys >= 0
        keys, values = self._keys[occupied], self._values[occupied]
        self._allocate(max(_SMALLEST_BITS, int(np.ceil(np.log2(1.5 * expected / _MAX_LOAD)))))
        self.insert(keys, values)
