"""The feature tracks of a chunk as a table of observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scal3r_ros.features.klt import KltConfig, KltTracker
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.triangulation import TrackTable
from scal3r_ros.reconstruction.protocol import Chunk, Features


def features_of(chunk: Chunk, klt: KltConfig) -> list[Features]:
    """The tracks that came with the frames, or tracks through the chunk's own images."""
    given = [frame.features for frame in chunk.frames]
    if all(features is not None for features in given):
        return [features for features in given if features is not None]
    # Its tracks are too short to drift; the ends of a loop lie far apart in it, so that few patches look alike.
    tracker = KltTracker(replace(klt, anchor=0))
    return [tracker.track(frame.image) for frame in chunk.frames]


def track_table(features: Sequence[Features], intrinsics: Sequence[Intrinsics]) -> TrackTable:
    """All tracks seen in at least two of the frames, each of which has its own intrinsics."""
    ids = np.concatenate([item.ids for item in features])
    frame = np.concatenate([np.full(len(item.ids), number) for number, item in enumerate(features)])
    pairs = list(zip(features, intrinsics, strict=True))
    xy = np.concatenate([item.on_unit_plane(camera) for item, camera in pairs])
    shift = np.concatenate([item.per_readout(camera) / [camera.fx, camera.fy] for item, camera in pairs])
    _, of_row, counts = np.unique(ids, return_inverse=True, return_counts=True)
    often = counts[of_row] >= 2
    unique, track = np.unique(ids[often], return_inverse=True)
    order = np.lexsort((frame[often], track))
    return TrackTable(unique, track[order], frame[often][order], xy[often][order], shift[often][order])
