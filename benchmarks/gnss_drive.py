"""A long drive without loops, aided by satellite fixes, with and without an outage of 30 s in its middle.

    python benchmarks/gnss_drive.py                     2 km, three seeds
    python benchmarks/gnss_drive.py --length 5000 --seeds 7

No images are rendered: in place of a reconstructor stands the truth with the errors that the geometric one makes on
simulated streets (a step of the log scale, a turn and a bend with every chunk, drawn by seed). Fixes have errors of 1 m
each way, white and slow ones; everything behind the reconstructor is the mapper as it is. `worst` is the largest
distance of a pose from the truth at the end of the drive, `live` that of the newest pose in `map` at the time, from
when the map is in metres and georeferenced on. Both after the best rigid motion of the whole map, without scale.
`metric_scale.py long` does the same with images, which takes hours. Writes gnss_drive.csv.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.assembly import core_config
from scal3r_ros.evaluation.metrics.alignment import align_positions, apply, associate
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.mapping.values import Fix
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame, Previous
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.sensors.suite import OUTAGE_S, simulate_sensors
from scal3r_ros.simulation.simulate import pinhole

Array = NDArray[np.float64]

SCALE_STEP, TURN_STEP, BEND_STEP = 0.006, np.deg2rad(0.1), 0.003
"""Standard deviations of what a chunk adds: to the log scale, about each axis, and sideways as a share of the way."""
RATE_HZ = 3.0
SETTINGS = {"loops.enabled": False, "initial_median_depth_m": 12.0, "window.min_parallax": 0.0}
UNIT = 0.7
"""Length of a metre in the first chunk."""


@dataclass(frozen=True)
class Row:
    """One drive; lengths in metres."""

    seed: int
    outage_s: float
    length_m: float
    worst_m: float
    live_m: float
    ate_m: float
    metre: float
    without_fixes_m: float


class DriftingTruth:
    """A reconstructor that knows the true poses, and loses them chunk by chunk."""

    name = "drifting truth"
    max_parallel_chunks = 1
    recall = None
    memory = None

    def __init__(self, drive: Trajectory, new_frames: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 9])
        steps = se3.invert(drive.T_ref_cam[:-1]) @ drive.T_ref_cam[1:]
        share = 1.0 / np.sqrt(new_frames)
        log_scale = np.log(UNIT) + np.cumsum(rng.normal(size=len(steps))) * SCALE_STEP * share
        poses = [np.eye(4)]
        for step, scale in zip(steps, np.exp(log_scale), strict=True):
            way = float(np.linalg.norm(step[:3, 3]))
            turn = se3.rotation_exp(rng.normal(size=3) * TURN_STEP * share)
            bent = step[:3, 3] + rng.normal(size=3) * BEND_STEP * np.sqrt(new_frames) * way
            poses.append(poses[-1] @ se3.se3(step[:3, :3] @ turn, scale * bent))
        self._T = np.stack(poses)

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        """The drifted poses of the chunk's frames, in front of a wall."""
        T = self._T[[frame.index for frame in chunk.frames]]
        camera = chunk.frames[0].intrinsics
        assert camera is not None
        wall = np.full((len(T), camera.height, camera.width), 10.0, np.float32)
        before = None if previous is None else se3.invert(self._T[previous.chunk.frames[0].index]) @ T[0]
        way = 0.0 if before is None else float(np.linalg.norm(before[:3, 3]))
        sigmas = np.array([BEND_STEP * way] * 3 + [TURN_STEP] * 3 + [SCALE_STEP])
        return ChunkGeometry(
            se3.invert(T[0]) @ T, (camera,) * len(T), wall, np.full_like(wall, 0.9), T_previous_chunk=before,
            step_covariance=None if before is None else np.diag(sigmas**2),
        )  # fmt: skip

    def metrics(self) -> Mapping[str, int | float]:
        """None."""
        return {}

    def reset(self) -> None:
        """Nothing is learned."""

    def close(self) -> None:
        """Nothing to end."""


def main() -> None:
    """Runs the drives one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=float, default=2000.0, help="of each drive, in metres")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("out/gnss_drive"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in arguments.seeds:
        drive = street_drive(arguments.length, rate_hz=RATE_HZ, seed=seed)
        middle_s = 0.5 * float(drive.stamps_ns[-1] - drive.stamps_ns[0]) * 1e-9
        for outages in ((), (middle_s,)):
            rows.append(run(drive, seed, outages))
            print(", ".join(f"{key} {round(value, 3)}" for key, value in asdict(rows[-1]).items()), flush=True)
    with (arguments.out / "gnss_drive.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def run(drive: Trajectory, seed: int, outages: Sequence[float]) -> Row:
    """One drive with fixes, and by the same reconstructions without any."""
    config = core_config(SETTINGS)[0]
    new_frames = config.window.size - config.window.overlap
    camera, image = pinhole(48, 16, 83.0), np.zeros((16, 48, 3), np.uint8)
    mappers = [OnlineMapper(config, DriftingTruth(drive, new_frames, seed)) for _ in range(2)]
    for sample in simulate_sensors(drive, seed, outages):
        if isinstance(sample, Fix):
            mappers[0].add_sensor(sample)
    live: dict[int, Array] = {}
    for number, stamp in enumerate(drive.stamps_ns.tolist()):
        for mapper in mappers:
            updates = mapper.push(Frame(number, stamp, image, camera))
            if mapper is mappers[0] and mapper.scale.earth() is not None and mapper.scale.estimate() is not None:
                newest = [update for update in updates if update.submap is not None]
                if newest:
                    found = mapper.trajectory()
                    live[int(found.stamps_ns[-1])] = found.T_ref_cam[-1, :3, 3]
    for mapper in mappers:
        mapper.flush()
    true, estimate = associate(drive, mappers[0].trajectory(), 0.01)
    S_true_map = align_positions(true, estimate, with_scale=False)
    away = np.linalg.norm(apply(S_true_map, estimate).T_ref_cam[:, :3, 3] - true.T_ref_cam[:, :3, 3], axis=1)
    at = np.searchsorted(drive.stamps_ns, list(live))
    live_away = np.linalg.norm(S_true_map.apply(np.array(list(live.values()))) - drive.T_ref_cam[at, :3, 3], axis=1)
    metrics = compare_trajectories(drive, mappers[0].trajectory()).metrics
    alone = compare_trajectories(drive, mappers[1].trajectory()).metrics
    return Row(
        seed, len(outages) * OUTAGE_S, metrics.path_length_m, float(away.max()), float(live_away.max()),
        metrics.ate_se3_rmse_m, metrics.scale, alone.ate_sim3_rmse_m,
    )  # fmt: skip


if __name__ == "__main__":
    main()
