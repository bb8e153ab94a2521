"""Drives a camera through a town built for the drive: frames with true pose and depth, or a bag of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.sensors import SENSOR_TOPICS, message_of, mounts_of, transforms_of
from scal3r_ros.io.bags.topics import STATIC_TRANSFORM_TOPIC
from scal3r_ros.io.bags.writer import CAMERA_LOOKS_FORWARD, BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.mapping.values import SensorSample, WheelOdometry
from scal3r_ros.simulation.drives.levelling import CAMERA_HEIGHT_M
from scal3r_ros.simulation.town.renderer import Rendering, RenderOptions, render
from scal3r_ros.simulation.town.town import Town, build_town


@dataclass(frozen=True)
class SimulatedFrame:
    """One frame with ground truth: z-depth `depth_m` (h, w) float32, 0 for sky, and pose `T_ref_cam` (4, 4).

    `image` is (h, w, 3) uint8 RGB.
    """

    stamp_ns: int
    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    T_ref_cam: NDArray[np.float64]


def pinhole(width: int, height: int, fov_deg: float) -> Intrinsics:
    """A camera with square pixels that sees `fov_deg` from its left to its right edge, its centre in the image's.

    Raises:
        SimulationError: the size is not positive, or no pinhole sees that angle.
    """
    if width <= 0 or height <= 0 or not 0.0 < fov_deg < 180.0:
        raise SimulationError(f"camera of {width}×{height} pixels and {fov_deg}° cannot be made; 0° < angle < 180°")
    f = 0.5 * width / math.tan(math.radians(0.5 * fov_deg))
    return Intrinsics(f, f, 0.5 * (width - 1), 0.5 * (height - 1), width, height)


def render_frames(
    drive: Trajectory,
    intrinsics: Intrinsics,
    seed: int = 0,
    options: RenderOptions | None = None,
    town: Town | None = None,
    workers: int = 1,
) -> Iterator[SimulatedFrame]:
    """The frames of a drive, in order; equal arguments give equal frames, whatever the number of `workers` (threads).

    `town` is built for the drive with `seed` where none is given. `seed` also makes the noise.

    Raises:
        SimulationError: the town cannot be built, or the drive leaves it.
    """
    town = town or build_town(drive, seed)
    T_scene_cam = town.T_scene_ref @ drive.T_ref_cam

    def draw(index: int) -> Rendering:
        return render(town.scene, intrinsics, T_scene_cam[index], options, noise_seed=(seed << 24) + index)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        ahead: deque[Future[Rendering]] = deque()
        for index in range(len(drive) + workers):
            if index < len(drive):
                ahead.append(pool.submit(draw, index))
            if index >= workers:
                done, rendering = index - workers, ahead.popleft().result()
                yield SimulatedFrame(
                    int(drive.stamps_ns[done]), rendering.image, rendering.depth_m, drive.T_ref_cam[done]
                )


def simulate(
    drive: Trajectory,
    out_bag: Path,
    intrinsics: Intrinsics,
    seed: int = 0,
    options: RenderOptions | None = None,
    storage: Literal["sqlite3", "mcap"] = "sqlite3",
    depth_every: int = 5,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    samples: Sequence[SensorSample] = (),
) -> None:
    """Writes the frames of a drive as a bag with their true poses, and true depth every `depth_every` (0: never).

    `samples` of other sensors are written as well, with where they are mounted.
    `progress` is called with the number of frames written after each.

    Raises:
        SimulationError: the town cannot be built.
        SequenceError: the bag exists already or cannot be written.
    """
    frames = render_frames(drive, intrinsics, seed, options, workers=workers)
    T_base_cam = CAMERA_LOOKS_FORWARD.copy()
    T_base_cam[2, 3] = CAMERA_HEIGHT_M  # base_link is on the road
    for sample in samples:
        if isinstance(sample, WheelOdometry) and sample.T_base_cam is not None:
            T_base_cam = sample.T_base_cam
    write_frames(frames, out_bag, intrinsics, storage, depth_every, progress, T_base_cam, samples)


def write_frames(
    frames: Iterable[SimulatedFrame],
    out_bag: Path,
    intrinsics: Intrinsics,
    storage: Literal["sqlite3", "mcap"] = "sqlite3",
    depth_every: int = 5,
    progress: Callable[[int], None] | None = None,
    T_base_cam: NDArray[np.float64] = CAMERA_LOOKS_FORWARD,
    samples: Sequence[SensorSample] = (),
) -> None:
    """Writes frames as a bag with their true poses, and true depth every `depth_every` (0: never).

    `samples` of other sensors are written as well, with where they are mounted.
    `progress` is called with the number of frames written after each.

    Raises:
        SequenceError: the bag exists already or cannot be written.
    """
    calibration = CameraCalibration.pinhole(intrinsics.width, intrinsics.height, intrinsics.K.ravel().tolist())
    waiting = deque(sorted(samples, key=lambda sample: sample.stamp_ns))
    with BagWriter(out_bag, storage, T_base_cam) as writer:
        if waiting:
            stamp_ns = waiting[0].stamp_ns
            writer.write_message(
                STATIC_TRANSFORM_TOPIC, stamp_ns, transforms_of(mounts_of(waiting), stamp_ns), latched=True
            )
        for index, frame in enumerate(frames):
            while waiting and waiting[0].stamp_ns <= frame.stamp_ns:
                sample = waiting.popleft()
                writer.write_message(SENSOR_TOPICS[type(sample)], sample.stamp_ns, message_of(sample))
            writer.write_camera_info(frame.stamp_ns, calibration)
            writer.write_image(frame.stamp_ns, frame.image)
            writer.write_pose(frame.stamp_ns, frame.T_ref_cam)
            if depth_every and index % depth_every == 0:
                writer.write_depth(frame.stamp_ns, frame.depth_m)
            if progress is not None:
                progress(index + 1)
