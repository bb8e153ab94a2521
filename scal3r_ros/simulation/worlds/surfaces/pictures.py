"""Textures that depict something: façades, shelves, pictures, leaves, grids with holes, and the user's images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.io.images.folder import find_images, read_image
from scal3r_ros.simulation.worlds.surfaces.atlas import SIZE
from scal3r_ros.simulation.worlds.surfaces.fields import Palette, cells
from scal3r_ros.simulation.worlds.surfaces.patterns import (
    Texture,
    X,
    Y,
    any_pattern,
    blend,
    bricks,
    grass,
    planks,
    speckle,
    texture,
)


def facade(palette: Palette) -> Texture:
    """Rows of windows with frames, sills and panes of differing light in a wall; three storeys and a few bays."""
    wall = (bricks if palette.rng.random() < 0.35 else speckle)(palette)[..., :3]
    if palette.rng.random() < 0.5:
        wall = wall * palette.colour(0.5, (0.7, 1.3)).astype(np.float32)
    bays, storeys = int(palette.number(2, 7)), int(palette.number(2, 5))
    a, b = X * bays % 1.0, Y * storeys % 1.0
    half, low, high = palette.number(0.2, 0.38), palette.number(0.12, 0.35), palette.number(0.72, 0.9)
    number = (np.floor(X * bays) + 8 * np.floor(Y * storeys)).astype(int)
    inside = (np.abs(a - 0.5) < half) & (b > low) & (b < high)
    frame = (np.abs(a - 0.5) < half + 0.05) & (b > low - 0.05) & (b < high + 0.04)
    bars = inside & ((np.abs(a - 0.5) < 0.015) | (np.abs(b - 0.3 * low - 0.7 * high) < 0.012))
    pane = palette.rng.uniform(0.01, 0.25, 64).astype(np.float32)[number % 64]
    curtain = b > low + (high - low) * palette.rng.uniform(0.0, 1.4, 64).astype(np.float32)[number % 64]
    glass = (pane * (0.5 + palette.field()))[..., None] * np.array([0.85, 0.95, 1.1], np.float32)
    glass = np.where(
        curtain[..., None], palette.colour(0.3, (0.3, 0.7)) * (0.7 + 0.3 * np.sin(60 * X))[..., None], glass
    )
    edge = palette.colour(0.2, (0.1, 0.8))
    made = np.where(frame[..., None], edge, wall)
    made = np.where(inside[..., None], glass, made)
    made = np.where(bars[..., None], edge, made)
    course = np.abs(b - 0.02) < 0.015
    return texture(np.asarray(np.where(course[..., None], 0.6 * edge, made), np.float32))


def shelf(palette: Palette) -> Texture:
    """Boards full of books, boxes and bottles."""
    rows = int(palette.number(3, 7))
    row = np.floor(Y * rows).astype(int)
    widths = [np.cumsum(palette.rng.uniform(0.008, 0.05, 120)) for _ in range(rows)]
    column = np.empty((SIZE, SIZE), int)
    for k in range(rows):
        column[row == k] = np.searchsorted(widths[k], X[row == k])
    number = (row * 131 + column) % 1024
    hues = np.stack([palette.colour(0.9, (0.05, 0.6)) for _ in range(64)])[palette.rng.integers(64, size=1024)]
    tall = palette.rng.uniform(0.45, 0.9, 1024)[number]
    inside = Y * rows % 1.0
    made = np.where((inside < tall)[..., None], hues[number] * (0.7 + 0.5 * palette.field())[..., None], 0.02)
    label = (np.abs(inside - 0.45 * tall) < 0.07) & (number % 3 > 0)
    made = np.where(label[..., None], 0.6, made)
    board = inside > 0.93
    return texture(np.asarray(np.where(board[..., None], palette.earth((0.15, 0.5)), made), np.float32))


def picture(palette: Palette) -> Texture:
    """A poster, a painting, a screen or a notice board: gradients, discs, rectangles and lines of writing, framed."""
    made = blend(
        palette.colour(0.8, (0.1, 0.9)), palette.colour(0.8), Y if palette.rng.random() < 0.5 else palette.field()
    )
    for _ in range(int(palette.rng.integers(3, 14))):
        colour = palette.colour(0.9, (0.02, 0.9)).astype(np.float32)
        cx, cy, rx, ry = palette.rng.uniform((0.0, 0.0, 0.03, 0.03), (1.0, 1.0, 0.35, 0.35))
        if palette.rng.random() < 0.5:
            shape = ((X - cx) / rx) ** 2 + ((Y - cy) / ry) ** 2 < 1
        else:
            shape = (np.abs(X - cx) < rx) & (np.abs(Y - cy) < ry)
        made[shape] = colour
    if palette.rng.random() < 0.5:
        lines = int(palette.number(8, 30))
        letters = palette.rng.random((lines, 48))[np.floor(Y * lines).astype(int), np.floor(X * 48).astype(int)] > 0.4
        where = (Y * lines % 1.0 < 0.55) & letters & (palette.rng.random() < Y) & (X > 0.1) & (X < 0.9)
        made[where] = palette.colour(0.3, (0.01, 0.2)).astype(np.float32)
    edge = (np.minimum(np.minimum(X, 1 - X), np.minimum(Y, 1 - Y))) < palette.number(0.01, 0.05)
    made[edge] = palette.colour(0.4, (0.02, 0.7)).astype(np.float32)
    return texture(made)


def leaves(palette: Palette) -> Texture:
    """Leaves with gaps between them, denser towards the middle."""
    nearest, border, number = (np.empty((SIZE, SIZE), np.float32) for _ in range(3))
    cells(int(palette.number(9, 26)), int(palette.rng.integers(1 << 30)), nearest, border, number)
    made = blend(palette.green() * 0.45, palette.green() * 1.2, number) * (0.6 + 0.8 * palette.field())[..., None]
    away = np.hypot(X - 0.5, Y - 0.5) * 2 + 0.35 * (palette.field() - 0.5)
    kept = (nearest < 0.62 - 0.1 * number) & (number > np.clip(away * 1.5 - 0.75, 0.08, 1.01))
    return texture(made, kept.astype(np.float32))


def blades(palette: Palette) -> Texture:
    """A tuft of grass or reed; v = 0 is its foot."""
    opacity, tone = np.zeros((SIZE, SIZE), bool), np.zeros((SIZE, SIZE), np.float32)
    for _ in range(int(palette.rng.integers(18, 42))):
        foot, lean, tall = palette.rng.uniform((0.15, -0.3, 0.35), (0.85, 0.3, 0.98))
        at = foot + lean * (Y / tall) ** 2
        blade = (np.abs(X - at) < 0.022 * (1.0 - Y / tall)) & (tall > Y)
        opacity |= blade
        tone[blade] = palette.rng.uniform(0.5, 1.4)
    made = blend(palette.green() * 0.7, palette.green(), Y) * tone[..., None]
    return texture(made, opacity.astype(np.float32))


def lattice(palette: Palette) -> Texture:
    """A see-through fence of wire or bars."""
    count, width = int(palette.number(4, 14)), palette.number(0.05, 0.12)
    if palette.rng.random() < 0.5:
        wires = np.minimum(np.abs((X + Y) * count % 1.0 - 0.5), np.abs((X - Y) * count % 1.0 - 0.5)) < width
    else:
        wires = (np.abs(X * count % 1.0 - 0.5) < width) | (np.abs(Y % 1.0 - 0.06) < 0.03) | (np.abs(Y - 0.94) < 0.03)
    base = palette.colour(0.4, (0.05, 0.6)) * (0.7 + 0.6 * palette.field())[..., None]
    return texture(np.asarray(base, np.float32), wires.astype(np.float32))


def variation(palette: Palette) -> Texture:
    """Three independent fields instead of a colour, by which a world's surfaces and clouds vary. Stored unchanged."""
    return texture(np.stack([palette.field() ** 2 for _ in range(3)], axis=-1).astype(np.float32))


