"""The grid traversal against a caster that tries every part and steps along the ground."""

import numpy as np
import pytest

from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.town.raycast import GROUND, NOTHING, cast_rays
from scal3r_ros.simulation.town.renderer import NEAREST_M, VIEW_DISTANCE_M
from scal3r_ros.simulation.town.scene import Scene, Shape
from scal3r_ros.simulation.town.town import build_town


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_town(street_drive(60.0, seed=3), seed=3).scene


def cast(scene: Scene, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distances, hits = np.empty(len(origins)), np.empty(len(origins), np.int64)
    cast_rays(scene, origins, directions, NEAREST_M, VIEW_DISTANCE_M, distances, hits)
    return distances, hits


def nearest_part(scene: Scene, origin: np.ndarray, direction: np.ndarray) -> tuple[float, int]:
    """By trying all of them: the ray enters a convex solid where it has entered its last pair of sides."""
    x, y, bottom, top, hx, hy, c, s = scene.solid.T
    p, d = origin[:2] - np.stack([x, y], -1), direction[:2]
    local = np.stack([c * p[:, 0] + s * p[:, 1], c * p[:, 1] - s * p[:, 0], origin[2] - (bottom + top) / 2], -1)
    ray = np.stack([c * d[0] + s * d[1], c * d[1] - s * d[0], np.full(len(c), direction[2])], -1)
    half = np.stack([hx, hy, (top - bottom) / 2], -1)
    local, ray = local / half, ray / half
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.sort(np.stack([(-1 - local) / ray, (1 - local) / ray]), axis=0)
        best, number = VIEW_DISTANCE_M, NOTHING
        for part, shape in enumerate(scene.shape):
            axes = {Shape.BOX: [0, 1, 2], Shape.CYLINDER: [2], Shape.ELLIPSOID: []}[Shape(shape)]
            enter, leave = flat[0, part, axes].max(initial=-np.inf), flat[1, part, axes].min(initial=np.inf)
            if shape != Shape.BOX:
                used = [0, 1] if shape == Shape.CYLINDER else [0, 1, 2]
                roots = np.roots([ray[part, used] @ ray[part, used], 2 * ray[part, used] @ local[part, used],
                                  local[part, used] @ local[part, used] - 1])  # fmt: skip
                if np.iscomplex(roots).any():
                    continue
                enter, leave = max(enter, roots.real.min()), min(leave, roots.real.max())
            if NEAREST_M < enter < min(leave, best):
                best, number = float(enter), part
    return best, number


def test_parts_are_met_where_trying_all_of_them_says(scene: Scene) -> None:
    rng = np.random.default_rng(0)
    count = 250
    origins = np.column_stack([rng.uniform(0, 50, count), rng.uniform(-2, 2, count), rng.uniform(1, 6, count)])
    directions = rng.normal(size=(count, 3)) * [1, 1, 0.3]
    distances, hits = cast(scene, origins, directions)
    seen = 0
    for origin, direction, t, what in zip(origins, directions, distances, hits, strict=True):
        expected, part = nearest_part(scene, origin, direction)
        if what == GROUND:
            assert t <= expected
        else:
            assert what == part
            assert t == pytest.approx(expected)
            seen += what >= 0
    assert seen > 120


def test_ground_is_met_at_its_height_and_never_passed() -> None:
    drive = street_drive(60.0, seed=3)
    drive.T_ref_cam[:, 2, 3] += 1.5 * np.sin(np.arange(len(drive)) / 20)  # a hilly street
    scene = build_town(drive, seed=3).scene
    ny, nx = scene.cell_street.shape
    corners = scene.cell_heights[:, 2:].reshape(ny, nx, 4)

    def height(points: np.ndarray) -> np.ndarray:
        at = (points[:, :2] - scene.origin) / scene.cell
        cell = np.floor(at).astype(int)
        a, b = (at - cell).T
        h = corners[cell[:, 1], cell[:, 0]]
        return (h[:, 0] * (1 - a) + h[:, 1] * a) * (1 - b) + (h[:, 2] * (1 - a) + h[:, 3] * a) * b

    rng = np.random.default_rng(1)
    origins = np.column_stack([rng.uniform(0, 50, 500), rng.uniform(-1, 1, 500), np.full(500, 8.0)])
    directions = np.column_stack([rng.normal(size=(500, 2)), rng.uniform(-2, -0.05, 500)])
    distances, hits = cast(scene, origins, directions)
    assert np.ptp(scene.cell_heights[:, 1]) > 1.0
    ground = hits == GROUND
    assert ground.sum() > 150
    at = origins + distances[:, None] * directions
    np.testing.assert_allclose(at[ground, 2], height(at[ground]), atol=1e-9)
    for share in np.linspace(0.05, 0.99, 25):
        before = origins + (share * distances)[:, None] * directions
        assert (before[:, 2] > height(before) - 1e-9)[hits != NOTHING].all()


def test_upright_and_level_rays_and_rays_of_zeros_end() -> None:
    scene = build_town(street_drive(60.0, seed=3), seed=3).scene
    origins = np.tile([10.0, 0.0, 5.0], (5, 1))
    directions = np.array([[0.0, 0, -1], [0.0, 0, 1], [1.0, 0, 0], [0.0, 1, 0], [0.0, 0, 0]])
    distances, hits = cast(scene, origins, directions)
    assert hits[0] == GROUND
    assert distances[0] == pytest.approx(5.0, abs=0.02)  # the ground follows the camera's heaving
    assert hits[1] == NOTHING
    assert hits[3] >= 0
    assert hits[4] == NOTHING
