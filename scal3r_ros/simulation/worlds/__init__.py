"""Worlds of triangles to train in: built from a seed, drawn by a rasteriser, seen through an imperfect camera."""
