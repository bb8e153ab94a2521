"""From light to the image of a real camera: lens, motion blur, exposure, tone, noise and compression."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.town.noise import place_random


class Sensor(NamedTuple):
    """How a frame is taken. `gain` (3,) is the mean grey by channel that exposure aims at (with white balance).

    Exposure is set by the first frame, and by later ones with the weight `adapts`, 0…1.

    `gamma` and `contrast` make the tone curve; `vignetting` is the loss of light in the corners, 0…1; `sharpening`
    adds a halo to edges (negative: blurs); `noise` is a dark pixel's standard deviation in grey levels of 0…255, and
    `shot_noise` that of a white one; `quantisation` is the step of the cosine transform of 8 × 8 pixels, 0 for none;
    `shutter` is the share of the time between frames in which light falls in, 0 for no motion blur.
    """

    gain: NDArray[np.float64]
    adapts: float
    gamma: float
    contrast: float
    vignetting: float
    sharpening: float
    noise: float
    shot_noise: float
    quantisation: float
    shutter: float


CLEAN = Sensor(np.full(3, 0.25), 0.0, 2.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@compiled
def gather(samples: np.ndarray, gain: np.ndarray, light: np.ndarray) -> None:
    """Pixels (h, w, 3) from samples (2h + 1, 2w + 1, 3) at every half pixel: a tent of two pixels around the centre.

    Samples are bounded, because a pixel saturates: otherwise a bright sky would outshine a thin pole in front of it.
    """
    height, width = light.shape[:2]
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                total = 0.0
                for a in range(3):
                    for b in range(3):
                        weight = (2.0 if a == 1 else 1.0) * (2.0 if b == 1 else 1.0)
                        value = gain[channel] * samples[2 * row + a, 2 * column + b, channel]
                        total += weight * min(value, 1.5)
                light[row, column, channel] = np.float32(total / 16.0)


@compiled
def blur_by_motion(
    light: np.ndarray, depth: np.ndarray, camera: np.ndarray, motion: np.ndarray, shutter: float, blurred: np.ndarray
) -> None:
    """Spreads light along the motion of points in the image; `motion` (4, 4) maps points to the next view."""
    height, width = light.shape[:2]
    for row in range(height):
        for column in range(width):
            z = depth[row, column] if depth[row, column] > 0.0 else 1e4
            x, y = (column - camera[2]) / camera[0] * z, (row - camera[3]) / camera[1] * z
            nz = motion[2, 0] * x + motion[2, 1] * y + motion[2, 2] * z + motion[2, 3]
            du, dv = 0.0, 0.0
            if nz > 0.1:
                nx = motion[0, 0] * x + motion[0, 1] * y + motion[0, 2] * z + motion[0, 3]
                ny = motion[1, 0] * x + motion[1, 1] * y + motion[1, 2] * z + motion[1, 3]
                du = shutter * (camera[0] * nx / nz + camera[2] - column)
                dv = shutter * (camera[1] * ny / nz + camera[3] - row)
            taps = 2 * int(min(4.0, math.ceil(0.5 * (abs(du) + abs(dv))))) + 1
            red, green, blue = 0.0, 0.0, 0.0
            for tap in range(taps):
                part = tap / (taps - 1) - 0.5 if taps > 1 else 0.0
                j = min(max(int(column + part * du + 0.5), 0), width - 1)
                i = min(max(int(row + part * dv + 0.5), 0), height - 1)
                red += light[i, j, 0]
                green += light[i, j, 1]
                blue += light[i, j, 2]
            blurred[row, column, 0] = np.float32(red / taps)
            blurred[row, column, 1] = np.float32(green / taps)
            blurred[row, column, 2] = np.float32(blue / taps)


@compiled
def develop(light: np.ndarray, sensor: Sensor, seed: int, image: np.ndarray) -> None:
    """Grey levels (h, w, 3) uint8 from light (h, w, 3) float32 with the gain applied."""
    height, width = light.shape[:2]
    tone = np.empty((height, width, 3), np.float32)
    radius = 0.25 * (height * height + width * width)
    for row in range(height):
        for column in range(width):
            away = ((row - 0.5 * height) ** 2 + (column - 0.5 * width) ** 2) / radius
            loss = 1.0 - sensor.vignetting * away
            for channel in range(3):
                value = min(1.0, max(0.0, loss * light[row, column, channel])) ** (1.0 / sensor.gamma)
                value += sensor.contrast * value * (1.0 - value) * (2.0 * value - 1.0)
                tone[row, column, channel] = np.float32(255.0 * value)
    for row in range(height):
        up, down = max(row - 1, 0), min(row + 1, height - 1)
        for column in range(width):
            left, right = max(column - 1, 0), min(column + 1, width - 1)
            for channel in range(3):
                value = float(tone[row, column, channel])
                if sensor.sharpening != 0.0:
                    around = 0.25 * (
                        tone[up, column, channel] + tone[down, column, channel] + tone[row, left, channel]
                        + tone[row, right, channel]
                    )  # fmt: skip
                    value += sensor.sharpening * (value - around)
                at = (row * width + column) * 3 + channel
                strength = sensor.noise + (sensor.shot_noise - sensor.noise) * math.sqrt(max(0.0, value) / 255.0)
                # √6: the sum of two numbers in 0…1 has a variance of 1/6.
                value += strength * 2.449 * (place_random(at, 0, seed) + place_random(at, 1, seed) - 1.0)
                image[row, column, channel] = np.uint8(min(255.0, max(0.0, value + 0.5)))


_COSINES = np.array(
    [[math.sqrt((1.0 if k == 0 else 2.0) / 8.0) * math.cos(math.pi * (2 * n + 1) * k / 16) for n in range(8)]
     for k in range(8)], np.float32,
)  # fmt: skip


@compiled
def compress(image: np.ndarray, step: float) -> None:
    """Rounds the cosine transform of blocks of 8 × 8 pixels of luminance, in place, as a JPEG file does.

    High frequencies are rounded to coarser steps than low ones; the colour differences of a pixel are kept.
    """
    height, width = image.shape[:2]
    block = np.empty((8, 8), np.float32)
    half = np.empty((8, 8), np.float32)
    for top in range(0, height - 7, 8):
        for left in range(0, width - 7, 8):
            for i in range(8):
                for j in range(8):
                    pixel = image[top + i, left + j]
                    block[i, j] = np.float32(0.3 * pixel[0] + 0.59 * pixel[1] + 0.11 * pixel[2])
            for i in range(8):
                for k in range(8):
                    total = np.float32(0.0)
                    for j in range(8):
                        total += block[i, j] * _COSINES[k, j]
                    half[i, k] = total
            for k in range(8):
                for m in range(8):
                    total = np.float32(0.0)
                    for i in range(8):
                        total += half[i, k] * _COSINES[m, i]
                    size = step * (1.0 + 0.45 * (k + m))
                    block[m, k] = np.float32(size * np.floor(total / size + 0.5))
            for m in range(8):
                for j in range(8):
                    total = np.float32(0.0)
                    for k in range(8):
                        total += block[m, k] * _COSINES[k, j]
                    half[m, j] = total
            for i in range(8):
                for j in range(8):
                    value = np.float32(0.0)
                    for m in range(8):
                        value += half[m, j] * _COSINES[m, i]
                    pixel = image[top + i, left + j]
                    change = value - (0.3 * pixel[0] + 0.59 * pixel[1] + 0.11 * pixel[2])
                    for channel in range(3):
                        pixel[channel] = np.uint8(min(255.0, max(0.0, pixel[channel] + change + 0.5)))
