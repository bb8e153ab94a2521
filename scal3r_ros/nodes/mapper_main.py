"""Runs the node `mapper` until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scal3r_ros.nodes.ros.process import RunnableNode


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 after a signal, 1 where the node could not be made.

    A second signal ends a drain that the first began.
    """
    # Until there is a node to finish, a signal just ends the process, also while all that follows is imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from scal3r_ros.nodes.ros.process import run_node

    return run_node(_make, arguments)


def _make() -> RunnableNode:
    from scal3r_ros.assembly import build_mapper
    from scal3r_ros.nodes.mapper.config import MapperNodeConfig
    from scal3r_ros.nodes.mapper.core_log import forward_core_log
    from scal3r_ros.nodes.mapper.node import MapperNode
    from scal3r_ros.reconstruction.process.child import SWITCH_INTERVAL_S

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    node: MapperNode[MapperNodeConfig] = MapperNode(
        MapperNodeConfig,
        lambda config: build_mapper(config, node.get_fully_qualified_name(), config.separate_process),
    )
    forward_core_log(node.get_logger())
    return node


if __name__ == "__main__":
    sys.exit(main())
