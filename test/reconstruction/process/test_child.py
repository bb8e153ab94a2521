"""How processes that work for this one are started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scal3r_ros.reconstruction.process.child import SWITCH_INTERVAL_S, start_child


def test_no_thread_of_a_child_keeps_the_interpreter_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, sys\ndef main(handle):\n    os.write(handle, str(sys.getswitchinterval()).encode())\n"
    (tmp_path / "reports_its_interval.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    ours, theirs = os.pipe()
    child = start_child("reports_its_interval", [theirs])
    os.close(theirs)
    with os.fdopen(ours) as answer:
        assert float(answer.read()) == pytest.approx(SWITCH_INTERVAL_S)
    assert child.wait(30) == 0
