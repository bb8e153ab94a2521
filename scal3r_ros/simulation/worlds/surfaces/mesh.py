"""Surfaces of a world as triangles, and the builder that makes them from quadrilaterals, boxes, tubes and grids."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scal3r_ros.simulation.compiled import compiled

TWO_SIDED = 1
CUTOUT = 2
GLOWING = 4

RGB = tuple[float, float, float]
WHITE: RGB = (1.0, 1.0, 1.0)


_FACES = np.array(
    [
        [[-1, -1, -1], [1, -1, -1], [1, -1, 1], [-1, -1, 1]],
        [[1, -1, -1], [1, 1, -1], [1, 1, 1], [1, -1, 1]],
        [[1, 1, -1], [-1, 1, -1], [-1, 1, 1], [1, 1, 1]],
        [[-1, 1, -1], [-1, -1, -1], [-1, -1, 1], [-1, 1, 1]],
        [[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]],
        [[-1, 1, -1], [1, 1, -1], [1, -1, -1], [-1, -1, -1]],
    ],
    np.float64,
)  # of a box: its sides, its top, its bottom
_UPPER = _FACES[..., 2] > 0


class Mesh(NamedTuple):
    """n triangles: `corners` (n, 3, 3) metres, counter-clockwise from outside; `uv` (n, 3, 2) in repeats;
    `normals` (n, 3, 3) of the corners, unit length; `texture` (n,) numbers of an atlas; `tint` (n, 3) factors of its
    colour; `kind` (n,) sums of TWO_SIDED, CUTOUT (holes where the texture is transparent) and GLOWING (needs no light);
    `mover` (n,) the moving object it belongs to, -1 for none: its corners and normals are in that object's frame.
    """

    corners: NDArray[np.float64]
    uv: NDArray[np.float32]
    normals: NDArray[np.float32]
    texture: NDArray[np.int32]
    tint: NDArray[np.float32]
    kind: NDArray[np.uint8]
    mover: NDArray[np.int32]


class MeshBuilder:
    """Collects triangles; those added while `mover` is not -1 belong to that moving object."""

    def __init__(self) -> None:
        self.mover = -1
        self._pieces: list[Mesh] = []

    def quads(
        self,
        corners: ArrayLike,
        texture: int,
        tint: ArrayLike = WHITE,
        repeat_m: float = 2.0,
        kind: int = 0,
        uv: ArrayLike | None = None,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Flat quadrilaterals (q, 4, 3), counter-clockwise; the texture repeats every `repeat_m` along their edges.

        `uv` (q, 4, 2) replaces that. `tint` is one colour or (q, 3).
        """
        c = np.ascontiguousarray(np.asarray(corners, np.float64).reshape(-1, 4, 3))
        given = np.zeros((0, 4, 2)) if uv is None else np.array(np.broadcast_to(uv, (len(c), 4, 2)), np.float64)
        made = (
            np.empty((2 * len(c), 3, 3)),
            np.empty((2 * len(c), 3, 2), np.float32),
            np.empty((2 * len(c), 3, 3), np.float32),
        )
        _halve(c, given, repeat_m, shift[0], shift[1], *made)
        colours = np.empty((2 * len(c), 3), np.float32)
        colours[: len(c)] = colours[len(c) :] = tint
        self._add(*made, texture, colours, kind)

    def box(
        self,
        centre: ArrayLike,
        half: ArrayLike,
        yaw: float,
        texture: int,
        tint: ArrayLike = WHITE,
        repeat_m: float = 2.0,
        top: int | None = None,
        kind: int = 0,
        shift: tuple[float, float] = (0.0, 0.0),
        taper: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """A box whose `half` sizes (3,) run along its heading `yaw`, to its left and up; `top` is a texture.

        `taper` is the size of the upper side relative to the lower one: a roof, a cabin."""
        corners = _FACES * np.asarray(half)
        corners[_UPPER] *= [*taper, 1.0]
        corners = corners @ turn(yaw).T + np.asarray(centre)
        if top is None:
            self.quads(corners, texture, tint, repeat_m, kind, shift=shift)
            return
        self.quads(corners[:4], texture, tint, repeat_m, kind, shift=shift)
        self.quads(corners[4:], top, tint, repeat_m, kind, shift=shift)

    def grid(
        self,
        points: ArrayLike,
        uv: ArrayLike,
        texture: int,
        tint: ArrayLike = WHITE,
        kind: int = 0,
    ) -> None:
        """A smooth surface through points (r, c, 3) with `uv` (r, c, 2); outside is where columns cross rows points to.

        `tint` is one colour or (r - 1, c - 1, 3).
        """
        p, at = np.asarray(points, np.float64), np.asarray(uv, np.float64)
        normal = np.cross(np.gradient(p, axis=1), np.gradient(p, axis=0))
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
        shape = np.broadcast_to(np.asarray(tint, np.float64), (p.shape[0] - 1, p.shape[1] - 1, 3)).reshape(-1, 3)

        def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
            a, b, c, d = values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]
            size = values.shape[-1]
            first, second = np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)
            return np.concatenate([first.reshape(-1, 3, size), second.reshape(-1, 3, size)])

        self._add(around(p), around(at), around(normal), texture, np.concatenate([shape, shape]), kind)

    def ellipsoid(
        self, centre: ArrayLike, half: ArrayLike, texture: int, tint: ArrayLike = WHITE, repeat_m: float = 2.0,
        sides: int = 10, roughness: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        """An upright ellipsoid; `roughness` (sides // 2 + 1, sides) multiplies its radius."""
        rows = sides // 2 + 1
        polar, around = np.linspace(-math.pi / 2, math.pi / 2, rows), np.linspace(0, 2 * math.pi, sides + 1)
        unit = np.stack(
            [
                np.outer(np.cos(polar), np.cos(around)),
                np.outer(np.cos(polar), np.sin(around)),
                np.outer(np.sin(polar), np.ones(sides + 1)),
            ],
            axis=-1,
        )
        if roughness is not None:
            unit = unit * np.concatenate([roughness, roughness[:, :1]], axis=1)[..., None]
        size = np.asarray(half, np.float64)
        u = around * size[0] / repeat_m
        uv = np.stack(np.broadcast_arrays(u[None, :], (polar * size[2] / repeat_m)[:, None]), axis=-1)
        self.grid(unit * size + np.asarray(centre), uv, texture, tint)

    def tube(
        self, points: ArrayLike, radius: float, texture: int, tint: ArrayLike = WHITE, repeat_m: float = 1.0,
        sides: int = 6,
    ) -> None:  # fmt: skip
        """A round pole or wire along points (k, 3)."""
        p = np.asarray(points, np.float64)
        along = np.gradient(p, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        helper = np.where(np.abs(along[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
        side = np.cross(along, helper)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        up = np.cross(side, along)
        angle = np.linspace(0, 2 * math.pi, sides + 1)
        ring = np.cos(angle)[None, :, None] * side[:, None] - np.sin(angle)[None, :, None] * up[:, None]
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
        uv = np.stack(np.broadcast_arrays((angle * radius / repeat_m)[None, :], (arc / repeat_m)[:, None]), axis=-1)
        self.grid(p[:, None] + radius * ring, uv, texture, tint)

    def build(self) -> Mesh:
        """All triangles, those of moving objects last."""
        joined = [np.concatenate(parts) for parts in zip(*self._pieces, strict=True)]
        order = np.argsort(joined[-1], kind="stable")
        first_mover = int(np.searchsorted(joined[-1][order], 0))
        if first_mover:
            return Mesh(*(np.ascontiguousarray(part[order]) for part in joined))
        return Mesh(*(np.ascontiguousarray(part) for part in joined))

    def _add(
        self, corners: NDArray[np.float64], uv: NDArray[np.floating], normals: NDArray[np.floating], texture: int,
        tint: NDArray[np.floating], kind: int,
    ) -> None:  # fmt: skip
        count = len(corners)
        self._pieces.append(
            Mesh(
                corners,
                uv.astype(np.float32, copy=False), normals.astype(np.float32, copy=False),
                np.full(count, texture, np.int32),
                tint.astype(np.float32, copy=False),
                np.full(count, kind, np.uint8), np.full(count, self.mover, np.int32),
            )
        )  # fmt: skip


@compiled
def _halve(
    quads: np.ndarray,
    given: np.ndarray,
    repeat_m: float,
    shift_u: float,
    shift_v: float,
    corners: np.ndarray,
    uv: np.ndarray,
    normals: np.ndarray,
) -> None:
    """Two triangles of each quadrilateral, all first ones first; `given` (q, 4, 2) or (0, 4, 2) is their `uv`."""
    count = len(quads)
    at = np.empty((4, 2))
    for q in range(count):
        c = quads[q]
        n = np.cross(c[2] - c[0], c[3] - c[1])
        n /= max(math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-12)
        if len(given):
            at[:] = given[q]
        else:
            length = math.sqrt(((c[1] - c[0]) ** 2).sum()) / repeat_m
            height = math.sqrt(((c[3] - c[0]) ** 2).sum()) / repeat_m
            at[:, 0], at[:, 1] = shift_u, shift_v
            at[1:3, 0] += length
            at[2:, 1] += height
        for half in range(2):
            for k in range(3):
                corner = 0 if k == 0 else k + half
                i = q + half * count
                corners[i, k] = c[corner]
                uv[i, k, 0], uv[i, k, 1] = np.float32(at[corner, 0]), np.float32(at[corner, 1])
                for axis in range(3):
                    normals[i, k, axis] = np.float32(n[axis])


def up(height_m: float) -> NDArray[np.float64]:
    """The vector (3,) of length `height_m` that points up."""
    return np.array([0.0, 0.0, height_m])


def turn(yaw: float) -> NDArray[np.float64]:
    """Rotation (3, 3) by `yaw` rad about z."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
