"""Does the front end hold on? Simulated rooms and corridors, disturbed: quick turns, blur, few images, black images.

    python benchmarks/parts/front_end.py                            every disturbance, one room and one corridor each
    python benchmarks/parts/front_end.py --only turns black --seeds 3
    python benchmarks/parts/front_end.py --out out/front_end.json

A walk of 7 m forward and, still facing forward, some of it back, ten images a second, mapped without loss of time by
the geometric reconstructor with a small dense stage. Printed of each run: images answered with a measured pose, with an
extrapolated one, and said to be lost; of the images that show nothing, how many were said to be measured; the largest
step of the local scale against the truth from one stretch of 0.8 m to the next, within what is said to be connected;
the seconds from the first image of the mapped place after a loss to the first pose in it; the error after one Sim(3).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.geometry.alignment import align_sim3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.mapping.values import FramePose, PoseSource
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.simulation.simulate import pinhole
from scal3r_ros.simulation.worlds.indoor import build_corridor, build_rooms
from scal3r_ros.simulation.worlds.motion import Motion, wave
from scal3r_ros.simulation.worlds.rendering.sensor import CLEAN
from scal3r_ros.simulation.worlds.rendering.view import Viewer
from scal3r_ros.simulation.worlds.world import Request

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

RATE_HZ = 10.0
WIDTH, HEIGHT, FOV_DEG = 320, 240, 75.0
STRETCH_M = 0.8
PLACES = {"room": build_rooms, "corridor": build_corridor}
SETTINGS: dict[str, object] = {
    "geometric.sweep.width": 96, "geometric.sweep.planes": 32, "initial_median_depth_m": 2.0, "map.voxel_size": 0.05,
    "loops.min_gap_s": 15.0,
}  # fmt: skip


@dataclass(frozen=True)
class Walk:
    """What a camera sees: `images`, `stamps_ns` (n,), true `T_world_cam` (n, 4, 4); `blind` (n,) images show nothing.

    `seen_again` is the number of the image that shows the mapped place again after a loss, None where nothing is lost.
    """

    images: list[Image]
    stamps_ns: NDArray[np.int64]
    T_world_cam: Array
    camera: Intrinsics
    blind: NDArray[np.bool_]
    seen_again: int | None = None


@dataclass(frozen=True)
class Held:
    """What came of a walk; see the top of this file."""

    what: str
    place: str
    seed: int
    images: int
    tracked: int
    extrapolated: int
    lost: int
    blind_but_tracked: int
    chunks: dict[str, int]
    scale_step: float
    found_after_s: float | None
    error_m: float
    posed: int


def walked(what: str, place: str, seed: int) -> Walk:
    """The walk with one disturbance."""
    rng = np.random.default_rng([seed, sorted(DISTURBANCES).index(what)])
    seconds = 11.0
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    along = np.interp(time, [0, 7, 7.5, seconds], [0, 5.0, 5.2, 2.2])
    yaw = np.deg2rad(4.0) * wave(time * RATE_HZ, rng, 30.0)
    pitch, roll = (np.deg2rad(1.5) * wave(time * RATE_HZ, rng, 25.0) for _ in range(2))
    left, rise = (0.03 * wave(time * RATE_HZ, rng, 18.0) for _ in range(2))
    yaw, pitch = _turned(what, time, yaw, pitch)
    motion = Motion(along, left, yaw, pitch, roll, rise)
    world = PLACES[place](Request(motion, 1.4), np.random.default_rng([seed, 7]), False)
    camera = pinhole(WIDTH, HEIGHT, FOV_DEG)
    poses = world.T_world_cam[: len(time)]
    viewer = Viewer(world.mesh, world.atlas, world.light, camera, poses[:, :3, 3])
    sensor = CLEAN._replace(noise=1.5, shot_noise=2.0, shutter=0.3 if what == "blur" else 0.0)
    still = np.zeros(world.mover_poses.shape[1], np.bool_)
    images = [
        viewer.draw(poses[i], poses[min(i + 1, len(poses) - 1)], world.mover_poses[0], still, sensor, seed + i).image
        for i in range(len(poses))
    ]
    stamps = np.rint(time * 1e9).astype(np.int64) + 10**9
    walk = Walk(images, stamps, poses, camera, np.zeros(len(time), np.bool_))
    return DISTURBANCES[what](walk, rng)


def _turned(what: str, time: Array, yaw: Array, pitch: Array) -> tuple[Array, Array]:
    """Turns of 20° from one image to the next, there and back, in yaw and in pitch."""
    if what == "turns":
        yaw = (
            yaw + np.deg2rad(20.0) * ((time >= 3.0) & (time < 3.6)) - np.deg2rad(20.0) * ((time >= 5.0) & (time < 5.5))
        )
        pitch = pitch + np.deg2rad(20.0) * ((time >= 6.2) & (time < 6.6))
    if what == "spins":
        yaw = yaw + np.deg2rad(np.interp(time, [3.0, 3.3, 3.6, 3.9, 5.0, 5.4, 5.8], [0, 60, 60, 0, 0, -80, 0]))
    return yaw, pitch


def _as_it_is(walk: Walk, rng: np.random.Generator) -> Walk:
    return walk


def _blurred(walk: Walk, rng: np.random.Generator) -> Walk:
    """Every now and then, three images in a row are smeared over 25 pixels."""
    images = list(walk.images)
    for first in (30, 48, 60):
        kernel = np.zeros((25, 25), np.float32)
        angle = float(rng.uniform(0, np.pi))
        reach = 12 * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(kernel, tuple(np.rint(12 - reach).astype(int)), tuple(np.rint(12 + reach).astype(int)), 1.0)
        for i in range(first, first + 3):
            images[i] = np.asarray(cv2.filter2D(images[i], -1, kernel / kernel.sum()), np.uint8)
    return Walk(images, walk.stamps_ns, walk.T_world_cam, walk.camera, walk.blind)


def _sparse(walk: Walk, rng: np.random.Generator) -> Walk:
    """Every second image: 5 Hz, at a quick walk."""
    part = slice(None, None, 2)
    return Walk(walk.images[part], walk.stamps_ns[part], walk.T_world_cam[part], walk.camera, walk.blind[part])


def _black(walk: Walk, rng: np.random.Generator) -> Walk:
    """A second of black while the camera walks on."""
    return _covered_between(walk, 35, 45, None)


def _dropped(walk: Walk, rng: np.random.Generator) -> Walk:
    """A second without images."""
    keep = np.ones(len(walk.images), np.bool_)
    keep[35:45] = False
    kept = np.flatnonzero(keep)
    return Walk(
        [walk.images[i] for i in kept], walk.stamps_ns[kept], walk.T_world_cam[kept], walk.camera, walk.blind[kept]
    )


def _covered(walk: Walk, rng: np.random.Generator) -> Walk:
    """The lens is covered for half of the way on; then the camera comes back to what it has mapped."""
    images = _covered_between(walk, 40, 62, None)
    return Walk(images.images, walk.stamps_ns, walk.T_world_cam, walk.camera, images.blind, 84)


def _covered_between(walk: Walk, first: int, last: int, again: int | None) -> Walk:
    images, blind = list(walk.images), walk.blind.copy()
    blind[first:last] = True
    for i in range(first, last):
        images[i] = np.zeros_like(images[i])
    return Walk(images, walk.stamps_ns, walk.T_world_cam, walk.camera, blind, last if again is None else again)


DISTURBANCES = {
    "none": _as_it_is,
    "turns": _as_it_is,
    "spins": _as_it_is,
    "blur": _blurred,
    "sparse": _sparse,
    "black": _black,
    "dropped": _dropped,
    "covered": _covered,
}


def held(what: str, place: str, seed: int, settings: dict[str, object]) -> Held:
    """Maps a walk and compares it with the truth."""
    walk = walked(what, place, seed)
    config, _ = core_config({**SETTINGS, **settings})
    given: dict[int, FramePose] = {}
    chunks: dict[str, int] = {}
    with closing(build_mapper(config, "front end")) as mapper:
        frames = [
            Frame(i, int(s), m, walk.camera) for i, (s, m) in enumerate(zip(walk.stamps_ns, walk.images, strict=True))
        ]
        updates = [update for frame in frames for update in mapper.push(frame)] + mapper.flush()
        trajectory = mapper.trajectory()
    for update in updates:
        given.update({pose.index: pose for pose in update.poses})
        if update.geometry is not None:
            chunks[update.geometry.health.value] = chunks.get(update.geometry.health.value, 0) + 1
    tracked = np.array(
        [i in given and given[i].source in (PoseSource.TRACKED, PoseSource.CHUNK) for i in range(len(frames))]
    )
    lost = np.array([i in given and given[i].source.value == "lost" for i in range(len(frames))])
    number = {int(stamp): i for i, stamp in enumerate(walk.stamps_ns)}
    rows = np.array([number[int(stamp)] for stamp in trajectory.stamps_ns], np.int64)
    good = tracked[rows] & ~walk.blind[rows]
    error = _error(trajectory.T_ref_cam[good], walk.T_world_cam[rows[good]])
    found = None
    if walk.seen_again is not None:
        after = [i for i in range(walk.seen_again, len(frames)) if tracked[i]]
        found = (walk.stamps_ns[after[0]] - walk.stamps_ns[walk.seen_again]) * 1e-9 if after else float("inf")
    return Held(
        what, place, seed, len(frames), int(tracked.sum()), len(given) - int(tracked.sum()) - int(lost.sum()),
        int(lost.sum()), int((tracked & walk.blind).sum()), chunks,
        scale_step(trajectory.T_ref_cam[good], walk.T_world_cam[rows[good]]), found, error, len(given),
    )  # fmt: skip


def scale_step(T: Array, T_true: Array) -> float:
    """The largest ratio of local scales of neighbouring stretches of `STRETCH_M` with poses."""
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(T_true[:, :3, 3], axis=0), axis=1))])
    count = int(way[-1] // STRETCH_M) if len(T) else 0
    ends = [int(np.searchsorted(way, STRETCH_M * i)) for i in range(count + 1)]
    spans = [slice(a, b + 1) for a, b in pairwise(ends) if b - a >= 3]
    logs = np.log([max(_span(T[span]), 1e-9) / max(_span(T_true[span]), 1e-9) for span in spans])
    return float(np.exp(np.abs(np.diff(logs)).max(initial=0.0)))


def _span(T: Array) -> float:
    return float(np.sqrt(np.square(T[:, :3, 3] - T[:, :3, 3].mean(axis=0)).sum()))


def _error(T: Array, T_true: Array) -> float:
    if len(T) < 5:
        return float("inf")
    x, y = T[:, :3, 3], T_true[:, :3, 3]
    fit = align_sim3(x, y, np.ones(len(x)))
    return float(np.sqrt(np.square(fit.transform.apply(x) - y).sum(axis=1).mean()))


def table(rows: Sequence[Held]) -> str:
    """The results as Markdown."""
    lines = [
        "| what | place | images | tracked | extrap. | lost | wrongly | scale step | found after | error | chunks |"
    ]
    lines.append("|---" * 11 + "|")
    for row in rows:
        found = "–" if row.found_after_s is None else f"{row.found_after_s:.1f} s"
        chunks = ", ".join(f"{count} {health}" for health, count in sorted(row.chunks.items()))
        lines.append(
            f"| {row.what} | {row.place} {row.seed} | {row.images} | {row.tracked} | {row.extrapolated} | {row.lost} "
            f"| {row.blind_but_tracked} "
            f"| {100 * (row.scale_step - 1):.0f} % | {found} | {row.error_m:.3f} m | {chunks} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs what is asked for, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(DISTURBANCES), default=list(DISTURBANCES))
    parser.add_argument("--places", nargs="*", choices=list(PLACES), default=list(PLACES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a parameter, as name=value")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    arguments = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in arguments.settings)
    rows = []
    for what in arguments.only:
        for place in arguments.places:
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                rows.append(held(what, place, seed, settings))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(f"\n{table(rows)}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
