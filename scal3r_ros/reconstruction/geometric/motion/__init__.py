"""The motion of a chunk's cameras from its tracks, and the sparse structure that comes with it."""
