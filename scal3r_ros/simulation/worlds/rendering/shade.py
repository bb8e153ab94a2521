"""The light of each sample of an image whose triangles are known."""

from __future__ import annotations

import math

import numpy as np

from scal3r_ros.simulation.compiled import compiled
from scal3r_ros.simulation.worlds.rendering.light import Light
from scal3r_ros.simulation.worlds.surfaces.atlas import SIZE, level_of, sample_channel, sample_colour
from scal3r_ros.simulation.worlds.surfaces.mesh import GLOWING

RGB = tuple[float, float, float]

_MACRO_M = 9.3  # wavelength of stains that hide where a texture repeats
_FINE = 7.3  # how much finer the grain is that appears where a texture is seen from too near


@compiled
def shade(
    uv: np.ndarray,
    normals: np.ndarray,
    texture: np.ndarray,
    tint: np.ndarray,
    kind: np.ndarray,
    texels: np.ndarray,
    begin: np.ndarray,
    light: Light,
    standing: np.ndarray,
    moving: np.ndarray,
    shadow_P: np.ndarray,
    texel_m: float,
    camera: np.ndarray,
    pose: np.ndarray,
    edges: np.ndarray,
    inverse_depth: np.ndarray,
    triangle: np.ndarray,
    image: np.ndarray,
) -> None:
    """Writes linear light to `image` (h, w, 3) float32.

    `camera` (4,) is fx, fy, cx, cy in samples; `pose` (4, 4) the camera in the world; the rest comes from `rasterise`.
    """
    height, width = triangle.shape
    lamps, relief, noise = light.lamps, light.relief, light.noise_texture
    sun, above, below = light.sun, light.above, light.below
    for row in range(height):
        for column in range(width):
            x, y = (column - camera[2]) / camera[0], (row - camera[3]) / camera[1]
            dx = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2]
            dy = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2]
            dz = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2]
            length = math.sqrt(dx * dx + dy * dy + dz * dz)
            i = triangle[row, column]
            if i < 0:
                sky = _sky(texels, begin, light, dx / length, dy / length, dz / length)
                image[row, column, 0], image[row, column, 1], image[row, column, 2] = sky
                continue
            e = edges[i]
            b0 = e[0] * column + e[1] * row + e[2]
            b1 = e[3] * column + e[4] * row + e[5]
            b2 = e[6] * column + e[7] * row + e[8]
            z = 1.0 / (b0 + b1 + b2)
            l0, l1, l2 = b0 * z, b1 * z, b2 * z
            u = l0 * uv[i, 0, 0] + l1 * uv[i, 1, 0] + l2 * uv[i, 2, 0]
            v = l0 * uv[i, 0, 1] + l1 * uv[i, 1, 1] + l2 * uv[i, 2, 1]
            wide = SIZE * _footprint(uv, e, i, u, v, z)
            level = level_of(wide)
            red, green, blue = sample_colour(texels, begin, texture[i], level, u, v)
            red, green, blue = red * tint[i, 0], green * tint[i, 1], blue * tint[i, 2]
            if not kind[i] & GLOWING:
                px, py, pz = pose[0, 3] + z * dx, pose[1, 3] + z * dy, pose[2, 3] + z * dz
                nx = l0 * normals[i, 0, 0] + l1 * normals[i, 1, 0] + l2 * normals[i, 2, 0]
                ny = l0 * normals[i, 0, 1] + l1 * normals[i, 1, 1] + l2 * normals[i, 2, 1]
                nz = l0 * normals[i, 0, 2] + l1 * normals[i, 1, 2] + l2 * normals[i, 2, 2]
                inverse = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
                if nx * dx + ny * dy + nz * dz > 0.0:
                    inverse = -inverse
                nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
                stain = sample_channel(
                    texels, begin, noise, level_of(z * SIZE / (camera[0] * _MACRO_M)),
                    (px + 0.37 * pz) / _MACRO_M, (py + 0.61 * pz) / _MACRO_M, 0,
                )  # fmt: skip
                gain = 1.0 + relief * (stain - 0.5)
                if wide * _FINE < 3.0:
                    grain = sample_channel(texels, begin, noise, level_of(wide * _FINE), u * _FINE, v * _FINE, 1)
                    gain *= 1.0 + relief * min(1.0, 3.0 / (wide * _FINE) - 1.0) * (grain - 0.5)
                up = 0.5 + 0.5 * nz
                lr = below[0] + up * (above[0] - below[0])
                lg = below[1] + up * (above[1] - below[1])
                lb = below[2] + up * (above[2] - below[2])
                facing = sun[0] * nx + sun[1] * ny + sun[2] * nz
                if facing > 0.0 and light.sun_colour[0] > 0.0:
                    lift = 0.02 + 1.2 * texel_m
                    facing *= _lit(
                        standing, moving, shadow_P, px + lift * nx, py + lift * ny, pz + lift * nz, 0.6 * texel_m
                    )
                    lr += facing * light.sun_colour[0]
                    lg += facing * light.sun_colour[1]
                    lb += facing * light.sun_colour[2]
                for lamp in range(len(lamps)):
                    ax, ay, az = lamps[lamp, 0] - px, lamps[lamp, 1] - py, lamps[lamp, 2] - pz
                    square = ax * ax + ay * ay + az * az
                    reach = lamps[lamp, 3]
                    if square < reach * reach:
                        cosine = (ax * nx + ay * ny + az * nz) / math.sqrt(square + 1e-6)
                        fade = 1.0 - square / (reach * reach)
                        strength = fade * fade * (0.25 + 0.75 * max(0.0, cosine)) / (0.4 + 0.15 * square)
                        lr += strength * lamps[lamp, 4]
                        lg += strength * lamps[lamp, 5]
                        lb += strength * lamps[lamp, 6]
                red, green, blue = red * gain * lr, green * gain * lg, blue * gain * lb
            haze = 1.0 - math.exp(-z * length / light.haze_m)
            image[row, column, 0] = red + haze * (light.horizon[0] - red)
            image[row, column, 1] = green + haze * (light.horizon[1] - green)
            image[row, column, 2] = blue + haze * (light.horizon[2] - blue)


