"""`scal3r benchmark`: a published benchmark in one command."""

from scal3r_ros.cli.benchmark.command import benchmark

__all__ = ["benchmark"]
