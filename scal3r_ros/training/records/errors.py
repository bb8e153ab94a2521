"""The errors of a network on sequences with ground truth: the metrics of validation.

Shapes: C chunks of F frames in order of time, h × w pixels. Predictions are compared up to one scale per chunk,
that of its depth; the scales themselves show how well chunks of a sequence agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.geometry import se3

Array = NDArray[np.float64]

_STANDING = 0.02


@dataclass(frozen=True)
class ChunkErrors:
    """Errors of one chunk.

    `depth`: mean |d̂ − d| / d at the chunk's own scale; `depth_in_unit`: mean |log d̂ / d| at the predicted scale;
    `sure_depth`: of the pixels that the network is sure enough of
    to become points, None where there are none; `log_scale`: median logarithm of true over predicted depth;
    `rotation_deg` and `translation` of every pair of frames, the latter as a share of its distance, at the depth's
    scale, pairs that nearly stand being left out; `neighbour_rotation_deg`; `still_deg`: rotation error of a network
    that predicts no motion; `field_of_view`: relative.
    """

    depth: float
    depth_in_unit: float
    sure_depth: float | None
    log_scale: float
    rotation_deg: Array
    translation: Array
    neighbour_rotation_deg: Array
    still_deg: Array
    field_of_view: float


def chunk_errors(
    predicted_T_chunk_cam: Array,
    said_depth: Array,
    true_T_chunk_cam: Array,
    true_depth: Array,
    fov_ratio: float,
    sure: NDArray[np.bool_] | None = None,
) -> ChunkErrors:
    """Errors of a chunk: poses (F, 4, 4) and depth (F, h, w), 0 where unknown, of all its frames; `sure` (F, h, w)."""
    known = true_depth > 0
    log_scale = float(np.median(np.log(true_depth[known] / said_depth[known]))) if known.any() else 0.0
    scale = np.exp(log_scale)
    missed_depth = np.abs(scale * said_depth[known] / true_depth[known] - 1.0)
    depth = float(missed_depth.mean()) if known.any() else 0.0
    confident = np.ones(len(missed_depth), bool) if sure is None else sure[known]
    unit = float(np.median(true_depth[known])) if known.any() else 1.0
    first, second = np.triu_indices(len(true_T_chunk_cam), 1)
    predicted = se3.invert(predicted_T_chunk_cam[first]) @ predicted_T_chunk_cam[second]
    true = se3.invert(true_T_chunk_cam[first]) @ true_T_chunk_cam[second]
    rotation = np.degrees(se3.rotation_angle(predicted[:, :3, :3].transpose(0, 2, 1) @ true[:, :3, :3]))
    distance = np.linalg.norm(true[:, :3, 3], axis=1)
    moving = distance > _STANDING * unit
    missed = np.linalg.norm(scale * predicted[moving, :3, 3] - true[moving, :3, 3], axis=1) / distance[moving]
    return ChunkErrors(
        depth,
        float(np.abs(np.log(said_depth[known] / true_depth[known])).mean()) if known.any() else 0.0,
        float(missed_depth[confident].mean()) if confident.any() else None,
        log_scale,
        rotation,
        missed,
        rotation[second - first == 1],
        np.degrees(se3.rotation_angle(true[:, :3, :3])),
        abs(fov_ratio - 1.0),
    )


def summary(sequences: Iterable[list[ChunkErrors]]) -> dict[str, float]:
    """Figures over all chunks.

    `seam_spread` is the spread of the logarithm of the scale between chunks that follow; `scale_error` the mean |log|
    of a later chunk's scale against that of the first of its sequence, and `depth_in_unit` the mean error of depth of
    later chunks in the first one's unit: both are what a memory of scale makes smaller.
    """
    by_sequence = list(sequences)
    chunks = [chunk for sequence in by_sequence for chunk in sequence]
    seams = [
        later.log_scale - earlier.log_scale
        for sequence in by_sequence
        for earlier, later in itertools.pairwise(sequence)
    ]
    later_chunks = [(sequence[0], later) for sequence in by_sequence for later in sequence[1:]]
    return {
        "depth": float(np.mean([chunk.depth for chunk in chunks])),
        "sure_depth": _mean([chunk.sure_depth for chunk in chunks if chunk.sure_depth is not None]),
        "rotation_deg": _median(chunk.rotation_deg for chunk in chunks),
        "translation": _median(chunk.translation for chunk in chunks),
        "neighbour_rotation_deg": _median(chunk.neighbour_rotation_deg for chunk in chunks),
        "still_deg": _median(chunk.still_deg for chunk in chunks),
        "field_of_view": float(np.median([chunk.field_of_view for chunk in chunks])),
        "seam_spread": float(np.std(seams)) if seams else 0.0,
        "scale_error": _mean([abs(later.log_scale - first.log_scale) for first, later in later_chunks]),
        "depth_in_unit": _mean([later.depth_in_unit for _, later in later_chunks]),
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _median(values: Iterable[Array]) -> float:
    joined = np.concatenate(list(values))
    return float(np.median(joined)) if len(joined) else 0.0
