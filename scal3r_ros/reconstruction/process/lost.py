"""What stands in for the geometry of a chunk that was lost with its process."""

from __future__ import annotations

from dataclasses import replace

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.geometry import se3
from scal3r_ros.reconstruction.geometric.window.health import at_constant_velocity
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Previous, Tracks

SMALLER = 8
"""The empty depth maps of a first chunk are so many times smaller than its images."""


def lost_chunk(chunk: Chunk, previous: Previous | None, note: str) -> ChunkGeometry:
    """The speed of the chunk before, no depth, and the points known before, by which tracking goes on.

    Raises:
        ReconstructionError: nothing is known of the camera.
    """
    frame = chunk.frames[-1]
    if previous is not None:
        camera = previous.geometry.intrinsics[-1]
    elif frame.intrinsics is not None:
        height, width = frame.image.shape[:2]
        camera = frame.intrinsics.scaled(max(1, width // SMALLER), max(1, height // SMALLER))
    else:
        raise ReconstructionError(note)
    stand_in = at_constant_velocity(chunk, previous, camera, note)
    if previous is None or not chunk.shared or previous.geometry.tracks is None:
        return stand_in
    known = previous.geometry.tracks
    T_chunk_previous = se3.invert(previous.geometry.T_chunk_cam[-chunk.shared])
    points = known.points_chunk @ T_chunk_previous[:3, :3].T + T_chunk_previous[:3, 3]
    return replace(stand_in, tracks=Tracks(known.ids, points, known.sigma))
