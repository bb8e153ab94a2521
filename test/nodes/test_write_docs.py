"""The docs list what the nodes have: they were written by scripts/write_docs.py as the code stands."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def write_docs() -> ModuleType:
    from pathlib import Path

    path = Path(__file__).parents[2] / "scripts" / "write_docs.py"
    specification = importlib.util.spec_from_file_location("write_docs", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_parameters_are_listed_as_declared(write_docs, project_root):
    assert (project_root / "docs" / "parameters.md").read_text() == write_docs.parameters_page()


def test_topics_services_and_frames_are_listed_as_they_are(write_docs, project_root, ros_environment):
    page = (project_root / "docs" / "ros.md").read_text()
    assert write_docs.filled(page, write_docs.interface()) == page


def test_a_topic_without_a_note_is_refused(write_docs, ros_environment, monkeypatch):
    monkeypatch.delitem(write_docs.OUTPUTS, "odometry")
    monkeypatch.setattr(write_docs, "DISCOVERY_S", 15.0)
    with pytest.raises(KeyError, match="odometry"):
        write_docs.interface()
