"""Worlds as they are built: no camera inside anything, splits apart, plans that hang together."""

import itertools

import numpy as np
import pytest

from scal3r_ros.simulation.worlds.floorplan import CELL_M, SOLID, draw_floorplan
from scal3r_ros.simulation.worlds.indoor import build_corridor, build_rooms
from scal3r_ros.simulation.worlds.motion import DRIVEN, HANDHELD, make_motion
from scal3r_ros.simulation.worlds.outdoor import build_country, build_street
from scal3r_ros.simulation.worlds.surfaces.fields import COMB, Palette
from scal3r_ros.simulation.worlds.surfaces.mesh import TWO_SIDED, Mesh
from scal3r_ros.simulation.worlds.world import Request

BUILDERS = (build_street, build_country, build_corridor, build_rooms)


def first_met(mesh: Mesh, origin: np.ndarray, direction: np.ndarray) -> tuple[float, bool]:
    """Distance to the first triangle on a ray (Möller & Trumbore 1997), and whether its outside is met."""
    a, b, c = mesh.corners.swapaxes(0, 1)
    e1, e2 = b - a, c - a
    p = np.cross(direction, e2)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / np.einsum("ni,ni->n", e1, p)
        s = origin - a
        u = np.einsum("ni,ni->n", s, p) * inverse
        q = np.cross(s, e1)
        v = (q @ direction) * inverse
        t = np.einsum("ni,ni->n", e2, q) * inverse
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-6) & (mesh.mover < 0) & ~(mesh.kind & TWO_SIDED > 0)
    if not hit.any():
        return np.inf, True
    first = np.flatnonzero(hit)[np.argmin(t[hit])]
    return float(t[first]), bool(np.cross(e1[first], e2[first]) @ direction < 0)


@pytest.mark.parametrize("build", BUILDERS)
def test_no_camera_is_inside_anything(build) -> None:
    rng = np.random.default_rng(7)
    for seed in range(4):
        style = (DRIVEN + HANDHELD)[int(rng.integers(16))]
        made = make_motion(style, 20, 0.25, np.random.default_rng(seed))
        world = build(Request(made, 1.5), np.random.default_rng(seed), False)
        outside = []
        for index, _ in itertools.product(range(0, 20, 6), range(5)):
            direction = rng.normal(size=3)
            distance, is_outside = first_met(
                world.mesh, world.T_world_cam[index, :3, 3], direction / np.linalg.norm(direction)
            )
            assert distance > 0.05
            outside.append(is_outside)
        assert np.mean(outside) > 0.94  # a ray now and then slips through the seam of two boxes


def test_held_out_parameters_are_never_those_of_training() -> None:
    slices = []
    for held_out in (False, True):
        palette = Palette(np.random.default_rng(0), held_out)
        slices.append({int(palette.number(0.0, 1.0) * COMB) for _ in range(500)})
    assert not slices[0] & slices[1]
    assert slices[0] | slices[1] == set(range(COMB))


def test_fields_repeat_without_a_seam() -> None:
    palette = Palette(np.random.default_rng(3), False)
    for _ in range(5):
        field = palette.field()
        assert field.shape == (256, 256)
        inside = np.abs(np.diff(field, axis=0)).mean()
        assert np.abs(field[0] - field[-1]).mean() < 2 * inside
        assert np.abs(field[:, 0] - field[:, -1]).mean() < 2 * inside


@pytest.mark.parametrize("corridor", [False, True])
def test_the_way_through_a_plan_is_long_enough_and_never_in_a_wall(corridor: bool) -> None:
    for seed in range(20):
        plan = draw_floorplan(12.0, corridor, np.random.default_rng(seed))
        cells = np.floor(plan.way / CELL_M).astype(int)
        assert (plan.cells[cells[:, 0], cells[:, 1]] != SOLID).all()
        assert np.linalg.norm(np.diff(plan.way, axis=0), axis=1).sum() > 12.0
        assert len(plan.doors) == len(plan.rooms) - 1


@pytest.mark.parametrize("style", sorted({*DRIVEN, *HANDHELD}))
def test_motions_begin_at_zero_and_have_a_value_for_every_frame(style: str) -> None:
    motion = make_motion(style, 30, 0.3, np.random.default_rng(1))
    assert motion.along[0] == 0.0
    assert all(np.shape(part) == (30,) for part in vars(motion).values())
    assert np.abs(np.diff(motion.along)).max() < 0.6
