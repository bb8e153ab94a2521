"""Patterns of surfaces, each a texture (SIZE, SIZE, 4) of linear colour and opacity that tiles without a seam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.worlds.surfaces.atlas import SIZE
from scal3r_ros.simulation.worlds.surfaces.fields import Field, Palette, cells

Texture = NDArray[np.float32]
Colour = NDArray[np.float64]

Y, X = (grid.astype(np.float32) / SIZE for grid in np.mgrid[:SIZE, :SIZE])


def blend(first: Colour | Texture, second: Colour | Texture, share: Field) -> Texture:
    """Colours (3,) or (SIZE, SIZE, 3) mixed by a field."""
    weight = share[..., None]
    return np.asarray(first * (1.0 - weight) + second * weight, np.float32)


def texture(colour: Texture, opacity: Field | None = None) -> Texture:
    """Colour (SIZE, SIZE, 3) and opacity as one."""
    made = np.ones((SIZE, SIZE, 4), np.float32)
    made[..., :3] = colour
    if opacity is not None:
        made[..., 3] = opacity
    return made


def joints(at: Field, count: int, width: float) -> Field:
    """1 within `width` of a cell of each of `count` lines across a texture, else 0."""
    inside = at * count % 1.0
    return ((inside < width) | (inside > 1.0 - width)).astype(np.float32)


def speckle(palette: Palette) -> Texture:
    """Plaster, concrete, asphalt: one colour, stains, and grain."""
    base = palette.earth((0.08, 0.7))
    made = blend(base * palette.number(0.35, 0.8), base, palette.field())
    grain = palette.rng.random((SIZE, SIZE), np.float32)
    strength = palette.number(0.1, 0.7)
    made *= (1.0 - 0.5 * strength + strength * grain)[..., None]
    if palette.rng.random() < 0.4:
        crack = np.abs(palette.field() - 0.5) < palette.number(0.004, 0.012)
        made *= (1.0 - 0.6 * crack)[..., None]
    return texture(made)


def two_tone(palette: Palette) -> Texture:
    """Two colours in patches: carpet, moss, flaking paint."""
    share = np.clip((palette.field() - 0.5) * palette.number(1.0, 8.0) + 0.5, 0, 1).astype(np.float32)
    made = blend(palette.colour(0.7), palette.colour(0.7), share)
    return texture(made * (0.7 + 0.6 * palette.field())[..., None])


def bricks(palette: Palette) -> Texture:
    """Courses of bricks or blocks, each of its own tone."""
    rows, columns = 2 * int(palette.number(3, 13)), int(palette.number(2, 8))
    row = np.floor(Y * rows)
    shifted = (X + (row % 2) * 0.5 / columns) % 1.0
    number = (row * 31 + np.floor(shifted * columns) * 17).astype(int)
    tone = palette.rng.uniform(0.6, 1.3, 4096).astype(np.float32)[number % 4096]
    base = blend(palette.earth(), palette.earth(), palette.field()) * tone[..., None]
    mortar = np.maximum(joints(Y, rows, 0.06), joints(shifted, columns, 0.06 * columns / rows))
    return texture(blend(base * (0.8 + 0.4 * palette.field())[..., None], palette.earth((0.2, 0.6)), mortar))


def tiles(palette: Palette) -> Texture:
    """Square tiles, of one colour, of many tones, or chequered."""
    count = 2 * int(palette.number(1, 6))
    i, j = np.floor(Y * count).astype(int), np.floor(X * count).astype(int)
    first, second = palette.colour(0.4, (0.15, 0.8)), palette.colour(0.4, (0.05, 0.7))
    if palette.rng.random() < 0.5:
        share = ((i + j) % 2).astype(np.float32)
    else:
        share = palette.rng.random(256).astype(np.float32)[(i * 23 + j * 7) % 256] * np.float32(
            palette.number(0.1, 0.8)
        )
    made = blend(first, second, share) * (0.8 + 0.4 * palette.field())[..., None]
    width = palette.number(0.008, 0.04)
    return texture(
        blend(made, palette.colour(0.1, (0.05, 0.6)), np.maximum(joints(X, count, width), joints(Y, count, width)))
    )


def planks(palette: Palette) -> Texture:
    """Boards with grain, of parquet, doors or fences."""
    count = int(palette.number(3, 14))
    board = np.floor(X * count).astype(int)
    offset = palette.rng.integers(SIZE, size=64)[board % 64]
    grain = palette.grain()[(np.arange(SIZE)[:, None] + offset) % SIZE, np.arange(SIZE)[None, :]]
    tone = palette.rng.uniform(0.7, 1.2, 64).astype(np.float32)[board % 64]
    wood = palette.number(0.08, 0.45) * np.array([1.3, palette.number(0.75, 1.0), palette.number(0.35, 0.8)])
    made = blend(wood * 0.55, wood, grain) * tone[..., None]
    gap = joints(X, count, 0.025)
    if palette.rng.random() < 0.6:
        gap = np.maximum(gap, joints((Y + offset / SIZE) % 1.0, int(palette.number(1, 3)), 0.006))
    return texture(made * (1.0 - 0.75 * gap)[..., None])


def stones(palette: Palette) -> Texture:
    """Cobbles, gravel, rubble: cells of their own tone with dark joints."""
    nearest, border, number = (np.empty((SIZE, SIZE), np.float32) for _ in range(3))
    cells(int(palette.number(4, 26)), int(palette.rng.integers(1 << 30)), nearest, border, number)
    base = blend(palette.earth((0.1, 0.5)), palette.earth((0.1, 0.5)), number) * (0.6 + 0.6 * number)[..., None]
    joint = np.clip(border / palette.number(0.06, 0.25), 0.15, 1.0)
    return texture(base * (joint * (1.15 - 0.35 * nearest) * (0.75 + 0.5 * palette.field()))[..., None])


def stripes(palette: Palette) -> Texture:
    """Corrugated sheet, wallpaper, cloth: stripes one way, or both."""
    count = int(palette.number(3, 24))
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * count * X)
    if palette.rng.random() < 0.5:
        wave = (wave > 0.5).astype(np.float32)
    made = blend(palette.colour(0.6, (0.1, 0.7)), palette.colour(0.6, (0.1, 0.7)), wave)
    if palette.rng.random() < 0.3:
        other = (0.5 + 0.5 * np.sin(2 * np.pi * int(palette.number(2, 16)) * Y) > 0.6).astype(np.float32)
        made = blend(made, palette.colour(0.6), 0.7 * other)
    return texture(made * (0.7 + 0.5 * palette.field())[..., None])


def motifs(palette: Palette) -> Texture:
    """Wallpaper and posters: a few marks that repeat on a faint ground."""
    count = int(palette.number(3, 11))
    a, b = X * count % 1.0 - 0.5, (Y * count + 0.5 * (np.floor(X * count) % 2)) % 1.0 - 0.5
    petals = int(palette.number(2, 7))
    radius, angle = np.hypot(a, b), np.arctan2(b, a)
    edge = palette.number(0.12, 0.3) * (1.0 + 0.5 * np.cos(petals * angle))
    mark = np.clip((edge - radius) * 14, 0, 1).astype(np.float32)
    ring = (np.abs(radius - 0.42) < 0.03).astype(np.float32)
    ground = palette.colour(0.4, (0.25, 0.8)) * (0.85 + 0.3 * palette.field())[..., None]
    made = blend(np.asarray(ground, np.float32), palette.colour(0.7), mark)
    return texture(blend(made, palette.colour(0.5), 0.6 * ring))


def marble(palette: Palette) -> Texture:
    """Veins through a field: marble, camouflage, water marks."""
    vein = np.abs(np.sin(palette.number(6.0, 30.0) * palette.field() + 4.0 * palette.field()))
    made = blend(
        palette.colour(0.3, (0.3, 0.8)), palette.colour(0.5, (0.05, 0.5)), (1.0 - vein).astype(np.float32) ** 3
    )
    return texture(made * (0.85 + 0.3 * palette.field())[..., None])


def grass(palette: Palette) -> Texture:
    """Grass, earth and leaves on the ground."""
    blades = palette.rng.random((SIZE, SIZE), np.float32)
    blades = 0.5 * blades + 0.5 * np.roll(blades, 1, axis=0)
    made = blend(palette.green() * 0.4, palette.green(), palette.field())
    bare = np.clip((palette.field() - palette.number(0.5, 1.0)) * 8, 0, 1).astype(np.float32)
    made = blend(made, palette.earth((0.08, 0.35)), bare)
    return texture(made * (0.45 + 1.1 * blades)[..., None])


PLAIN: tuple[Callable[[Palette], Texture], ...] = (
    speckle, two_tone, bricks, tiles, planks, stones, stripes, motifs, marble, grass,
)  # fmt: skip
"""Patterns that may cover anything."""


def any_pattern(palette: Palette) -> Texture:
    """A random pattern, now and then two laid over each other in patches."""
    made = PLAIN[int(palette.rng.integers(len(PLAIN)))](palette)
    if palette.rng.random() < 0.2:
        other = PLAIN[int(palette.rng.integers(len(PLAIN)))](palette)
        share = np.clip((palette.field() - 0.55) * 9, 0, 1).astype(np.float32)
        return texture(blend(made[..., :3], other[..., :3], share))
    return made
