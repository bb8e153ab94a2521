"""Chunks that do not fit: in parts, one after the other, or their frames shared by several processes."""
