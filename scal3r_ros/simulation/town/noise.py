"""Random numbers that depend on the place, and patterns that fade before they would alias.

Everything takes a `footprint`: the size in metres that one pixel covers on the surface. Octaves and edges finer than
the footprint are left out or averaged, so a surface shows the detail that its distance allows, the same in each frame.
"""

from __future__ import annotations

import math

import numpy as np

from scal3r_ros.simulation.compiled import compiled

FINEST_WAVELENGTH_M = 0.012

_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xC2B2AE3D27D4EB4F)
_C = np.uint64(0x165667B19E3779F9)
_D = np.uint64(0xD6E8FEB86659FD93)
_TO_UNIT = 1.0 / (1 << 24)


@compiled
def place_random(ix: int, iy: int, seed: int) -> float:
    """A number in [0, 1) that depends on the three integers alone."""
    h = (np.uint64(ix) * _A) ^ (np.uint64(iy) * _B) ^ (np.uint64(seed) * _C)
    h ^= h >> np.uint64(29)
    h *= _D
    return float(h >> np.uint64(40)) * _TO_UNIT


@compiled
def value_noise(x: float, y: float, seed: int) -> float:
    """Smooth noise in [-1, 1] with a lattice of 1."""
    fx, fy = math.floor(x), math.floor(y)
    ix, iy = int(fx), int(fy)
    a, b = x - fx, y - fy
    a = a * a * (3.0 - 2.0 * a)
    b = b * b * (3.0 - 2.0 * b)
    low = place_random(ix, iy, seed) * (1.0 - a) + place_random(ix + 1, iy, seed) * a
    high = place_random(ix, iy + 1, seed) * (1.0 - a) + place_random(ix + 1, iy + 1, seed) * a
    return 2.0 * (low * (1.0 - b) + high * b) - 1.0


@compiled
def detail(x: float, y: float, footprint: float, seed: int, largest: float, gain: float) -> float:
    """Octaves of noise from wavelength `largest` (m) down to the footprint; each is `gain` as strong as the last."""
    total, strength, wavelength, octave = 0.0, 1.0, largest, seed
    while wavelength > 2.0 * footprint and wavelength > FINEST_WAVELENGTH_M:
        fade = min(1.0, 0.5 * wavelength / footprint - 1.0)
        total += fade * strength * value_noise(x / wavelength, y / wavelength, octave)
        x, y = 0.8 * x - 0.6 * y, 0.6 * x + 0.8 * y  # no two octaves share the axes of their lattice
        strength *= gain
        wavelength *= 0.5
        octave += 1
    return total


@compiled
def band(x: float, low: float, high: float, footprint: float) -> float:
    """The share, 0…1, of a pixel of width `footprint` around x that lies between `low` and `high`."""
    half = 0.5 * footprint
    covered = min(x + half, high) - max(x - half, low)
    return min(1.0, max(0.0, covered / footprint))


@compiled
def repeated_band(x: float, period: float, width: float, footprint: float) -> float:
    """`band` of the first `width` of every `period`; its mean where the footprint exceeds half a period."""
    if footprint > 0.5 * period:
        return width / period
    x -= period * math.floor(x / period)
    before, after = band(x + period, 0.0, width, footprint), band(x - period, 0.0, width, footprint)
    return min(1.0, before + band(x, 0.0, width, footprint) + after)
