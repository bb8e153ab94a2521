"""`scal3r replay`: maps a recording as fast as the machine can, without any middleware."""

from scal3r_ros.cli.replay.command import replay

__all__ = ["replay"]
