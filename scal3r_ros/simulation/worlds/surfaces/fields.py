"""Random fields that tile without a seam, the base of patterns; parameters are drawn separately for the two splits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.town.noise import place_random
from scal3r_ros.simulation.worlds.surfaces.atlas import SIZE

Field = NDArray[np.float32]

COMB = 12
"""The range of each parameter of a pattern is cut into so many slices; every fourth belongs to the held-out split."""

_BANK = 5


@dataclass
class Palette:
    """Draws the ingredients of a world's patterns: parameters, colours, fields. `held_out` has its own slices."""

    rng: np.random.Generator
    held_out: bool
    _bank: list[Field] = field(default_factory=list)

    def number(self, low: float, high: float) -> float:
        """A number from the split's slices of [low, high)."""
        slices = [k for k in range(COMB) if (k % 4 == 3) == self.held_out]
        k = slices[int(self.rng.integers(len(slices)))]
        return low + (high - low) * (k + float(self.rng.random())) / COMB

    def colour(self, saturation: float = 0.5, brightness: tuple[float, float] = (0.1, 0.7)) -> NDArray[np.float64]:
        """A linear colour (3,); `saturation` is the upper limit."""
        hue, strength = 2 * math.pi * self.number(0.0, 1.0), saturation * float(self.rng.random()) ** 1.5
        value = self.number(*brightness)
        wheel = 0.5 + 0.5 * np.cos(hue - np.array([0.0, 2.0, 4.0]) * math.pi / 3)
        return value * (1.0 - strength + strength * wheel * 1.3)

    def earth(self, brightness: tuple[float, float] = (0.08, 0.4)) -> NDArray[np.float64]:
        """A linear colour (3,) between grey, sand and brick."""
        red = self.number(0.0, 0.6)
        return self.number(*brightness) * np.array([1.0 + 0.6 * red, 1.0 + 0.05 * red, 1.0 - 0.6 * red])

    def green(self) -> NDArray[np.float64]:
        """A linear colour (3,) of leaves: from dark to fresh, now and then dry or autumnal."""
        if self.rng.random() < 0.2:
            return self.number(0.12, 0.4) * np.array([1.2, 0.85, 0.3])
        return self.number(0.1, 0.32) * np.array([self.number(0.4, 0.85), 1.0, self.number(0.15, 0.4)])

    def field(self) -> Field:
        """A field (SIZE, SIZE) in 0…1 with detail at all scales."""
        if not self._bank:
            for _ in range(_BANK):
                seed = int(self.rng.integers(1 << 30))
                made = np.empty((SIZE, SIZE), np.float32)
                _octaves(made, seed, int(self.rng.integers(2, 7)), float(self.rng.uniform(0.5, 0.85)))
                low, high = np.quantile(made.ravel()[::8], [0.01, 0.99])
                self._bank.append(np.clip((made - low) / (high - low), 0.0, 1.0).astype(np.float32))
        chosen = self._bank[int(self.rng.integers(_BANK))]
        moved = np.roll(chosen, tuple(self.rng.integers(SIZE, size=2)), axis=(0, 1))
        return np.rot90(moved, int(self.rng.integers(4)))

    def grain(self, along: int = 16) -> Field:
        """A field stretched along its rows, like wood."""
        base = self.field()
        return np.ascontiguousarray(base[np.arange(SIZE) // along * 7 % SIZE][:, :] * 0.3 + 0.7 * base[:1, :])


@compiled
def _octaves(made: np.ndarray, seed: int, period: int, gain: float) -> None:
    """Value noise of `period`, 2 · `period`, … lattice cells a side, each octave `gain` as strong as the one before."""
    size = made.shape[0]
    made[:] = 0.0
    strength, cells, octave = 1.0, period, 0
    lattice = np.empty((size, size), np.float32)
    while cells <= size // 2:
        for i in range(cells):
            for j in range(cells):
                lattice[i, j] = np.float32(strength * place_random(i, j, seed + octave))
        for row in range(size):
            y = row * cells / size
            i = int(y)
            b = y - i
            b = b * b * (3.0 - 2.0 * b)
            i1 = (i + 1) % cells
            for column in range(size):
                x = column * cells / size
                j = int(x)
                a = x - j
                a = a * a * (3.0 - 2.0 * a)
                j1 = (j + 1) % cells
                low = lattice[i, j] + a * (lattice[i, j1] - lattice[i, j])
                high = lattice[i1, j] + a * (lattice[i1, j1] - lattice[i1, j])
                made[row, column] += np.float32(low + b * (high - low))
        strength *= gain
        cells *= 2
        octave += 1


@compiled
def cells(count: int, seed: int, nearest: np.ndarray, border: np.ndarray, number: np.ndarray) -> None:
    """Cells around `count`² jittered points: distance to the nearest, to the border, and a random number of each."""
    size = nearest.shape[0]
    for row in range(size):
        for column in range(size):
            y, x = row * count / size, column * count / size
            i, j = int(y), int(x)
            first, second, best = 9.0, 9.0, 0.0
            for m in range(i - 1, i + 2):
                for n in range(j - 1, j + 2):
                    mm, nn = m % count, n % count
                    py = m + 0.15 + 0.7 * place_random(mm, nn, seed)
                    px = n + 0.15 + 0.7 * place_random(mm, nn, seed + 1)
                    d = math.sqrt((py - y) ** 2 + (px - x) ** 2)
                    if d < first:
                        second, first, best = first, d, place_random(mm, nn, seed + 2)
                    elif d < second:
                        second = d
            nearest[row, column] = np.float32(first)
            border[row, column] = np.float32(second - first)
            number[row, column] = np.float32(best)
