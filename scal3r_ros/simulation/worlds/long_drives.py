"""Long drives to train a memory on: one rig, hundreds of metres, stretches of very different openness, seen in places.

Of a drive so long only some places are rendered, each in a few frames that follow each other: what a chunk needs. Some
places are those of others, seen once more, the other way or from another lane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.simulation.simulate import pinhole
from scal3r_ros.simulation.worlds.clips import ATTEMPTS, HELD_OUT_SEEDS, NEAREST_SEEN_M, SPLITS, sensors
from scal3r_ros.simulation.worlds.landscape import Hills, Road, Way, lay_ground, raise_mountains
from scal3r_ros.simulation.worlds.motion import camera_poses, wave
from scal3r_ros.simulation.worlds.objects import Maker
from scal3r_ros.simulation.worlds.rendering.sensor import CLEAN
from scal3r_ros.simulation.worlds.rendering.view import View, Viewer
from scal3r_ros.simulation.worlds.site import Site, Stretch, close_ends, lay_road
from scal3r_ros.simulation.worlds.stretches import SORTS, draw_stretches
from scal3r_ros.simulation.worlds.surfaces.mesh import MeshBuilder
from scal3r_ros.simulation.worlds.world import Clearing, World, daylight, weave

Array = NDArray[np.float64]

BEFORE_M, AHEAD_M = 50.0, 110.0
TEXTURES = {
    "variation": 1, "any": 10, "facade": 4, "speckle": 3, "grass": 2, "bricks": 1, "planks": 2, "picture": 3,
    "leaves": 2, "blades": 1, "lattice": 1,
}  # fmt: skip
_SALT = 0x10C6


@dataclass(frozen=True)
class DriveSpec:
    """Which drive: `places` of `frames` consecutive images each, of `width` × `height` pixels, made from `seed`.

    `split` as of `SequenceSpec`; `stretches` is how many kinds of surroundings follow each other.
    """

    seed: int
    places: int = 12
    frames: int = 8
    width: int = 224
    height: int = 112
    split: str = "train"
    stretches: int = 6


class Rig(NamedTuple):
    """What stays as it is for a whole drive: height above the ground (m), angles of the camera against the way (rad),
    angle from the left to the right edge of its images (deg), metres from frame to frame where there is room, and where
    it drives, as a share of the room to the left."""

    height_m: float
    yaw: float
    pitch: float
    roll: float
    fov_deg: float
    step_m: float
    lane: float
    shake: float


@dataclass(frozen=True)
class Drive:
    """Frames of all places (p · n), place by place, and their truth; fields as of `clips.Clip`.

    `along_m` (p,) is where each place begins on the way, `sorts` (p,) in which kind of stretch.
    """

    images: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    T_world_cam: Array
    intrinsics: Intrinsics
    rig: Rig
    along_m: Array
    sorts: list[str]


def render_drive(spec: DriveSpec, clean: bool = False) -> Drive:
    """The drive of a spec; equal arguments give equal bytes. `clean` as of `render_sequence`.

    Raises:
        SimulationError: the split is unknown, or the number of frames or places, the size or the seed is out of range.
    """
    if spec.split not in SPLITS:
        raise SimulationError(f"split {spec.split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if min(spec.frames, spec.places, spec.stretches) < 1 or not 0 <= spec.seed < HELD_OUT_SEEDS:
        raise SimulationError(
            f"a drive of {spec.places} places of {spec.frames} frames from seed {spec.seed} cannot be made"
        )
    for attempt in range(ATTEMPTS):
        drive = _attempt(spec, attempt, clean)
        if drive is not None:
            return drive
    raise SimulationError(f"drive of seed {spec.seed} came too close to a wall {ATTEMPTS} times; use another seed")


def draw_rig(rng: np.random.Generator) -> Rig:
    """Anything from a small robot to the roof of a van, most of them looking ahead."""
    style = rng.random()
    yaw = 0.0 if style < 0.6 else float(rng.choice([-1.0, 1.0])) * math.radians(float(rng.uniform(20.0, 100.0)))
    return Rig(
        height_m=math.exp(float(rng.uniform(math.log(0.35), math.log(2.4)))),
        yaw=math.pi if style > 0.95 else yaw,
        pitch=math.radians(float(rng.normal(0.0, 5.0))),
        roll=math.radians(float(rng.normal(0.0, 1.0))),
        fov_deg=float(rng.uniform(35.0, 120.0)),
        step_m=math.exp(float(rng.uniform(math.log(0.15), math.log(0.9)))),
        lane=float(rng.uniform(-0.35, 0.35)),
        shake=math.radians(float(rng.uniform(0.02, 0.5))),
    )


def _attempt(spec: DriveSpec, attempt: int, clean: bool) -> Drive | None:
    held_out = spec.split == "held_out"
    rng = np.random.default_rng([spec.seed + held_out * HELD_OUT_SEEDS, attempt, _SALT])
    rig = draw_rig(rng)
    stretches = draw_stretches(spec.stretches, rig.height_m, rng)
    way = Way(-BEFORE_M, stretches[-1].end + AHEAD_M, float(rng.uniform(0.0, 0.6)), rng)
    hills = Hills.random(float(rng.choice([0.0, 0.0, 0.03])), rng)
    starts, poses, sorts = _places(spec, rig, stretches, way, hills, rng)
    world = _build(rig, stretches, way, hills, poses, rng, held_out)
    camera = pinhole(spec.width, spec.height, rig.fov_deg)
    viewer = Viewer(world.mesh, world.atlas, world.light, camera, poses[:, :3, 3])
    taken = [CLEAN] * len(poses) if clean else sensors(len(poses), rng)
    noise = int(rng.integers(1 << 40))
    nobody = np.zeros(0, np.bool_)
    views: list[View] = []
    for index, pose in enumerate(poses):
        within = index % spec.frames
        if within == 0:
            viewer.expose_anew()
        after = poses[index + 1] if within + 1 < spec.frames else pose
        view = viewer.draw(pose, after, world.mover_poses[index], nobody, taken[index], noise + index)
        if view.depth_m.min(where=view.depth_m > 0, initial=np.inf) < NEAREST_SEEN_M:
            return None
        views.append(view)
    images, depths = np.stack([view.image for view in views]), np.stack([view.depth_m for view in views])
    return Drive(images, depths, poses, camera, rig, starts, sorts)


def _places(
    spec: DriveSpec, rig: Rig, stretches: list[Stretch], way: Way, hills: Hills, rng: np.random.Generator
) -> tuple[Array, Array, list[str]]:
    """Where places begin along the way (p,), the poses of all their frames (p · n, 4, 4), and their kinds."""
    starts = np.empty(spec.places)
    poses: list[Array] = []
    sorts: list[str] = []
    time = np.arange(spec.frames, dtype=np.float64)
    for number in range(spec.places):
        again = number > 2 and rng.random() < 0.3
        if again:
            starts[number] = starts[int(rng.integers(number))] + float(rng.uniform(-2.0, 2.0))
        else:
            # Every kind gets its share, however short its stretch is.
            one = stretches[int(rng.integers(len(stretches)))]
            starts[number] = float(rng.uniform(one.begin + 1.0, one.end - 1.0))
        here = _at(stretches, starts[number])
        direction = -1.0 if again and rng.random() < 0.5 else 1.0
        room = min(here.half_m, 8.0)
        step = rig.step_m * float(np.clip(room / 5.0, 0.25, 1.2)) * float(rng.uniform(0.7, 1.2))
        s = np.clip(starts[number] + direction * step * time, stretches[0].begin + 0.5, stretches[-1].end - 0.5)
        lane = rig.lane + (float(rng.uniform(-0.15, 0.15)) if again else 0.0)
        # Narrower stretches ahead leave less room already here.
        left = direction * lane * np.array([min(_at(stretches, one + d).half_m for d in (-1.0, 0.0, 1.0)) for one in s])
        left = np.clip(left, -2.5, 2.5)
        sways = rig.shake * np.stack([wave(time, rng, 16.0) for _ in range(3)])
        # Only some places turn: those alone tell the lens.
        turn = (
            math.radians(float(rng.uniform(0.8, 4.0))) * float(rng.choice([-1.0, 1.0])) if rng.random() < 0.35 else 0.0
        )
        yaw = rig.yaw + turn * (time - time.mean()) + sways[0] + (math.pi if direction < 0 else 0.0)
        place = way.at(s, left)
        ahead = np.stack([np.cos(way.heading(s)), np.sin(way.heading(s))], axis=-1)
        slope = (hills.at(place + 1e-3 * ahead) - hills.at(place)) / 1e-3
        z = hills.at(place) + rig.height_m + 0.08
        pitch = rig.pitch + np.arctan(slope) * np.cos(yaw) + 0.6 * sways[1]
        poses.append(camera_poses(np.column_stack([place, z]), way.heading(s) + yaw, pitch, rig.roll + 0.4 * sways[2]))
        sorts.append(here.sort)
    return starts, np.concatenate(poses), sorts


def _at(stretches: list[Stretch], s: float) -> Stretch:
    return next((one for one in stretches if one.begin <= s < one.end), stretches[0 if s < 0 else -1])


def _build(
    rig: Rig, stretches: list[Stretch], way: Way, hills: Hills, poses: Array, rng: np.random.Generator, held_out: bool
) -> World:
    atlas, textures = weave(rng, held_out, TEXTURES, None)
    mesh = MeshBuilder()
    make = Maker(mesh, textures, rng)
    inside = way.s[(way.s >= stretches[0].begin) & (way.s <= stretches[-1].end)]
    lanes = [way.at(inside, left) for left in (-0.6, 0.0, 0.6)]
    site = Site(make, way, hills, Clearing(np.concatenate([poses[:, :2, 3], *lanes])), [])
    road_m = float(rng.uniform(2.0, 4.5))
    ground = [make.pick("grass") if rng.random() < 0.7 else make.pick("any") for _ in range(2)]
    lay_ground(mesh, way, hills, Road(road_m, 0.0, 0.0), ground, 0.0, rng)
    raise_mountains(mesh, way, make.pick("grass"), rng)
    lay_road(site, road_m, ground)
    for one in stretches:
        SORTS[one.sort].furnish(site, one)
    for before, after in zip([None, *stretches], [*stretches, None], strict=True):
        close_ends(site, before, after)
    light = daylight(rng, textures["variation"][0])
    if site.lamps:
        light = light._replace(lamps=np.stack(site.lamps))
    return World(mesh.build(), atlas, light, poses, np.zeros((len(poses), 0, 4, 4)))
