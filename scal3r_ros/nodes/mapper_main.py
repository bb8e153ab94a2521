"""Runs the node `mapper` until SIGINT or SIGTERM."""

from __future__ import annotations

import sys

from scal3r_ros.nodes.assembly import MapperNodeConfig, build_mapper
from scal3r_ros.nodes.mapper_node import MapperNode
from scal3r_ros.nodes.process import run_node


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 after a signal, 1 where the node could not be made.

    A second signal ends a drain that the first began.
    """
    return run_node(lambda: MapperNode(MapperNodeConfig, build_mapper), arguments)


if __name__ == "__main__":
    sys.exit(main())
