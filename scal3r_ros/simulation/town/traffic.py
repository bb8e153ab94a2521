"""Cars that drive through frames already rendered: painted boxes, hidden by what stands before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.projection import backproject
from scal3r_ros.simulation.simulate import SimulatedFrame

SIZE_M = (4.3, 1.8, 1.5)
PATCH_M = 0.35
BODY_RGB, TRIM_RGB = (214, 20, 186), (120, 8, 104)
"""No other thing of the town has such colours."""


@dataclass(frozen=True, eq=False)
class MovingCar:
    """A car of `size_m` (length, width, height) at `T_ref_car` (n, 4, 4), one pose a frame.

    The car's x points ahead and z up; its origin is the middle of its floor.
    """

    T_ref_car: NDArray[np.float64]
    size_m: tuple[float, float, float] = SIZE_M


def car_along(centres: NDArray[np.float64], ahead: NDArray[np.float64]) -> MovingCar:
    """A car at `centres` (n, 3) of its floor that looks along `ahead` (n, 3); z is up in the frame of both."""
    x = ahead * [1.0, 1.0, 0.0]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    z = np.broadcast_to([0.0, 0.0, 1.0], x.shape)
    T = np.tile(np.eye(4), (len(x), 1, 1))
    T[:, :3, 0], T[:, :3, 1], T[:, :3, 2], T[:, :3, 3] = x, np.cross(z, x), z, centres
    return MovingCar(T)


def with_traffic(
    frames: Iterable[SimulatedFrame], intrinsics: Intrinsics, cars: Sequence[MovingCar]
) -> Iterator[tuple[SimulatedFrame, NDArray[np.bool_]]]:
    """The frames with cars in them, in image and depth, and which pixels (h, w) show one.

    Each car must have a pose for every frame.
    """
    rays = backproject(np.ones((intrinsics.height, intrinsics.width)), intrinsics)
    for number, frame in enumerate(frames):
        image, depth = frame.image.copy(), frame.depth_m.copy()
        moving = np.zeros(depth.shape, np.bool_)
        for car in cars:
            T_car_cam = se3.invert(car.T_ref_car[number]) @ frame.T_ref_cam
            hit, z, paint = _seen(rays, T_car_cam, np.array(car.size_m))
            nearer = hit & ((depth == 0) | (z < depth))
            image[nearer], depth[nearer] = paint[nearer], z[nearer]
            moving |= nearer
        yield replace(frame, image=image, depth_m=depth), moving


def _seen(
    rays: NDArray[np.floating], T_car_cam: NDArray[np.float64], size_m: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.uint8]]:
    """Where rays (h, w, 3) of unit depth hit the box, at which z-depth (h, w), and its paint there (h, w, 3)."""
    low, high = np.array([-0.5, -0.5, 0.0]) * size_m, np.array([0.5, 0.5, 1.0]) * size_m
    origin, direction = T_car_cam[:3, 3], rays @ T_car_cam[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (low - origin) / direction, (high - origin) / direction
    enters = np.fmin(to_low, to_high).max(axis=-1)
    leaves = np.fmax(to_low, to_high).min(axis=-1)
    hit = (enters > 0) & (enters < leaves)
    z = np.where(hit, enters, 0.0)
    patches = np.floor((origin + z[..., None] * direction + 1e-6) / PATCH_M).astype(np.int64)
    odd = patches.sum(axis=-1) % 2 == 1
    # Patches of many brightnesses, so that a stereo matcher finds its way.
    shade = 0.55 + 0.45 * ((patches * [7, 13, 29]).sum(axis=-1) % 11) / 10
    paint = np.where(odd[..., None], np.array(BODY_RGB), np.array(TRIM_RGB)) * shade[..., None]
    return hit, z.astype(np.float32), paint.astype(np.uint8)
