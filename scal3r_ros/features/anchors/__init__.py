"""Tracks that do not drift: every point is found again by the patch that its track began with."""
