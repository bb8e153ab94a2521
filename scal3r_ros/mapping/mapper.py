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
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping.chunk_stage import ChunkBatch, ChunkStage
from scal3r_ros.mapping.cloud.map_cloud import MapCloud
from scal3r_ros.mapping.config import MapperConfig
from scal3r_ros.mapping.frontend.frontend import Frontend
from scal3r_ros.mapping.graph.edges import Edge
from scal3r_ros.mapping.loops.closer import LoopCloser, NewSubmap
from scal3r_ros.mapping.occupancy.stage import OccupancyStage
from scal3r_ros.mapping.scale.stage import ScaleStage
from scal3r_ros.mapping.storage import contents
from scal3r_ros.mapping.storage.map_store import MapWriter, StoredMap
from scal3r_ros.mapping.submaps.estimate import MapEstimate
from scal3r_ros.mapping.submaps.points import coloured_points
from scal3r_ros.mapping.submaps.segments import place_in_segment
from scal3r_ros.mapping.submaps.submap import shared_frames, summary_of
from scal3r_ros.mapping.values import MapUpdate, Observation, PointCloud, SensorSample
from scal3r_ros.reconstruction.protocol import Chunk, ChunkHealth, Frame, Reconstructor

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)
RESET = "the map was reset meanwhile"


