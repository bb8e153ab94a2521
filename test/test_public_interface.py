"""Parameters, topics, services, options and files change on purpose only: public_interface.yaml is what they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")

ROOT = Path(__file__).resolve().parents[1]


def flattened(content: object, name: str = "") -> dict[str, object]:
    if not isinstance(content, dict):
        return {name: content}
    return {key: value for part, below in content.items() for key, value in flattened(below, f"{name}/{part}").items()}


@pytest.mark.ros
def test_nothing_public_changed_unnoticed(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "public_interface.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "now.yaml"], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    now = flattened(yaml.safe_load((tmp_path / "now.yaml").read_text(encoding="utf-8")))
    before = flattened(yaml.safe_load((ROOT / "test" / "public_interface.yaml").read_text(encoding="utf-8")))
    changed = {name: (before.get(name), now.get(name)) for name in before | now if before.get(name) != now.get(name)}
    assert not changed, "run scripts/public_interface.py, and name the change in CHANGELOG.md"