@compiled
def _footprint(uv: np.ndarray, e: np.ndarray, i: int, u: float, v: float, z: float) -> float:
    """Size of a sample on the texture; at a slant, nearer to the short than to the long side of its footprint."""
    wx, wy = (e[0] + e[3] + e[6]) * z, (e[1] + e[4] + e[7]) * z
    ux = (e[0] * uv[i, 0, 0] + e[3] * uv[i, 1, 0] + e[6] * uv[i, 2, 0]) * z - u * wx
    vx = (e[0] * uv[i, 0, 1] + e[3] * uv[i, 1, 1] + e[6] * uv[i, 2, 1]) * z - v * wx
    uy = (e[1] * uv[i, 0, 0] + e[4] * uv[i, 1, 0] + e[7] * uv[i, 2, 0]) * z - u * wy
    vy = (e[1] * uv[i, 0, 1] + e[4] * uv[i, 1, 1] + e[7] * uv[i, 2, 1]) * z - v * wy
    across, down = math.sqrt(ux * ux + vx * vx), math.sqrt(uy * uy + vy * vy)
    return 1.3 * math.sqrt(max(across, down) * max(min(across, down), 0.1 * max(across, down))) + 1e-9


@compiled
def _lit(standing: np.ndarray, moving: np.ndarray, P: np.ndarray, x: float, y: float, z: float, slack: float) -> float:
    """The share of the sun, 0…1, that reaches a point: four texels of the shadow map, weighted by distance."""
    column = P[0, 0] * x + P[0, 1] * y + P[0, 2] * z + P[0, 3]
    row = P[1, 0] * x + P[1, 1] * y + P[1, 2] * z + P[1, 3]
    near = P[2, 0] * x + P[2, 1] * y + P[2, 2] * z + P[2, 3] + slack
    i, j = math.floor(row), math.floor(column)
    if i < 0 or j < 0 or i >= standing.shape[0] - 1 or j >= standing.shape[1] - 1:
        return 1.0
    b, a = row - i, column - j
    with_movers = len(moving) > 1
    total = 0.0
    for k in range(4):
        m, n = i + k // 2, j + k % 2
        if standing[m, n] <= near and not (with_movers and moving[m, n] > near):
            total += (b if k // 2 else 1.0 - b) * (a if k % 2 else 1.0 - a)
    return total


@compiled
def _sky(texels: np.ndarray, begin: np.ndarray, light: Light, x: float, y: float, z: float) -> RGB:
    horizon, zenith, cloud = light.horizon, light.zenith, light.cloud
    height = min(1.0, max(0.0, z)) ** 0.55
    red = horizon[0] + height * (zenith[0] - horizon[0])
    green = horizon[1] + height * (zenith[1] - horizon[1])
    blue = horizon[2] + height * (zenith[2] - horizon[2])
    if z > 0.03 and light.clouds > 0.0:
        scale = 0.35 / (z + 0.2)
        large = sample_channel(texels, begin, light.noise_texture, 2, x * scale, y * scale, 0)
        small = sample_channel(texels, begin, light.noise_texture, 1, 3.1 * x * scale, 3.1 * y * scale, 2)
        cover = 0.7 * large + 0.3 * small
        share = min(1.0, max(0.0, (cover - 1.0 + light.clouds) * 3.0 + 0.5)) * min(1.0, 8.0 * (z - 0.03))
        tone = 0.75 + 0.5 * small
        red, green, blue = (
            red + share * (tone * cloud[0] - red),
            green + share * (tone * cloud[1] - green),
            blue + share * (tone * cloud[2] - blue),
        )
    glow = max(0.0, x * light.sun[0] + y * light.sun[1] + z * light.sun[2]) ** 24
    return (
        red + 0.5 * glow * light.sun_colour[0],
        green + 0.5 * glow * light.sun_colour[1],
        blue + 0.5 * glow * light.sun_colour[2],
    )
