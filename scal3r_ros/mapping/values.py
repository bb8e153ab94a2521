"""Results of the mapper: poses at camera rate, submaps, map updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.observations import ScaleObservation
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth


class PoseSource(Enum):
    """Where a camera-rate pose comes from.

    EXTRAPOLATED: the image showed too few known points, for less than half a second. LOST: it has for longer, and the
    pose is a guess. UNCONNECTED: measured, but in a segment whose place and scale in the map are not known.
    """

    CHUNK = "chunk"
    TRACKED = "tracked"
    EXTRAPOLATED = "extrapolated"
    LOST = "lost"
    UNCONNECTED = "unconnected"

    @property
    def measured(self) -> bool:
        """Whether the image has shown where the camera is, in the segment at hand."""
        return self not in (PoseSource.EXTRAPOLATED, PoseSource.LOST)


@dataclass(frozen=True)
class FramePose:
    """The pose of one frame at camera rate: continuous in `odom`, never revised.

    `T_odom_cam` (4, 4) float64; `covariance` (6, 6) float64 of the camera's pose in `odom`, order x y z (unit²) and
    rotations about x y z (rad²), as in ROS: what has added up since the first pose, which is exact. `scale_sigma` is
    the standard deviation of the log scale: of the metre where sensors measure it, else of the unit that the first
    submap has set.
    """

    index: int
    stamp_ns: int
    T_odom_cam: NDArray[np.float64]
    covariance: NDArray[np.float64]
    source: PoseSource
    scale_sigma: float = 0.0


@dataclass(frozen=True)
class PointCloud:
    """`points` (n, 3) float32, in the frame that its source documents; `colours` (n, 3) uint8 RGB.

    `normals` (n, 3) float32 of the surface point to where it was seen from, zero where unknown; None without any.
    `confidence` (n,) float32 in [0, 1) grows with what has measured a point; `submaps` (n,) int32 is the submap that
    each hangs on; both None where unknown.
    """

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    normals: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    submaps: NDArray[np.int32] | None = None

    @classmethod
    def empty(cls) -> PointCloud:
        """No points."""
        none = np.zeros((0, 3), np.float32)
        return cls(none, np.zeros((0, 3), np.uint8), none, none[:, 0], np.zeros(0, np.int32))

    @classmethod
    def joined(cls, clouds: Sequence[PointCloud]) -> PointCloud:
        """The points of several clouds, one after another; of what may be None only what all of them have."""
        if not clouds:
            return cls.empty()
        columns = {item.name: [getattr(cloud, item.name) for cloud in clouds] for item in fields(cls)}
        known = {name: parts for name, parts in columns.items() if all(part is not None for part in parts)}
        return cls(**{name: np.concatenate(parts) for name, parts in known.items()})

    def take(self, rows: NDArray[np.generic] | slice) -> PointCloud:
        """The points of some rows, given by numbers, by a mask (n,) or by a slice."""
        columns = {item.name: getattr(self, item.name) for item in fields(self)}
        return PointCloud(**{name: column[rows] for name, column in columns.items() if column is not None})

    def moved(self, S: Sim3) -> PointCloud:
        """The same points in the frame that S leads to."""
        normals = None if self.normals is None else (self.normals @ S.R.T).astype(np.float32)
        return replace(self, points=S.apply(self.points).astype(np.float32), normals=normals)


@dataclass(frozen=True, eq=False)
class CloudChange:
    """What became of a map since someone looked last; now it has `revision`.

    `cloud` has the points in `map` of the submaps that `changed` or came. Points of the other submaps `present` are as
    they were; those of all others are gone.
    """

    revision: int
    changed: frozenset[int]
    present: frozenset[int]
    cloud: PointCloud


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """A coloured surface: `vertices` (n, 3) float32, their `colours` (n, 3) uint8 RGB, `triangles` (m, 3) int32.

    The corners of a triangle go around counter-clockwise, seen from where the surface was seen.
    """

    vertices: NDArray[np.float32]
    colours: NDArray[np.uint8]
    triangles: NDArray[np.int32]

    @classmethod
    def joined(cls, meshes: Sequence[TriangleMesh]) -> TriangleMesh:
        """All of several meshes; their vertices stay apart."""
        starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
        moved = [mesh.triangles + np.int32(start) for mesh, start in zip(meshes, starts[:-1], strict=True)]
        return cls(
            np.concatenate([np.zeros((0, 3), np.float32), *(mesh.vertices for mesh in meshes)]),
            np.concatenate([np.zeros((0, 3), np.uint8), *(mesh.colours for mesh in meshes)]),
            np.concatenate([np.zeros((0, 3), np.int32), *moved]),
        )


UNKNOWN, FREE, OCCUPIED = -1, 0, 100
"""States of a cell, as in nav_msgs/OccupancyGrid."""


@dataclass(frozen=True, eq=False)
class OccupancyGrid:
    """`cells` (rows, columns) int8 with edges of `resolution` metres, seen from above: UNKNOWN, FREE or OCCUPIED.

    Rows run along y and columns along x; `origin` (2,) is the outer corner of the first cell in metres, in the frame
    that its source documents, and `ground_z` the height of the ground there.
    """

    cells: NDArray[np.int8]
    resolution: float
    origin: NDArray[np.float64]
    ground_z: float


@dataclass(frozen=True, eq=False)
class Step:
    """Odometry from one submap to the next: `S_before_submap`, and the covariance (7, 7) of δ in
    `S_before_submap @ Sim3.from_log(δ)`.
    """

    S_before_submap: Sim3
    covariance: NDArray[np.float64]


@dataclass(frozen=True)
class SubmapSummary:
    """A new submap: its number, health, scale relative to the submap before and new points in `map`.

    `note` says what was missing where the chunk was not measured completely, and is empty otherwise. `step` leads to it
    from the submap before, None for the first one. In `odom` it lies at `S_odom_submap`, with the `covariance` (7, 7)
    of δ in `S_odom_submap @ Sim3.from_log(δ)`. `seen` is all that its new frames saw, in its own frame.
    """

    index: int
    first_stamp_ns: int
    last_stamp_ns: int
    keyframes: int
    health: ChunkHealth
    note: str
    scale_to_previous: float
    S_map_submap: Sim3
    cloud_map: PointCloud
    step: Step | None = None
    S_odom_submap: Sim3 = field(default_factory=Sim3.identity)
    covariance: NDArray[np.float64] = field(default_factory=lambda: np.zeros((7, 7)))
    seen: PointCloud = field(default_factory=PointCloud.empty)


@dataclass(frozen=True)
class MapUpdate:
    """One step of the map. `poses`: frames posed for the first time, by stamp; `submap`: the one just added, if any.

    `T_map_odom` (4, 4) is the newest correction. `corrected` is true where earlier poses or points moved, so that path
    and map have to be published anew. `chunk` and `geometry` are what was reconstructed, where something was; `note`
    says why there is no submap although there was a chunk. `timings` are seconds per stage of the chunk, `metrics` what
    the reconstructor has learned so far. `loops` new loops were taken in. `found` is true where the camera was found in
    the loaded map: from now on all is in the frame of that map.
    """

    poses: tuple[FramePose, ...]
    T_map_odom: NDArray[np.float64]
    submap: SubmapSummary | None = None
    corrected: bool = False
    chunk: Chunk | None = None
    geometry: ChunkGeometry | None = None
    note: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    loops: int = 0
    found: bool = False


@dataclass(frozen=True)
class DroppedFrame:
    """Why a frame was not used: the `reason` it is counted under, and a `message` that says what to do about it."""

    reason: str
    message: str


@dataclass(frozen=True)
class Observation:
    """Result of showing the mapper one frame at camera rate.

    `poses` is empty until the first submap exists; `chunk` is handed out when the window is full and has to be given to
    `OnlineMapper.map_chunk`, on whatever thread. `dropped` is set where the frame's stamp is not usable. `restarted` is
    true where the clock of the images was set back, and the mapper has begun anew with this frame.
    """

    poses: tuple[FramePose, ...]
    chunk: Chunk | None
    dropped: DroppedFrame | None = None
    restarted: bool = False


@dataclass(frozen=True, eq=False)
class ScaleHistory:
    """Scale along a drive, a row per submap: `submaps` (n,), `stamps_ns` (n,) of their first frames.

    `distance_travelled` (n,) up to the submap is in the unit of `map`. `log_odometry` (n,) is the log scale by the
    alignments between neighbours alone, from the first submap's on; `log_map` (n,) that in `map`. `observations` are
    those of the sources, as scales in `map`; `metric`: whether `map` is in metres.
    """

    submaps: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    distance_travelled: NDArray[np.float64]
    log_odometry: NDArray[np.float64]
    log_map: NDArray[np.float64]
    observations: tuple[ScaleObservation, ...]
    metric: bool


@dataclass(frozen=True, eq=False)
class WheelOdometry:
    """Where the wheels have taken the robot: `T_wheel_base` (4, 4), the base in a frame of their own, in metres.

    `T_base_cam` (4, 4) is where the camera is mounted, in metres; None where it is not known.
    """

    stamp_ns: int
    T_wheel_base: NDArray[np.float64]
    T_base_cam: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class ImuSample:
    """One sample of an IMU, in its own axes: `angular_velocity` (3,) in rad/s, `linear_acceleration` (3,) in m/s².

    The acceleration is what the sensor feels: 9.81 upwards at rest. `T_imu_cam` (4, 4) in metres is the camera's mount.
    """

    stamp_ns: int
    angular_velocity: NDArray[np.float64]
    linear_acceleration: NDArray[np.float64]
    T_imu_cam: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fix:
    """A satellite fix (WGS 84): degrees, degrees, metres above the ellipsoid.

    `covariance_enu` (3, 3) in m², of east, north and up; None where the receiver gives none. `antenna_cam` (3,) in
    metres is the antenna's place in the camera's frame.
    """

    stamp_ns: int
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    covariance_enu: NDArray[np.float64] | None = None
    antenna_cam: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))


SensorSample = WheelOdometry | ImuSample | Fix
