"""What the core has to say on its own account, as for memory peers that come and go, goes to the node's log."""

from __future__ import annotations

import logging
from typing import Protocol


class NodeLogger(Protocol):
    """What a logger of rclpy takes."""

    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...


class _ToNode(logging.Handler):
    def __init__(self, logger: NodeLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Hands the record on; rclpy ties a level to the line it is called from, hence a line for each."""
        sentence = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(sentence)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(sentence)
        else:
            self._logger.info(sentence)


def forward_core_log(logger: NodeLogger) -> logging.Handler:
    """Sends the notices of this package's core to `logger` from now on, from any thread; gives what does so."""
    core = logging.getLogger("scal3r_ros")
    handler = _ToNode(logger)
    core.addHandler(handler)
    core.setLevel(logging.INFO)
    return handler
