"""`scal3r export`: what was mapped, as files that other programs open."""

from scal3r_ros.cli.export.command import export

__all__ = ["export"]