class OnlineMapper:
    """Maps a stream of frames with any reconstructor. All public methods may be called from any thread.

    `push` does everything in step. A node calls its parts instead: `observe` at camera rate, `map_chunk` on a worker,
    and `close_loops` on another one.

    Its stages own their state and their locks; docs/architecture.md draws them. A method that holds several takes them
    in this order: chunks, loops, frontend, cloud, estimate. Public are `scale` (the metre), `occupancy` and `points`.
    """

    def __init__(self, config: MapperConfig, reconstructor: Reconstructor) -> None:
        self._config = config
        self._frontend = Frontend(config)
        self._chunks = ChunkStage(reconstructor)
        self._estimate = MapEstimate(config.loops.max_conflict)
        self.points = MapCloud(config.map, Path(config.offload_directory) if config.offload_directory else None)
        self._loops = LoopCloser(config.loops, config.min_confidence, config.alignment, self._chunks.recall)
        self._closing_loops = threading.Lock()  # for all of `_loops` but its queue
        self.scale = ScaleStage(config.scale, self._estimate)
        self.occupancy = OccupancyStage(config.occupancy, config.min_confidence, self._estimate)
        self._batch = ChunkBatch()
        self._chunks_failed = 0

    @property
    def max_parallel_chunks(self) -> int:
        """How many consecutive chunks the reconstructor works on at the same time, where they are given to it."""
        return self._chunks.max_parallel_chunks

    def push(self, frame: Frame) -> list[MapUpdate]:
        """Shows the mapper the next frame; once `max_parallel_chunks` chunks are full, maps them."""
        observation = self.observe(frame)
        updates = [MapUpdate(observation.poses, self.T_map_odom())] if observation.poses else []
        return updates + self._map_batch(observation.chunk, self.max_parallel_chunks)

    def flush(self) -> list[MapUpdate]:
        """Maps the chunks that still wait, and the keyframes that have not filled one."""
        updates = self._map_batch(None, 1)
        while (chunk := self.close_window()) is not None:
            updates += self._map_batch(chunk, 1)
        return updates

    def observe(self, frame: Frame, busy: bool = False) -> Observation:
        """The camera-rate half: follows and poses `frame`; hands out a chunk where one is full and nobody is `busy`.

        A frame whose stamp is not later than the one before, or far from it, is dropped and counted. Where the clock
        of the images was set back by more than `reset_on_time_jump_s`, the map is reset first.
        """
        restarted = False
        while (observed := self._frontend.observe(frame, busy)) is None:
            _log.warning(
                "time jumped back to image stamp %d.%09d s, as when a bag loops: map reset",
                *divmod(frame.stamp_ns, 10**9),
            )
            self.reset()
            restarted = True
        observation, posed = observed
        self._estimate.log(posed.places)
        return replace(observation, restarted=restarted)

    def add_sensor(self, sample: SensorSample) -> None:
        """Takes in a sample of another sensor, best before the images that follow it."""
        self.scale.add(sample)
        self._frontend.add_sensor(sample)

    def map_chunk(self, chunk: Chunk, following: Sequence[Chunk] = ()) -> MapUpdate:
        """The slow half: reconstructs `chunk`, aligns it to the submap before, adds its points, corrects the poses.

        `following` are chunks that are full already and will be given next: a reconstructor may begin with them.

        Raises:
            ReconstructionError: the chunk is of a kind that the reconstructor cannot handle; the map stays as it was.
        """
        with self._chunks.turn():
            if not self._estimate.expects(chunk.index):
                return MapUpdate((), self.T_map_odom(), note=RESET)
            before = self._estimate.newest
            chunk = replace(chunk, shared=shared_frames(before, chunk))
            geometry = self._chunks.reconstruct(chunk, before, following)
            metrics = self._chunks.metrics()
            if (before is None or not chunk.shared) and geometry.health is not ChunkHealth.OK:
                self._chunks_failed += 1
                note = f"{'no map yet' if before is None else 'no new segment yet'}: {geometry.note}"
                return MapUpdate((), self.T_map_odom(), chunk=chunk, geometry=geometry, note=note, metrics=metrics)
            started = time.perf_counter()
            before = self.scale.known(self._estimate.in_map_unit(before))
            placed, observed = self.scale.observe(place_in_segment(chunk, geometry, before, self._config))
            submap = placed.submap
            aligned = time.perf_counter()
            anchor = self._estimate.add(placed, observed)
            posed = self._frontend.take_over(submap, self._estimate.connected)
            self._estimate.log(posed.places)
            seen = coloured_points(chunk, geometry, self._config.min_confidence)
            cloud = self.points.add(submap.index, seen, self._estimate.anchors)
            self.occupancy.add(submap, observed)
            if geometry.health is ChunkHealth.OK:
                self._loops.give(NewSubmap(submap.index, chunk, geometry))
            mapped = time.perf_counter()
            if anchor is None or not self._estimate.has(submap.index):
                return MapUpdate((), self.T_map_odom(), note=RESET)

            summary = summary_of(placed, anchor, cloud, seen.cloud)
            timings = {**geometry.timings, "align_s": aligned - started, "map_s": mapped - aligned}
            return MapUpdate(
                posed.poses, self.T_map_odom(), summary, False, chunk, geometry, timings=timings, metrics=metrics
            )

    @property
    def loops_waiting(self) -> int:
        """New submaps that wait for `close_loops`; at least 1 where observations of submaps do."""
        return max(self._loops.waiting, int(self._estimate.pending))

    def close_loops(self) -> MapUpdate | None:
        """Takes in the loops to one new submap, and observations of submaps; gives an update where the map moved."""
        with self._closing_loops:
            edges = self._loops.next_edges(self._estimate)
            try:
                return self._take_in(edges) if edges or self._estimate.pending else None
            except MappingError as error:
                _log.warning("a loop or an observation of scale is not used: %s", error)
                return None

    def close_window(self) -> Chunk | None:
        """Keyframes that have not filled a chunk, for `map_chunk`, until there are no new ones and None comes."""
        return self._frontend.close_window()

    def reset(self) -> None:
        """Forgets everything; a chunk being mapped meanwhile is dropped when it is done. Waits for loops in work."""
        with self._closing_loops:
            with self._frontend.starting_over() as first_chunk:
                self._forget(first_chunk)
            self._chunks.reset()

    def save(self, folder: Path) -> None:
        """Writes the map into a folder, in place of the one that was saved there before. The camera goes on meanwhile.

        Waits for the chunk at hand, and holds the next back while the memory is written.

        Raises:
            MappingError: there is no map yet, the disk does not take it, or a loaded map would be lost by it.
            ModelError: the disk does not take the memory.
        """
        with MapWriter(folder) as writer:
            with self._chunks.turn(), self._closing_loops:
                self._estimate.check_savable(folder)
                memory = self._chunks.snapshot(writer.scratch / "memory.safetensors")
                submaps = self._estimate.anchors()
                points, files = self.points.snapshot(submaps)
                places, occupancy = self._loops.snapshot(submaps), self.occupancy.snapshot()
                parts = contents.parts_of(points, places, occupancy, *self._estimate.snapshot())
                files = {name: writer.linked(path) for name, path in files.items()}
            contents.write_contents(writer, contents.MapContents(parts, files, memory, self._chunks.name))

    def load(self, stored: StoredMap) -> None:
        """Begins anew with what a saved map knows: its memory at once, its frame as soon as the camera is found in it.

        Until then the drive is mapped in its own frame.

        Raises:
            MappingError: a file cannot be read, and all is as it was; or the disk has no room for what stays there,
                and the mapper is empty.
            ModelError: the memory is of another preset or rule; all is as it was.
        """
        loaded, places = contents.loaded_map(stored)
        with self._chunks.turn(), self._closing_loops:
            self._chunks.restore(stored.path(contents.MEMORY) if contents.MEMORY in stored else None)
            with self._frontend.starting_over(loaded.next_submap) as first_chunk:
                self._forget(first_chunk)
                self.points.adopt(contents.offloaded(stored))
                if places is not None:
                    self._loops.restore(places)
                self._estimate.wait_for(loaded)

    def close(self) -> None:
        """Ends the reconstructor's threads and processes; the map stays readable, but for what is on disk."""
        self._chunks.close()
        self.points.close()

    def add_loop(self, edge: Edge) -> bool:
        """Takes in a verified loop; returns whether the map moved.

        Where one end is in a loaded map or another segment, those are joined as soon as two such loops agree.

        Raises:
            MappingError: a submap is not known, or the edge has no common solution with the others.
        """
        with self._closing_loops:
            return (update := self._take_in([edge])) is not None and update.corrected

    def trajectory(self) -> Trajectory:
        """The best estimate of every posed frame of this drive now: T_map_cam by stamp."""
        return self._estimate.trajectory()

    def drives(self) -> tuple[Trajectory, ...]:
        """As `trajectory`, of every drive that is part of the map, oldest first; the last is the one at hand."""
        return self._estimate.drives()

    def cloud(self, max_points: int | None = None) -> PointCloud:
        """The voxel-filtered map, decimated to `max_points` where given."""
        return self.points.cloud(max_points)

    def loops(self) -> tuple[Edge, ...]:
        """The loops that the map rests on, each from the older submap to the newer one."""
        return self._estimate.loops()

    def loop_ends(self) -> Array:
        """Where the submaps lie (n, 2, 3) in `map` that loops connect, the older one first."""
        return self._estimate.loop_ends()

    def T_map_odom(self) -> Array:
        """The correction (4, 4) of `odom` by loops, right for the newest submap's last camera; TF has no scale."""
        return self._estimate.T_map_odom()

    def counters(self) -> Mapping[str, int | float]:
        """What was taken in, posed, thinned and mapped so far."""
        return {
            **self._frontend.counters(),
            "chunks_failed": self._chunks_failed,
            **self._estimate.counters(),
            **self._loops.counters(),
            **self.points.counters(),
            **self.scale.counters(),
            **self.occupancy.counters(),
            **self._chunks.metrics(),
        }

    def _forget(self, first_chunk: int) -> None:
        """Empties all stages behind the frontend; no loop may be in work."""
        self._estimate.clear(first_chunk)
        self.points.clear()
        self._loops.clear()
        self.scale.clear()
        self.occupancy.clear()
        self._batch.clear()

    def _take_in(self, edges: Sequence[Edge]) -> MapUpdate | None:
        """Optimises the graph with new loops, and moves the map; gives an update where it moved."""
        joined = self._estimate.add_edges(edges)
        if joined is not None:
            self.points.absorb(joined.points, self._estimate.anchors)
            self.occupancy.absorb(joined.occupancy)
            self.scale.leave_frame()
        optimised = self._estimate.optimise()
        self._frontend.connect(self._estimate.newest, self._estimate.connected)
        self._loops.reject(optimised.rejected)
        if joined is None and optimised.error is not None:
            raise optimised.error
        if joined is None and not optimised.moved:
            return None
        self.points.move(self._estimate.anchors)
        return MapUpdate((), self.T_map_odom(), corrected=True, loops=len(edges), found=joined is not None)

    def _map_batch(self, chunk: Chunk | None, full: int) -> list[MapUpdate]:
        """Maps `chunk` and those that wait, where there are as many as `full`; closes loops after each."""
        updates: list[MapUpdate] = []
        for _ in range(self._batch.add(chunk, full)):
            if (taken := self._batch.pop()) is None:
                break
            updates.append(self.map_chunk(*taken))
            while self.loops_waiting:
                updates += filter(None, [self.close_loops()])
        return updates
