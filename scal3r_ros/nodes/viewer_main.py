"""Runs the node `viewer` until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 after a signal, 1 where the page cannot be served."""
    # Until there is a node to finish, a signal just ends the process, also while all that follows is imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from scal3r_ros.nodes.ros.process import run_node
    from scal3r_ros.nodes.viewer.node import ViewerNode

    return run_node(ViewerNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
