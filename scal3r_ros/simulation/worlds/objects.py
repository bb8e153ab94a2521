"""Objects that stand or move in a world, each made of triangles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.worlds.surfaces.mesh import CUTOUT, GLOWING, TWO_SIDED, MeshBuilder, turn, up

Tint = NDArray[np.float64]


@dataclass
class Maker:
    """Adds objects to a mesh. `textures` maps the name of a pattern to its numbers in the world's atlas."""

    mesh: MeshBuilder
    textures: dict[str, list[int]]
    rng: np.random.Generator

    def pick(self, name: str) -> int:
        """A random texture of that name."""
        numbers = self.textures[name]
        return numbers[int(self.rng.integers(len(numbers)))]

    def tint(self, spread: float = 0.25) -> Tint:
        """A factor (3,) of brightness, and of hue a little."""
        return self.rng.uniform(1.0 - spread, 1.0 + spread) * self.rng.uniform(1.0 - 0.3 * spread, 1.0, 3)

    def paint(self) -> Tint:
        """The colour (3,) of a car or a coat, over a light texture."""
        grey, hue = self.rng.uniform(0.1, 1.5), self.rng.uniform(0.15, 1.0, 3)
        return np.asarray(grey * (hue if self.rng.random() < 0.6 else np.ones(3)))

    def _shift(self) -> tuple[float, float]:
        return float(self.rng.random()), float(self.rng.random())

    def house(self, place: NDArray[np.float64], yaw: float, length: float, depth: float, height: float) -> None:
        """A house with painted windows, a roof, and now and then balconies, a porch and chimneys."""
        mesh, rng = self.mesh, self.rng
        wall, tint = self.pick("facade"), self.tint()
        repeat = float(rng.uniform(7.0, 13.0))
        low = 3.0
        mesh.box(
            place + up((height - low) / 2), [length / 2, depth / 2, (height + low) / 2], yaw, wall, tint, repeat,
            self.pick("speckle"), shift=self._shift(),
        )  # fmt: skip
        roof, over = self.pick("any"), float(rng.uniform(0.2, 0.6))
        if rng.random() < 0.6:
            rise = float(rng.uniform(1.2, 4.0))
            taper = (float(rng.uniform(0.6, 1.0)), 0.02)
            half = [length / 2 + over, depth / 2 + over, rise / 2]
            mesh.box(place + up(height + rise / 2), half, yaw, roof, self.tint(), 2.5, taper=taper)
        else:
            mesh.box(place + up(height + 0.2), [length / 2 + over, depth / 2 + over, 0.2], yaw, roof, tint, 3.0)
        axes = turn(yaw)
        for _ in range(int(rng.integers(0, 4))):
            at = np.array(
                [rng.uniform(-0.4, 0.4) * length, rng.choice([-1.0, 1.0]) * depth / 2, rng.uniform(2.6, height)]
            )
            size = [float(rng.uniform(0.8, 1.8)), 0.6, float(rng.uniform(0.4, 0.6))]
            mesh.box(place + axes @ at, size, yaw, self.pick("any"), self.tint(), 1.5)
        for _ in range(int(rng.integers(0, 3))):
            at = np.array([rng.uniform(-0.4, 0.4) * length, rng.uniform(-0.3, 0.3) * depth, height + 1.2])
            mesh.box(place + axes @ at, [0.4, 0.3, 1.4], yaw, self.pick("bricks"), self.tint(), 2.0)

    def car(self, place: NDArray[np.float64], yaw: float) -> None:
        """A car, a van or a lorry on the ground at `place`."""
        mesh, rng = self.mesh, self.rng
        paint, plain = self.paint(), self.pick("speckle")
        axes = turn(yaw)
        kind = rng.random()
        length, width = float(rng.uniform(3.6, 5.0)), float(rng.uniform(1.6, 1.95))
        if kind < 0.15:
            length, width = float(rng.uniform(5.5, 9.0)), 2.3
        waist = float(rng.uniform(0.8, 1.05))
        mesh.box(place + up((waist + 0.25) / 2), [length / 2, width / 2, (waist - 0.25) / 2], yaw, plain, paint, 3.0)
        if kind < 0.3:
            tall = float(rng.uniform(1.0, 2.2))
            at = place + axes @ np.array([-0.12 * length, 0, waist + tall / 2])
            mesh.box(at, [0.36 * length, width / 2, tall / 2], yaw, self.pick("any"), self.tint(), 2.5)
        cabin, tall = length * float(rng.uniform(0.22, 0.32)), float(rng.uniform(0.5, 0.75))
        at = place + axes @ np.array([0.0 if kind >= 0.3 else 0.3 * length, 0, waist + tall / 2])
        taper = (float(rng.uniform(0.55, 0.9)), 0.85)
        mesh.box(at, [cabin, width / 2 - 0.08, tall / 2], yaw, plain, [0.08, 0.1, 0.12], 2.0, taper=taper)
        roof = at + up(tall / 2 + 0.02)
        mesh.box(roof, [cabin * taper[0], (width / 2 - 0.08) * 0.85, 0.03], yaw, plain, paint, 2.0)
        for x in (-0.32 * length, 0.32 * length):
            for y in (-1.0, 1.0):
                wheel = place + axes @ np.array([x, y * (width / 2 - 0.1), 0.32])
                mesh.box(wheel, [0.32, 0.13, 0.32], yaw, plain, [0.06, 0.06, 0.06], 0.7, taper=(0.6, 1.0))
        for x, colour in ((1.0, [1.6, 1.6, 1.4]), (-1.0, [0.8, 0.05, 0.04])):
            for y in (-1.0, 1.0):
                lamp = place + axes @ np.array([x * length / 2, y * (width / 2 - 0.25), waist - 0.25])
                mesh.box(lamp, [0.02, 0.16, 0.07], yaw, plain, colour, 1.0)
        plate = place + axes @ np.array([-length / 2, 0, 0.5])
        mesh.box(plate, [0.02, 0.26, 0.06], yaw, self.pick("picture"), [1.0, 1.0, 1.0], 0.5)

    def person(self, place: NDArray[np.float64], yaw: float) -> None:
        """A person: legs, trunk, arms and head."""
        mesh, rng = self.mesh, self.rng
        tall = float(rng.uniform(1.5, 1.95)) / 1.75
        cloth, skin, axes = self.paint(), rng.uniform(0.3, 1.2) * np.array([1.0, 0.75, 0.6]), turn(yaw)
        trousers, stride = self.paint(), float(rng.uniform(0.0, 0.25))
        fabric = self.pick("any")
        for side in (-1.0, 1.0):
            leg = place + axes @ np.array([side * stride, side * 0.1, 0.42 * tall])
            mesh.box(leg, [0.1, 0.08, 0.42 * tall], yaw, fabric, trousers, 0.8, taper=(1.2, 1.2))
            arm = place + axes @ np.array([-side * 0.5 * stride, side * 0.27, 1.12 * tall])
            mesh.box(arm, [0.07, 0.05, 0.3 * tall], yaw, fabric, cloth, 0.8)
        mesh.box(place + up(1.14 * tall), [0.14, 0.21, 0.32 * tall], yaw, fabric, cloth, 0.8, taper=(0.9, 0.8))
        mesh.ellipsoid(place + up(1.6 * tall), [0.11, 0.1, 0.14], self.pick("speckle"), skin, 0.5, 8)

    def tree(self, place: NDArray[np.float64], height: float) -> None:
        """A trunk with clumps of leaves, or a conifer of rings of them."""
        mesh, rng = self.mesh, self.rng
        lean = rng.normal(0, 0.04, 2) * height
        radius = 0.018 * height + float(rng.uniform(0.02, 0.1))
        top = place + np.array([lean[0], lean[1], 0.75 * height])
        bark = self.pick("planks")
        mesh.tube([place - up(0.5), 0.5 * (place + top) + rng.normal(0, 0.1, 3), top], radius, bark)
        crown = float(rng.uniform(0.22, 0.4)) * height
        count = int(rng.integers(7, 13))
        tint = self.tint(0.35)
        if rng.random() < 0.3:
            body = top + up(-0.1 * height)
            rough = rng.uniform(0.7, 1.15, (6, 10))
            mesh.ellipsoid(body, np.array([0.62, 0.62, 0.7]) * crown, self.pick("grass"), tint, 1.5, 10, rough)
        at = top + rng.normal(0, 0.32, (count, 3)) * [crown, crown, 0.8 * crown]
        self._sprigs(at, crown * rng.uniform(0.45, 0.8, count), self.pick("leaves"), tint)

    def bush(self, place: NDArray[np.float64], size: float) -> None:
        """A bush of leaves down to the ground."""
        count = int(self.rng.integers(4, 8))
        at = place + self.rng.normal(0, 0.35, (count, 3)) * size * [1, 1, 0.3] + up(0.45 * size)
        self._sprigs(at, size * self.rng.uniform(0.5, 0.8, count), self.pick("leaves"), self.tint(0.35))

    def _sprigs(self, at: NDArray[np.float64], size: NDArray[np.float64], texture: int, tint: Tint) -> None:
        """Flat sprigs of leaves through points (n, 3), in random orientations."""
        first = self.rng.normal(size=(len(at), 3))
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        second = np.cross(first, self.rng.normal(size=(len(at), 3)))
        second /= np.linalg.norm(second, axis=1, keepdims=True)
        a, b = first * size[:, None], second * size[:, None]
        corners = np.stack([at - a - b, at + a - b, at + a + b, at - a + b], axis=1)
        tints = tint * self.rng.uniform(0.7, 1.2, (len(at), 1))
        uv = [[0, 0], [1, 0], [1, 1], [0, 1]]
        self.mesh.quads(corners, texture, tints, kind=TWO_SIDED | CUTOUT, uv=[uv])

    def tufts(self, places: NDArray[np.float64], size: float) -> None:
        """Tufts of grass or reed at places (n, 3), each of two crossed leaves."""
        if not len(places):
            return
        yaw = self.rng.uniform(0, math.pi, len(places))
        tall = size * self.rng.uniform(0.5, 1.3, len(places))
        quads = []
        for turned in (yaw, yaw + math.pi / 2):
            side = np.stack([np.cos(turned), np.sin(turned), np.zeros_like(turned)], -1) * 0.5 * tall[:, None]
            tip = np.stack([np.zeros_like(tall), np.zeros_like(tall), tall], -1)
            foot = places - up(0.03)
            quads.append(np.stack([foot - side, foot + side, foot + side + tip, foot - side + tip], axis=1))
        uv = [[0, 0], [1, 0], [1, 1], [0, 1]]
        corners = np.concatenate(quads)
        tints = self.tint() * self.rng.uniform(0.7, 1.2, (len(corners), 1))
        self.mesh.quads(corners, self.pick("blades"), tints, kind=TWO_SIDED | CUTOUT, uv=[uv])

    def pole(self, place: NDArray[np.float64], height: float, arm: NDArray[np.float64] | None = None) -> None:
        """A post, with an arm (3,) from its top where one is given."""
        grey, radius = self.tint() * self.rng.uniform(0.2, 1.0), float(self.rng.uniform(0.03, 0.12))
        top = place + up(height)
        self.mesh.tube([place - up(0.3), top], radius, self.pick("speckle"), grey)
        if arm is not None:
            self.mesh.tube([top, top + arm], 0.5 * radius, self.pick("speckle"), grey)
            self.mesh.box(top + arm, [0.3, 0.12, 0.06], math.atan2(arm[1], arm[0]), self.pick("speckle"), grey)

    def sign(self, place: NDArray[np.float64], yaw: float) -> None:
        """A plate with a picture on a post."""
        half, low = self.rng.uniform(0.25, 0.6, 2), float(self.rng.uniform(1.4, 2.4))
        self.mesh.tube([place, place + up(low + half[1])], 0.03, self.pick("speckle"))
        at = place + turn(yaw) @ np.array([0.06, 0, 0]) + up(low + half[1])
        self.mesh.box(at, [0.015, half[0], half[1]], yaw, self.pick("picture"), self.tint(), 2.0 * float(half.max()))

    def wire(self, start: NDArray[np.float64], end: NDArray[np.float64], sag: float) -> None:
        """A wire that hangs between two points."""
        t = np.linspace(0, 1, 9)[:, None]
        points = start + t * (end - start) - sag * 4 * t * (1 - t) * [0, 0, 1]
        self.mesh.tube(points, 0.015, self.pick("speckle"), [0.1, 0.1, 0.1], 1.0, 3)

    def fence(self, line: NDArray[np.float64], height: float) -> None:
        """Along points (k, 3) on the ground: a wall, a hedge, planks, a lattice to look through, or rails on posts."""
        a, b, rise = line[:-1], line[1:], up(height)
        corners = np.stack([a - up(0.3), b - up(0.3), b + rise, a + rise], axis=1)
        kind = self.rng.random()
        if kind < 0.3:
            uv = [[[0, 0], [1, 0], [1, 1], [0, 1]]]
            self.mesh.quads(corners, self.pick("lattice"), self.tint(), kind=TWO_SIDED | CUTOUT, uv=uv)
        elif kind < 0.6:
            name = "planks" if kind < 0.45 else "any"
            self.mesh.quads(corners, self.pick(name), self.tint(), 2.0, TWO_SIDED)
        else:
            for level in (0.45, 0.95) if kind < 0.8 else (0.8,):
                self.mesh.tube(line + up(level * height), 0.05 if kind < 0.8 else 0.12, self.pick("speckle"))
            for point in line[::2]:
                self.mesh.box(point + up(0.4 * height), [0.06, 0.06, 0.62 * height], 0.0, self.pick("planks"))

    def rock(self, place: NDArray[np.float64], size: float) -> None:
        """A boulder, or a heap."""
        half = size * self.rng.uniform(0.5, 1.2, 3)
        self.mesh.ellipsoid(
            place, half, self.pick("speckle"), self.tint(), 1.2, 10, self.rng.uniform(0.8, 1.1, (6, 10))
        )

    def crate(self, place: NDArray[np.float64], yaw: float, half: NDArray[np.float64]) -> None:
        """A box on the ground: a bin, a cabinet, a planter, a case."""
        name = "picture" if self.rng.random() < 0.25 else "any"
        repeat = float(self.rng.uniform(0.5, 1.6))
        taper = (float(self.rng.uniform(0.8, 1.1)),) * 2
        self.mesh.box(place + up(half[2]), half, yaw, self.pick(name), self.tint(), repeat, taper=taper)

    def table(self, place: NDArray[np.float64], yaw: float, half: NDArray[np.float64], height: float) -> None:
        """A plate on four legs, with things on it; small and with a back, it is a chair."""
        axes, wood = turn(yaw), self.pick("planks" if self.rng.random() < 0.6 else "speckle")
        tint = self.tint(0.4)
        self.mesh.box(place + up(height), [half[0], half[1], 0.025], yaw, wood, tint, 1.2)
        for x in (-1.0, 1.0):
            for y in (-1.0, 1.0):
                leg = place + axes @ np.array([x * (half[0] - 0.04), y * (half[1] - 0.04), height / 2])
                self.mesh.box(leg, [0.025, 0.025, height / 2], yaw, wood, tint, 0.7)
        if half[0] < 0.35:
            back = place + axes @ np.array([-half[0], 0, height + 0.25])
            self.mesh.box(back, [0.02, half[1], 0.25], yaw, wood, tint, 0.8)
            return
        for _ in range(int(self.rng.integers(0, 5))):
            at = axes @ np.array([*(self.rng.uniform(-0.7, 0.7, 2) * half), height + 0.02])
            self.crate(place + at, float(self.rng.uniform(0, 3)), self.rng.uniform(0.04, 0.18, 3))

    def panel(self, centre: NDArray[np.float64], yaw: float, half: tuple[float, float], name: str, glow: bool) -> None:
        """A flat object on a wall that faces along `yaw`: a picture, a notice board, a window, a door."""
        corners = np.array(
            [[0, -half[0], -half[1]], [0, half[0], -half[1]], [0, half[0], half[1]], [0, -half[0], half[1]]]
        )
        tint = np.full(3, self.rng.uniform(1.0, 2.5)) if glow else self.tint()
        uv = [[[0, 0], [1, 0], [1, 1], [0, 1]]]
        place = corners @ turn(yaw).T + centre
        self.mesh.quads(place, self.pick(name), tint, kind=GLOWING if glow else 0, uv=uv)
        frame = self.pick("planks")
        for x in (-1.0, 1.0):
            side = centre + turn(yaw) @ np.array([0, x * half[0], 0])
            self.mesh.box(side, [0.03, 0.03, half[1] + 0.03], yaw, frame, tint if not glow else 1.0, 0.7)
        for z in (-1.0, 1.0):
            self.mesh.box(centre + up(z * half[1]), [0.03, half[0], 0.03], yaw, frame, 1.0, 0.7)
