"""Runs the node `player` until the end of its bag, or SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 at the end of the bag or after a signal, 1 where the bag cannot be played to its end."""
    # Until there is a node to finish, a signal just ends the process, also while all that follows is imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from scal3r_ros.nodes.player.node import PlayerNode
    from scal3r_ros.nodes.ros.process import run_node

    return run_node(PlayerNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
