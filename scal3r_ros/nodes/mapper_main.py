"""Runs the node `mapper` until SIGINT or SIGTERM."""

from __future__ import annotations

import sys

from scal3r_ros.nodes.process import RunnableNode, run_node


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 after a signal, 1 where the node could not be made.

    A second signal ends a drain that the first began.
    """
    return run_node(_make, arguments)


def _make() -> RunnableNode:
    # Imported here because they take seconds, in which a signal already has to end the process quietly.
    from scal3r_ros.assembly import build_mapper
    from scal3r_ros.nodes.core_log import forward_core_log
    from scal3r_ros.nodes.mapper_config import MapperNodeConfig
    from scal3r_ros.nodes.mapper_node import MapperNode

    node: MapperNode[MapperNodeConfig] = MapperNode(
        MapperNodeConfig, lambda config: build_mapper(config, node.get_fully_qualified_name())
    )
    forward_core_log(node.get_logger())
    return node


if __name__ == "__main__":
    sys.exit(main())
