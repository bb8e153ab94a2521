"""Detects loops: keeps keyframes, finds candidates among them, verifies them, and accepts what others confirm."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import MappingError
from scal3r_ros.features.descriptors import place_descriptor
from scal3r_ros.features.sift import find_local_features
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge
from scal3r_ros.mapping.graph.solver import GraphProblem
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.loops.consistency import LoopConsistency
from scal3r_ros.mapping.loops.descriptor_index import DescriptorIndex
from scal3r_ros.mapping.loops.joint_refinement import refine_jointly
from scal3r_ros.mapping.loops.keyframe_database import KeyframeDatabase, keep_keyframe
from scal3r_ros.mapping.loops.retrieval import CandidateFinder
from scal3r_ros.mapping.loops.verification import VerifiedLoop, verify
from scal3r_ros.mapping.submaps.alignment import AlignmentConfig
from scal3r_ros.mapping.submaps.estimate import MapEstimate
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Recall

_log = logging.getLogger(__name__)

MAX_WAITING = 4
"""Submaps, with their images, that may wait; the oldest beyond that are never recognised again."""
MIN_RATIO = 1.5
"""Inliers of a loop relative to those of one that leads elsewhere, from which the first one counts."""


@dataclass(frozen=True, eq=False)
class NewSubmap:
    """A submap that was just mapped: its chunk and geometry."""

    index: int
    chunk: Chunk
    geometry: ChunkGeometry


class LoopCloser:
    """Loop detection for a mapper.

    `give`, `take`, `waiting` and `counters` may be called from any thread; of the other methods, one at a time.

    Args:
        config: what is kept, and what a loop must satisfy.
        min_confidence: confidence from which a depth is used.
        alignment: how a joint reconstruction is aligned to both ends.
        recall: reconstructs both ends of a loop together for its joint refinement; None leaves that out.
    """

    def __init__(
        self, config: LoopConfig, min_confidence: float, alignment: AlignmentConfig, recall: Recall | None
    ) -> None:
        self._config = config
        self._min_confidence = min_confidence
        self._alignment = alignment
        self._recall = recall
        self._queue_lock = threading.Lock()
        self._waiting: deque[NewSubmap] = deque()
        self._database = KeyframeDatabase(config.memory_mb)
        self._index = DescriptorIndex()
        self._finder = CandidateFinder()
        self._consistency = LoopConsistency(config)
        self._counts = dict.fromkeys(
            (
                "loop_submaps_skipped",
                "loop_submaps_lost",
                "loop_candidates",
                "loops_verified",
                "loops_ambiguous",
                "loops_dropped",
            ),
            0,
        )
        self._refused = False  # the disk, at the last attempt

    def give(self, submap: NewSubmap) -> None:
        """Queues a submap for `take`; quick."""
        if not self._config.enabled:
            return
        with self._queue_lock:
            self._waiting.append(submap)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self._counts["loop_submaps_skipped"] += 1

    @property
    def waiting(self) -> int:
        """Submaps that wait for `take`."""
        return len(self._waiting)

    def take(self) -> NewSubmap | None:
        """The submap that has waited longest."""
        with self._queue_lock:
            return self._waiting.popleft() if self._waiting else None

    def next_edges(self, estimate: MapEstimate) -> list[Edge]:
        """The loops to the submap that has waited longest, as far as they are accepted."""
        submap = self.take()
        if submap is None or not estimate.has(submap.index):
            return []
        problem, anchors = estimate.problem(), estimate.all_anchors()
        edges: list[Edge] = []
        for loop in self.find(submap, anchors, problem, estimate.segments()):
            joining = estimate.joins_loaded_map(loop.edge) or estimate.joins_segments(loop.edge)
            edges += [loop.edge] if joining else self.accept(loop, anchors, problem)
        return edges

    def clear(self) -> None:
        """Forget everything but the counts."""
        with self._queue_lock:
            self._waiting.clear()
        self._database.clear()
        self._index.clear()
        self._finder.clear()
        self._consistency.clear()

    def find(
        self,
        submap: NewSubmap,
        anchors: Mapping[int, Sim3],
        problem: GraphProblem,
        segments: Mapping[int, int] | None = None,
    ) -> list[VerifiedLoop]:
        """Keeps keyframes of a submap, and gives the verified loops from older submaps to it.

        `anchors` place this and all older submaps; `problem` is the graph between them. Between `segments`, given of
        each submap, a loop may be as short as it likes: what the camera has seen there may be in view still, and
        nothing else connects it. Deterministic. A submap whose
        keyframes cannot be kept is counted; the first of several in a row is logged.
        """
        try:
            rows = self._keep(submap)
            self._refused = False
        except MappingError as error:
            self._counts["loop_submaps_lost"] += 1
            if not self._refused:
                _log.warning("no loops are detected: %s", error)
            self._refused = True
            return []
        candidates = self._finder.find(self._index, rows, self._rows_before(rows), self._config.candidates)
        apart = self._elsewhere(rows, submap.index, segments or {})
        candidates += [one for one in self._finder.find_each(self._index, rows, apart) if one not in candidates]
        self._counts["loop_candidates"] += len(candidates)
        found = (verify(one, self._database, anchors, self._config, segments) for one in candidates)
        verified = [loop for loop in found if loop]
        verified = self._unambiguous(verified, anchors, problem)
        if self._recall is not None:
            verified = self._jointly_refined(verified, anchors, self._recall)
        self._counts["loops_verified"] += len(verified)
        return verified

    def accept(self, loop: VerifiedLoop, anchors: Mapping[int, Sim3], problem: GraphProblem) -> list[Edge]:
        """The edges that a verified loop adds to the graph: none before another confirms it, then both."""
        return self._consistency.accept(loop.edge, anchors, problem)

    def reject(self, edges: Sequence[Edge]) -> None:
        """Takes back loops that the graph contradicts."""
        self._consistency.reject(edges)
        self._counts["loops_dropped"] += len(edges)

    def counters(self) -> dict[str, int]:
        """Loops and keyframes by what became of them."""
        return {
            "loops_pending": self._consistency.pending,
            "loops_gated": self._consistency.gated,
            "loop_keyframes": len(self._database),
            **self._counts,
        }

    def snapshot(self, submaps: Collection[int]) -> dict[str, NDArray[np.generic]]:
        """The keyframes of some submaps as plain arrays, for `restore`; what waits is not among them."""
        rows = [row for row in range(len(self._database)) if self._database.submap(row) in submaps]
        parts = {"places": self._index.snapshot(rows), "keyframes": self._database.snapshot(rows)}
        return {f"{part}_{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Become the one whose `snapshot` is given.

        Raises:
            MappingError: the disk refuses them.
        """
        self.clear()
        for part, owner in (("places", self._index), ("keyframes", self._database)):
            own = {name.removeprefix(f"{part}_"): array for name, array in arrays.items() if name.startswith(part)}
            owner.restore(own)

    def _keep(self, submap: NewSubmap) -> list[int]:
        chunk, geometry = submap.chunk, submap.geometry
        fresh = np.arange(chunk.shared, len(chunk.frames))
        count = min(len(fresh), self._config.keyframes_per_submap)
        chosen = fresh[np.linspace(0, len(fresh) - 1, count).round().astype(int)] if count else fresh
        rows = []
        for number in (int(place) for place in chosen):
            frame = chunk.frames[number]
            features = find_local_features(frame.image, self._config.features)
            descriptor = place_descriptor(features) if geometry.descriptors is None else geometry.descriptors[number]
            keyframe = keep_keyframe(
                submap.index,
                frame,
                geometry.T_chunk_cam[number],
                geometry.depth[number],
                geometry.confidence[number],
                geometry.intrinsics[number],
                features,
                self._min_confidence,
                self._recall is not None,
            )
            self._index.check(descriptor[None])
            rows.append(self._database.add(keyframe))
            self._index.add(descriptor[None])
        return rows

    def _elsewhere(self, rows: Sequence[int], submap: int, segments: Mapping[int, int]) -> NDArray[np.int64]:
        """Rows of older keyframes that are of other segments than a submap."""
        if not rows or len(set(segments.values())) < 2:
            return np.empty(0, np.int64)
        own = segments.get(submap)
        others = [row for row in range(rows[0]) if segments.get(self._database.submap(row), own) != own]
        return np.array(others, np.int64)

    def _rows_before(self, rows: Sequence[int]) -> int:
        """Below which row keyframes are old enough for a loop."""
        if not rows:
            return 0
        newest_ns = self._database.stamp_ns(rows[0]) - round(self._config.min_gap_s * 1e9)
        newest_submap = self._database.submap(rows[0]) - self._config.min_gap_submaps
        before = rows[0]
        while before and not self._is_before(before - 1, newest_ns, newest_submap):
            before -= 1
        return before

    def _is_before(self, row: int, stamp_ns: int, submap: int) -> bool:
        # Stamps of a loaded drive may be later than those of this one.
        stamp, own = self._database.stamp_ns(row), self._database.submap(row)
        return own <= submap and (stamp <= stamp_ns or stamp > stamp_ns + round(self._config.min_gap_s * 1e9))

    def _unambiguous(
        self, loops: list[VerifiedLoop], anchors: Mapping[int, Sim3], problem: GraphProblem
    ) -> list[VerifiedLoop]:
        """Loops that no other contradicts: of two that lead to different places, the clearly better one counts."""
        kept = []
        for loop in loops:
            rivals = [other for other in loops if other is not loop and self._contradict(loop, other, anchors, problem)]
            if all(loop.points >= MIN_RATIO * rival.points for rival in rivals):
                kept.append(loop)
        self._counts["loops_ambiguous"] += len(loops) - len(kept)
        return kept

    def _contradict(
        self, one: VerifiedLoop, other: VerifiedLoop, anchors: Mapping[int, Sim3], problem: GraphProblem
    ) -> bool:
        here, there = (anchors[loop.edge.i].apply(loop.edge.S_i_j.t) for loop in (one, other))
        sigma = sum(
            anchors[loop.edge.j].scale * float(np.sqrt(np.trace(loop.edge.covariance[:3, :3]))) for loop in (one, other)
        )
        drift = self._config.max_drift * problem.path_length(one.edge.i, other.edge.i)
        return float(np.linalg.norm(here - there)) > drift + 4.0 * sigma

    def _jointly_refined(
        self, loops: list[VerifiedLoop], anchors: Mapping[int, Sim3], recall: Recall
    ) -> list[VerifiedLoop]:
        kept = []
        for loop in loops:
            edge = refine_jointly(
                loop.edge, (loop.old_row, loop.new_row), self._database, anchors, recall, self._alignment
            )
            if edge is not None:
                kept.append(replace(loop, edge=edge))
        return kept
