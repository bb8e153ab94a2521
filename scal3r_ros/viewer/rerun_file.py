"""A drive as a recording of Rerun: what the page in the browser shows, with a time line of the images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import ViewError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.values import MapUpdate, PointCloud
from scal3r_ros.reconstruction.protocol import Frame
from scal3r_ros.viewer.feed import Watched, aligned_truth, camera_of
from scal3r_ros.viewer.scene import LOOP_RGB, PATH_RGB, TRUTH_RGB

Array = NDArray[np.float64]

CLOUD_NS = 5_000_000_000
"""Recorded time between two writings of all points after loops: each costs what the whole map costs."""
IMAGE_NS = 200_000_000
JPEG_QUALITY = 75
MOST_POINTS = 1_000_000


class RerunFile:
    """Writes a recording while a mapper maps. To be called by the thread that maps.

    Entities: `map/points/N` of submap N, or `map/points/all` after loops; `map/camera` with its image; `map/path`,
    `map/truth` and `map/loops`; all on the time line `image`.

    Args:
        path: the .rrd file; one that is there is replaced.
        unit: radius of a point, in the map's unit.

    Raises:
        ViewError: rerun-sdk is not installed, or the file cannot be written.
    """

    def __init__(self, path: Path, unit: float) -> None:
        if importlib.util.find_spec("rerun") is None:
            raise ViewError('--rerun needs the package rerun-sdk: pip install "scal3r_ros[rerun]"')
        import rerun

        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise ViewError(f"recording {path} cannot be written: Rerun needs a name in UTF-8") from None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        except OSError as error:
            raise ViewError(f"recording {path} cannot be written: {error.strerror}") from error
        self._rerun = rerun
        self._unit = unit
        self._log = rerun.RecordingStream("scal3r", recording_id=path.stem)
        self._log.save(path)
        self._log.log("map", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        self._mapper: Watched | None = None
        self._truth: Trajectory | None = None
        self._stamp_ns = 0
        self._cloud_ns = self._image_ns = -CLOUD_NS
        self._cloud_moved = False
        self._submaps: list[int] = []

    def begin(self, mapper: Watched, truth: Trajectory | None) -> None:
        """From now on `mapper` is written down, and the true path beside it where there is one."""
        self._mapper, self._truth = mapper, truth

    def show(self, frame: Frame, updates: list[MapUpdate]) -> None:
        """What the mapper gave for `frame`."""
        self._stamp_ns = frame.stamp_ns
        self._log.set_time("image", timestamp=np.datetime64(frame.stamp_ns, "ns"))
        for update in updates:
            self._take(update)
            if update.poses and frame.stamp_ns - self._image_ns >= IMAGE_NS:
                self._image_ns = frame.stamp_ns
                self._camera(update.T_map_odom @ update.poses[-1].T_odom_cam, frame)
        if self._cloud_moved and frame.stamp_ns - self._cloud_ns >= CLOUD_NS:
            self._write_cloud()

    def finish(self, updates: list[MapUpdate]) -> None:
        """What the mapper gave at the end; everything is written as it is then."""
        for update in updates:
            self._take(update)
        self._write_cloud()
        self._log.flush()
        self._log.disconnect()

    def _take(self, update: MapUpdate) -> None:
        if self._mapper is None or (update.submap is None and not update.corrected):
            return
        if update.submap is not None:
            self._points(f"map/points/{update.submap.index}", update.submap.cloud_map)
            self._submaps.append(update.submap.index)
        if update.corrected:
            self._cloud_moved = True
            self._lines("map/loops", list(self._mapper.loop_ends()), LOOP_RGB)
        trajectory = self._mapper.trajectory()
        self._lines("map/path", [trajectory.T_ref_cam[:, :3, 3]], PATH_RGB)
        if self._truth is not None:
            self._lines("map/truth", [aligned_truth(self._truth, trajectory)], TRUTH_RGB)

    def _write_cloud(self) -> None:
        """All points, in place of those by submap, which lie where they were before the map moved."""
        if self._mapper is None:
            return
        self._cloud_moved, self._cloud_ns = False, self._stamp_ns
        for submap in self._submaps:
            self._log.log(f"map/points/{submap}", self._rerun.Clear(recursive=False))
        self._submaps = []
        self._points("map/points/all", self._mapper.cloud(MOST_POINTS))

    def _points(self, entity: str, cloud: PointCloud) -> None:
        self._log.log(entity, self._rerun.Points3D(cloud.points, colors=cloud.colours, radii=0.5 * self._unit))

    def _lines(self, entity: str, strips: list[Array], colour: tuple[int, int, int]) -> None:
        strips = [strip for strip in strips if len(strip) > 1]
        self._log.log(entity, self._rerun.LineStrips3D(strips, colors=colour, radii=self._unit))

    def _camera(self, T_map_cam: Array, frame: Frame) -> None:
        rerun, image = self._rerun, camera_of(T_map_cam, frame.intrinsics, frame.image).image
        self._log.log("map/camera", rerun.Transform3D(translation=T_map_cam[:3, 3], mat3x3=T_map_cam[:3, :3]))
        if image is None:
            return
        height, width = image.shape[:2]
        camera = frame.intrinsics or Intrinsics(width, width, 0.5 * width, 0.5 * height, width, height)
        K = camera.scaled(width, height).K
        pinhole = rerun.Pinhole(image_from_camera=K, resolution=[width, height], camera_xyz=rerun.ViewCoordinates.RDF)
        self._log.log("map/camera/image", pinhole, rerun.Image(image).compress(jpeg_quality=JPEG_QUALITY))