def read_images(folder: Path, count: int, palette: Palette) -> list[Texture]:
    """Up to `count` images of a folder as textures, mirrored so that they repeat.

    Raises:
        SequenceError: the folder holds no image, or one that cannot be read.
    """
    names = find_images(folder).paths
    chosen = palette.rng.choice(len(names), min(count, len(names)), replace=False)
    return [_mirrored(read_image(names[index])) for index in chosen]


def _mirrored(image: NDArray[np.uint8]) -> Texture:
    grey_or_rgb = np.atleast_3d(image)[..., :3]
    half = SIZE // 2
    rows = np.linspace(0, grey_or_rgb.shape[0] - 1, half).astype(int)
    columns = np.linspace(0, grey_or_rgb.shape[1] - 1, half).astype(int)
    small = (grey_or_rgb[rows][:, columns].astype(np.float32) / 255.0) ** 2.2
    small = np.broadcast_to(small, (half, half, 3))
    wide = np.concatenate([small, small[:, ::-1]], axis=1)
    return texture(np.concatenate([wide, wide[::-1]]))


def textures_for(palette: Palette, names: list[str], images: Path | None = None) -> list[Texture]:
    """A texture for each name of a function here or in `patterns`; with `images`, some of "any" are from there."""
    own = read_images(images, 4, palette) if images is not None else []
    makers = {
        "any": any_pattern, "facade": facade, "shelf": shelf, "picture": picture, "leaves": leaves, "blades": blades,
        "lattice": lattice, "variation": variation, "speckle": speckle, "bricks": bricks,
        "grass": grass, "planks": planks,
    }  # fmt: skip
    made = []
    for name in names:
        from_folder = own and name == "any" and palette.rng.random() < 0.5
        made.append(own[int(palette.rng.integers(len(own)))] if from_folder else makers[name](palette))
    return made
