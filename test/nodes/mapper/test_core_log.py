"""Notices of the core in the node's log."""

from __future__ import annotations

import logging

import pytest

from scal3r_ros.nodes.mapper.core_log import forward_core_log


class Recorder:
    """Keeps what it is told, by level."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def info(self, message: str) -> None:
        self.heard.append(("info", message))

    def warning(self, message: str) -> None:
        self.heard.append(("warning", message))

    def error(self, message: str) -> None:
        self.heard.append(("error", message))


@pytest.fixture
def recorder():
    core, recorder = logging.getLogger("scal3r_ros"), Recorder()
    level, handler = core.level, forward_core_log(recorder)
    yield recorder
    core.removeHandler(handler)
    core.setLevel(level)


def test_every_level_arrives_as_itself_and_debugging_does_not(recorder):
    log = logging.getLogger("scal3r_ros.sync.peers.registry")
    log.debug("not this")
    log.info("peer %s joined", "b")
    log.warning("peer b is lost")
    log.error("peer c is refused")
    assert recorder.heard == [
        ("info", "peer b joined"),
        ("warning", "peer b is lost"),
        ("error", "peer c is refused"),
    ]


def test_other_libraries_keep_their_own_log(recorder):
    logging.getLogger("torch").warning("of no concern")
    assert recorder.heard == []
