"""Names of the files of a result and of their columns, for its writer and its reader. See docs/architecture.md."""

from __future__ import annotations

TRAJECTORY_FILE = "trajectory.tum"
CLOUD_FILE = "map.ply"
TIMINGS_FILE = "timings.csv"
MEMORY_FILE = "memory.csv"
SCALE_FILE = "scale.csv"
OCCUPANCY_FILE = "occupancy.npz"
RUN_FILE = "run.yaml"
OCCUPANCY_ARRAYS = ("submap", "M_submap_cell", "shape", "length", "packed", "cell_size")
DEPTH_FOLDER = "depth"
FILES = (TRAJECTORY_FILE, CLOUD_FILE, TIMINGS_FILE, MEMORY_FILE, SCALE_FILE, OCCUPANCY_FILE, RUN_FILE)

CHUNK_COLUMN = "chunk"
TIMINGS_COLUMNS = (CHUNK_COLUMN, "first_stamp_ns", "last_stamp_ns", "frames", "keyframes", "health")
"""Before the seconds of each stage, whose names end with `_s`."""
RSS_COLUMN = "rss_mb"
MEMORY_CHUNKS = "memory_chunks"
MEMORY_NORM, MEMORY_CHANGE = "memory_norm_", "memory_change_"
"""How a reconstructor's metrics about its memory begin; the layer follows."""


def depth_file(stamp_ns: int) -> str:
    """Path in the result of the depth map of a keyframe."""
    return f"{DEPTH_FOLDER}/{stamp_ns:019d}.npz"
