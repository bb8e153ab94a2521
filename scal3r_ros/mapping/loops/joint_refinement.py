"""Joint refinement of a loop: the frames around both ends, reconstructed as one chunk and aligned to both submaps.

Only for reconstructors that answer a chunk without learning from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.sim3 import Sim3
from scal3r_ros.mapping.graph.edges import Edge
from scal3r_ros.mapping.loops.keyframe_database import KeptKeyframe, KeptView, KeyframeDatabase
from scal3r_ros.mapping.submaps.alignment import AlignmentConfig, AlignmentMethod, ChunkAlignment, align_chunk
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Frame, Recall

Array = NDArray[np.float64]

REACH = 4
"""Kept keyframes before or after those at either end that are reconstructed with them."""
MAX_SCALE_RATIO = 1.3
MAX_DISTANCE = 0.5
"""Of the refined position from the first one, in median depths of the newer submap."""
MAX_ROTATION = np.deg2rad(10.0)
"""Of the refined orientation from the first one."""


def refine_jointly(
    first: Edge,
    rows: tuple[int, int],
    database: KeyframeDatabase,
    anchors: Mapping[int, Sim3],
    recall: Recall,
    config: AlignmentConfig,
) -> Edge | None:
    """The edge as a joint reconstruction measures it; None where it does not agree with `first`.

    `rows` are those of the keyframes at the older and the newer end. Deterministic as the reconstructor is.
    """
    olds, news = (_leading_to(row, database, anchors) for row in rows)
    if not olds or not news:
        return None
    news.reverse()  # both ends meet in the middle: networks that compare neighbours need small steps between them
    frames = tuple(_frame(number, keyframe, view) for number, (keyframe, view) in enumerate((*olds, *news)))
    joint = recall(Chunk(0, frames, 0))
    if joint is None or joint.health is not ChunkHealth.OK:
        return None
    old = _aligned(olds, _part(joint, slice(0, len(olds))), anchors, first.i, config)
    new = _aligned(news, _part(joint, slice(len(olds), None)), anchors, first.j, config)
    if AlignmentMethod.POINTS is not old.method or AlignmentMethod.POINTS is not new.method:
        return None
    S_old_new = old.S_previous_current @ new.S_previous_current.inverse()
    # δ of both alignments is that of the joint chunk's frame; the edge's is that of the newer submap.
    adjoint = new.S_previous_current.adjoint()
    covariance = adjoint @ (old.covariance + new.covariance) @ adjoint.T
    refined = replace(first, S_i_j=S_old_new, covariance=(covariance + covariance.T) / 2.0)
    return refined if _agree(first, refined, news) else None


def _leading_to(
    row: int, database: KeyframeDatabase, anchors: Mapping[int, Sim3]
) -> list[tuple[KeptKeyframe, KeptView]]:
    """Kept keyframes that follow each other, that of `row` last: from before it or, where there are more, after it."""
    before, after = range(max(0, row - REACH), row + 1), range(min(len(database) - 1, row + REACH), row - 1, -1)
    rows = before if len(before) >= len(after) else after
    keyframes = [database.keyframe(r) for r in rows if database.submap(r) in anchors]
    return [(keyframe, keyframe.view) for keyframe in keyframes if keyframe.view is not None]


def _frame(number: int, keyframe: KeptKeyframe, view: KeptView) -> Frame:
    decoded = cv2.imdecode(view.jpeg, cv2.IMREAD_COLOR)
    assert decoded is not None  # encoded by keep_keyframe
    image = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
    return Frame(number, keyframe.stamp_ns, image, _intrinsics(view.camera, image))


def _intrinsics(camera: Array, image: NDArray[np.generic]) -> Intrinsics:
    fx, fy, cx, cy = map(float, camera)
    return Intrinsics(fx, fy, cx, cy, image.shape[1], image.shape[0])


def _part(joint: ChunkGeometry, frames: slice) -> ChunkGeometry:
    return replace(
        joint,
        T_chunk_cam=joint.T_chunk_cam[frames],
        intrinsics=joint.intrinsics[frames],
        depth=joint.depth[frames],
        confidence=joint.confidence[frames],
        tracks=None,
        descriptors=None,
    )


def _aligned(
    kept: Sequence[tuple[KeptKeyframe, KeptView]],
    joint: ChunkGeometry,
    anchors: Mapping[int, Sim3],
    end: int,
    config: AlignmentConfig,
) -> ChunkAlignment:
    """Where some frames of the joint reconstruction lie in the submap `end`, by what was kept of them."""
    T, intrinsics, depth, confidence = [], [], [], []
    for keyframe, view in kept:
        S_end_submap = anchors[end].inverse() @ anchors[keyframe.submap]
        T.append(S_end_submap.apply_pose(keyframe.T_submap_cam))
        intrinsics.append(_intrinsics(view.depth_camera, view.depth))
        depth.append(view.depth * np.float32(S_end_submap.scale))
        confidence.append(view.confidence)
    before = ChunkGeometry(np.stack(T), tuple(intrinsics), np.stack(depth), np.stack(confidence))
    return align_chunk(before, _resampled(joint, before), len(kept), config)


def _resampled(joint: ChunkGeometry, like: ChunkGeometry) -> ChunkGeometry:
    """The joint depth at the pixels of the kept one."""
    depth, confidence = np.zeros_like(like.depth), np.zeros_like(like.confidence)
    for number, (own, other) in enumerate(zip(like.intrinsics, joint.intrinsics, strict=True)):
        v, u = np.mgrid[0 : own.height, 0 : own.width].astype(np.float64)
        column = np.rint((u - own.cx) / own.fx * other.fx + other.cx).astype(int)
        row = np.rint((v - own.cy) / own.fy * other.fy + other.cy).astype(int)
        inside = (column >= 0) & (column < other.width) & (row >= 0) & (row < other.height)
        depth[number][inside] = joint.depth[number][row[inside], column[inside]]
        confidence[number][inside] = joint.confidence[number][row[inside], column[inside]]
    return replace(joint, intrinsics=like.intrinsics, depth=depth, confidence=confidence)


def _agree(first: Edge, refined: Edge, news: Sequence[tuple[KeptKeyframe, KeptView]]) -> bool:
    """Whether both measurements put the newer submap at about the same pose and scale."""
    apart = first.S_i_j.inverse() @ refined.S_i_j
    depths = np.concatenate([view.depth[view.confidence > 0] for _, view in news])
    limit = MAX_DISTANCE * float(np.median(depths)) if len(depths) else 0.0
    turned = float(np.linalg.norm(apart.log()[3:6]))
    return bool(
        np.linalg.norm(apart.t) <= limit
        and turned <= MAX_ROTATION
        and abs(np.log(apart.scale)) <= np.log(MAX_SCALE_RATIO)
    )
