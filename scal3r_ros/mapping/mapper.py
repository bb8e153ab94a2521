"""The online mapper: frames in, poses at once and submaps as chunks of keyframes are reconstructed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.cloud.point_map import PointMap
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.frontend.frontend import Frontend
from scal3r_ros.mapping.frontend.non_keyframe_poses import SeenFrame
from scal3r_ros.mapping.frontend.timestamp_filter import StampVerdict, TimestampFilter
from scal3r_ros.mapping.frontend.window import ChunkWindow
from scal3r_ros.mapping.graph.edges import Edge, EdgeKind
from scal3r_ros.mapping.graph.pose_graph import SubmapGraph
from scal3r_ros.mapping.loops.closer import LoopCloser, NewSubmap
from scal3r_ros.mapping.loops.snapshot_parts import places_of
from scal3r_ros.mapping.storage.contents import (
    FRAMES,
    GRAPH,
    MEMORY,
    PLACES,
    POINTS,
    Arrays,
    MapContents,
    write_contents,
)
from scal3r_ros.mapping.storage.map_store import MapWriter, StoredMap
from scal3r_ros.mapping.storage.offload import PREFIX as SUBMAP_PREFIX
from scal3r_ros.mapping.storage.offload import Offload
from scal3r_ros.mapping.storage.relocalization import LoadedMap, Relocalization
from scal3r_ros.mapping.submaps.frame_log import FrameLog
from scal3r_ros.mapping.submaps.points import coloured_points
from scal3r_ros.mapping.submaps.submap import Placed, PlacedSubmap, first_submap, next_submap, shared_frames
from scal3r_ros.mapping.values import DroppedFrame, FramePose, MapUpdate, Observation, PointCloud, SubmapSummary
from scal3r_ros.reconstruction.protocol import (
    Chunk,
    ChunkGeometry,
    ChunkHealth,
    Frame,
    Previous,
    Reconstructor,
)

Array = NDArray[np.float64]

_notices = logging.getLogger(__name__)

RESET = "the map was reset meanwhile"


class OnlineMapper:
    """Maps a stream of frames with any reconstructor. All public methods may be called from any thread.

    `push` does everything in step. A node calls its parts instead: `observe` at camera rate, `map_chunk` on a worker,
    and `close_loops` on another one.
    """

    def __init__(self, config: MapperConfig, reconstructor: Reconstructor) -> None:
        self._config = config
        self._reconstructor = reconstructor
        self._camera_lock = threading.Lock()  # one observe at a time
        self._worker_lock = threading.Lock()  # one map_chunk at a time
        self._loop_lock = threading.Lock()  # one close_loops at a time
        self._map_lock = threading.RLock()  # the points, which take their time
        self._state_lock = threading.RLock()  # everything below that several touch; held briefly, and taken last
        self._camera = Frontend(config)
        self._stamps = TimestampFilter(config.reset_on_time_jump_s)
        self._window = ChunkWindow(config.window)
        self._graph = SubmapGraph(config.loops.max_conflict)
        self._closer = LoopCloser(config.loops, config.min_confidence, config.alignment, reconstructor.recall)
        self._map_points = 0
        self._spill = Offload(Path(config.spill_directory) if config.spill_directory else None)
        self._map = PointMap(config.map, self._spill.leave)
        self._loaded: LoadedMap | None = None  # until the camera is found in it
        self._log = FrameLog()
        self._newest: PlacedSubmap | None = None
        self._held: list[Chunk] = []  # by push, until as many are full as go at the same time
        self._first_chunk = 0  # chunks before it were handed out before a reset
        self._keyframes = self._unmeasured = 0

    @property
    def max_parallel_chunks(self) -> int:
        """How many consecutive chunks the reconstructor works on at the same time, where they are given to it."""
        return self._reconstructor.max_parallel_chunks

    def push(self, frame: Frame) -> list[MapUpdate]:
        """Shows the mapper the next frame; once `max_parallel_chunks` chunks are full, maps them."""
        observation = self.observe(frame)
        updates = [MapUpdate(observation.poses, self.T_map_odom())] if observation.poses else []
        return updates + self._map_held(observation.chunk, self.max_parallel_chunks)

    def flush(self) -> list[MapUpdate]:
        """Maps the chunks that still wait, and the keyframes that have not filled one."""
        return self._map_held(self.close_window(), 1)

    def observe(self, frame: Frame, busy: bool = False) -> Observation:
        """The camera-rate half: follows and poses `frame`; hands out a chunk where one is full and nobody is `busy`.

        A frame whose stamp is not later than the one before, or far from it, is dropped and counted. Where the clock
        of the images was set back by more than `reset_on_time_jump_s`, the map is reset first.
        """
        with self._camera_lock:
            newest_ns = self._stamps.newest_ns
            verdict = self._stamps.judge(frame.stamp_ns)
        if not verdict.accepted:
            return Observation((), None, DroppedFrame(verdict.value, _stamp_message(frame.stamp_ns, newest_ns)))
        restarted = verdict is StampVerdict.NEW_CLOCK
        if restarted:
            _notices.warning("the clock of the images was set back to %.9f s: the map is reset", frame.stamp_ns * 1e-9)
            self.reset()
            self._stamps.judge(frame.stamp_ns)
        with self._camera_lock:
            features = self._camera.follow(frame)
            with self._state_lock:
                seen = self._camera.see(frame, features)
                self._keyframes += self._window.add(replace(frame, features=features))
                chunk = self._window.take(busy)
                if seen is None or self._newest is None:
                    return Observation((), chunk, restarted=restarted)
                self._log_pose(seen[0], seen[1].T_ref_cam, self._newest)
                return Observation((self._camera.give(*seen),), chunk, restarted=restarted)

    def map_chunk(self, chunk: Chunk, following: Sequence[Chunk] = ()) -> MapUpdate:
        """The slow half: reconstructs `chunk`, aligns it to the submap before, adds its points, corrects the poses.

        `following` are chunks that are full already and will be given next: a reconstructor may begin with them.

        Raises:
            ReconstructionError: the chunk is of a kind that the reconstructor can not handle; the map stays as it was.
        """
        with self._worker_lock:
            newest = self._newest
            if chunk.index < self._first_chunk:
                return MapUpdate((), self.T_map_odom(), note=RESET)
            chunk = replace(chunk, shared=shared_frames(newest, chunk))
            previous = None if newest is None else Previous(newest.chunk, newest.geometry)
            geometry = self._reconstructor.reconstruct(chunk, previous if chunk.shared else None, following)
            metrics = self._reconstructor.metrics()
            if newest is None and geometry.health is not ChunkHealth.OK:
                self._unmeasured += 1
                note = f"no map yet: {geometry.note}"
                return MapUpdate((), self.T_map_odom(), chunk=chunk, geometry=geometry, note=note, metrics=metrics)
            started = time.perf_counter()
            placed = self._place(chunk, geometry, newest)
            submap, edge = placed.submap, placed.edge
            aligned = time.perf_counter()
            points, colours, weights = coloured_points(chunk, geometry, chunk.shared, self._config.min_confidence)
            with self._map_lock:
                with self._state_lock:
                    if chunk.index < self._first_chunk:
                        return MapUpdate((), self.T_map_odom(), note=RESET)
                    self._graph.add_submap(submap.index, edge, None if edge is not None else submap.S_odom_submap)
                    anchor = self._graph.anchor(submap.index)
                    poses = self._take_over(submap)
                    if geometry.health is ChunkHealth.OK:
                        self._closer.give(NewSubmap(submap.index, chunk, geometry))
                cloud = self._map.add(submap.index, points, colours, weights, anchor)
                self._map_points = len(self._map)
            self._spill.write()
            mapped = time.perf_counter()
            summary = SubmapSummary(
                index=submap.index,
                first_stamp_ns=chunk.frames[0].stamp_ns,
                last_stamp_ns=chunk.frames[-1].stamp_ns,
                keyframes=len(chunk.frames) - chunk.shared,
                health=geometry.health,
                note=", ".join(part for part in (geometry.note, placed.note) if part),
                scale_to_previous=1.0 if edge is None else edge.S_i_j.scale,
                S_map_submap=anchor,
                cloud_map=cloud,
            )
            timings = {**geometry.timings, "align_s": aligned - started, "map_s": mapped - aligned}
            return MapUpdate(
                poses, self.T_map_odom(), summary, False, chunk, geometry, timings=timings, metrics=metrics
            )

    @property
    def loops_waiting(self) -> int:
        """New submaps that `close_loops` has not looked at yet."""
        with self._state_lock:
            return self._closer.waiting

    def close_loops(self) -> MapUpdate | None:
        """The part in the background: looks whether the submap that has waited longest shows places seen before.

        Gives an update where the map moved by that; None where it did not, or no submap waits.
        """
        with self._loop_lock:
            with self._state_lock:
                submap, problem, loaded = self._closer.take(), self._graph.problem(), self._loaded
            if submap is None:
                return None
            anchors = {**problem.anchors, **({} if loaded is None else loaded.anchors)}
            edges: list[Edge] = []
            for loop in self._closer.look(submap, anchors, problem):
                crossing = loaded is not None and (loop.edge.i in loaded) != (loop.edge.j in loaded)
                edges += [loop.edge] if crossing else self._closer.believe(loop, anchors, problem)
            try:
                return self._take_in(edges) if edges else None
            except MappingError as error:
                _notices.warning("a place seen again is not used: %s", error)
                return None

    def close_window(self) -> Chunk | None:
        """The keyframes that have not filled a chunk, for `map_chunk`; None where there are no new ones."""
        with self._state_lock:
            return self._window.close()

    def reset(self) -> None:
        """Forget everything; a chunk being mapped meanwhile is dropped when it is done. Waits for loops in work."""
        with self._loop_lock, self._map_lock, self._camera_lock, self._state_lock:
            self._forget()
            self._reconstructor.reset()

    def save(self, folder: Path) -> None:
        """Writes the map into a folder, in place of the one that was saved there before. The camera goes on meanwhile.

        Waits for the chunk at hand, and holds the next back while the memory is written.

        Raises:
            MappingError: there is no map yet, the disk does not take it, or a loaded map would be lost by it.
            ModelError: the disk does not take the memory.
        """
        with MapWriter(folder) as writer:
            with self._worker_lock:
                memory = writer.scratch / "memory.safetensors"
                if self._reconstructor.memory is not None:
                    self._reconstructor.memory.snapshot(memory)
                with self._loop_lock, self._map_lock:
                    self._check_savable(folder)
                    places = places_of(self._closer.snapshot(), self._graph.anchors())
                    parts: dict[str, Arrays] = {POINTS: self._map.snapshot(), PLACES: places}
                    with self._state_lock:  # only now, since the camera waits for it
                        parts |= {GRAPH: self._graph.snapshot(), FRAMES: self._log.snapshot()}
                        submaps = self._spill.paths(self._graph.anchors())
            kept = memory if memory.exists() else None
            write_contents(writer, MapContents(parts, submaps, kept, self._reconstructor.name))

    def load(self, stored: StoredMap) -> None:
        """Begins anew with what a saved map knows: its memory at once, its frame as soon as the camera is found in it.

        Until then the drive is mapped in a frame of its own.

        Raises:
            MappingError: a file can not be read, and all is as it was; or the disk has no room for what stays there,
                and the mapper is empty.
            ModelError: the memory is of another preset or rule; all is as it was.
        """
        loaded = LoadedMap(stored.folder, stored.arrays(GRAPH), stored.arrays(FRAMES), stored.arrays(POINTS))
        places = stored.arrays(PLACES) if PLACES in stored else None
        with self._worker_lock, self._loop_lock, self._map_lock, self._camera_lock, self._state_lock:
            if self._reconstructor.memory is not None and MEMORY in stored:
                self._reconstructor.memory.restore(stored.path(MEMORY))
            else:
                self._reconstructor.reset()
            self._forget()
            self._window.count_from(loaded.next_submap)
            self._first_chunk = self._window.handed_out
            self._spill.adopt({name: stored.path(name) for name in stored.names(SUBMAP_PREFIX)})
            if places is not None:
                self._closer.restore(places)
            self._loaded = loaded

    def close(self) -> None:
        """Ends what the reconstructor runs beside this process; the map stays readable, but for what is on disk."""
        self._reconstructor.close()
        self._spill.clear()

    def add_loop(self, edge: Edge) -> bool:
        """Takes in a verified place seen again; says whether the map moved.

        Where one end is a submap of a loaded map, that map is joined as soon as two places agree.

        Raises:
            MappingError: a submap is not known, or the edge has no common solution with the others.
        """
        with self._loop_lock:
            update = self._take_in([edge])
            return update is not None and update.corrected

    def trajectory(self) -> Trajectory:
        """The best estimate of every posed frame of this drive now: T_map_cam by stamp."""
        with self._state_lock:
            return self._log.trajectory(self._graph.anchors())

    def drives(self) -> tuple[Trajectory, ...]:
        """As `trajectory`, of every drive that is part of the map, oldest first; the last is the one at hand."""
        with self._state_lock:
            return self._log.drives(self._graph.anchors())

    def cloud(self, max_points: int | None = None) -> PointCloud:
        """The voxel-filtered map, decimated to `max_points` where given."""
        with self._map_lock:
            return self._map.cloud(max_points)

    def loops(self) -> tuple[Edge, ...]:
        """The places seen again that the map rests on, each from the older submap to the newer one."""
        with self._state_lock:
            return tuple(edge for edge in self._graph.edges if edge.kind is EdgeKind.LOOP)

    def loop_ends(self) -> Array:
        """Where the submaps lie (n, 2, 3) in `map` that loops connect, the older one first."""
        with self._state_lock:
            anchors, loops = self._graph.anchors(), self.loops()
        return np.array([(anchors[edge.i].t, anchors[edge.j].t) for edge in loops]).reshape(-1, 2, 3)

    def T_map_odom(self) -> Array:
        """The correction (4, 4) that loops have made to `odom`, right for the newest submap's last camera.

        TF carries no scale: `odom` takes over that of `map` with the next submap.
        """
        with self._state_lock:
            if self._newest is None:
                return np.eye(4)
            S_odom_submap = self._newest.S_odom_submap
            S_map_odom = self._graph.anchor(self._newest.index) @ S_odom_submap.inverse()
            here = S_odom_submap.apply(self._newest.last_centre)
            return se3.se3(S_map_odom.R, S_map_odom.apply(here) - S_map_odom.R @ here)

    def counters(self) -> Mapping[str, int | float]:
        """What was taken in, posed, thinned and mapped so far."""
        with self._state_lock:
            return {
                **self._camera.counters(),
                "frames_in": self._camera.counters()["frames_in"] + sum(self._stamps.counters().values()),
                **self._stamps.counters(),
                "frames_posed": len(self._log),
                "keyframes": self._keyframes,
                "keyframes_thinned": self._window.thinned,
                "chunks_failed": self._unmeasured,
                "submaps": len(self._graph),
                "map_points": self._map_points,
                **self._closer.counters(),
                "submaps_unlocalized": 0 if self._loaded is None else len(self._loaded),
                **self._spill.counters(),
                **self._reconstructor.metrics(),
            }

    def _check_savable(self, folder: Path) -> None:
        if not len(self._graph):
            raise MappingError("there is no map to save yet: no chunk has been mapped")
        if self._loaded is not None and self._loaded.folder.resolve() == folder.resolve():
            raise MappingError(
                f"the map loaded from {folder} would be lost, since the camera has not been found in it yet; save to "
                "another folder, or again later"
            )

    def _forget(self) -> None:
        self._first_chunk = self._window.handed_out
        self._stamps.forget()
        self._camera.clear()
        self._window.reset()
        self._graph = SubmapGraph(self._config.loops.max_conflict)
        self._closer.clear()
        self._map.clear()
        self._map_points = 0
        self._log.clear()
        self._spill.clear()
        self._held = []
        self._newest = self._loaded = None

    def _take_in(self, edges: Sequence[Edge]) -> MapUpdate | None:
        """Optimises the graph with new edges and moves the map; edges to a loaded map wait there for others."""
        with self._map_lock:
            with self._state_lock:
                waiting = self._loaded
                for edge in edges:
                    loaded = self._loaded
                    if loaded is None or (edge.i in loaded) == (edge.j in loaded):
                        self._graph.add_edge(edge)
                    elif (found := loaded.consider(edge, self._graph.anchors())) is not None:
                        self._join(loaded, found)
                joined = waiting is not None and self._loaded is None
                problem = self._graph.problem()
            if joined and waiting is not None:
                self._map.absorb(waiting.points)
                self._map.reanchor(problem.anchors)
        solution = self._graph.solve(problem)
        self._closer.drop(solution.dropped)
        with self._map_lock:
            with self._state_lock:
                moved = self._graph.accept(solution)
                anchors = self._graph.anchors()
            if moved or joined:
                self._map.reanchor(anchors)
                self._map_points = len(self._map)
        return MapUpdate((), self.T_map_odom(), corrected=True, found=joined) if moved or joined else None

    def _join(self, loaded: LoadedMap, found: Relocalization) -> None:
        """Moves this drive into the frame of the loaded map, and takes in all of that but its points."""
        self._graph.absorb(loaded.graph, found.S_loaded_own)
        for edge in found.edges:
            self._graph.add_edge(edge)
        self._log.absorb(loaded.frames)
        self._loaded = None
        _notices.info("the camera was found in the map of %s, which goes on from here", loaded.folder)

    def _map_held(self, chunk: Chunk | None, at_least: int) -> list[MapUpdate]:
        """Holds `chunk`; maps all that are held where there are `at_least` as many."""
        with self._state_lock:
            self._held += [] if chunk is None else [chunk]
            count = len(self._held) if len(self._held) >= at_least else 0
        updates = []
        for _ in range(count):
            with self._state_lock:
                if not self._held:
                    break  # reset meanwhile
                first, *rest = self._held
                self._held = rest
            updates.append(self.map_chunk(first, rest))
            while self.loops_waiting:
                update = self.close_loops()
                updates += [] if update is None else [update]
        return updates

    def _place(self, chunk: Chunk, geometry: ChunkGeometry, newest: PlacedSubmap | None) -> Placed:
        if newest is None:
            return first_submap(chunk, geometry, self._config)
        with self._state_lock:
            scale = self._graph.anchor(newest.index).scale  # loops may have changed the unit of `map`
        return next_submap(chunk, geometry, newest, newest.in_unit_of(scale), self._config)

    def _take_over(self, submap: PlacedSubmap) -> tuple[FramePose, ...]:
        """Makes `submap` the newest one; returns the poses of frames that had none before."""
        self._newest = submap
        taken = self._camera.take_over(submap)
        for seen, T_odom_cam in taken.known:
            self._log_pose(seen, T_odom_cam, submap)
        return taken.given

    def _log_pose(self, seen: SeenFrame, T_odom_cam: Array, submap: PlacedSubmap) -> None:
        T_submap_cam = submap.S_odom_submap.inverse().apply_pose(T_odom_cam)
        self._log.put(seen.index, seen.stamp_ns, submap.index, T_submap_cam, seen.intrinsics)


def _stamp_message(stamp_ns: int, newest_ns: int | None) -> str:
    before = "" if newest_ns is None else f" follows {newest_ns * 1e-9:.9f} s"
    return f"image stamp {stamp_ns * 1e-9:.9f} s{before}; the driver has to stamp every image later than the last"
