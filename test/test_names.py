"""Names that this project gave up do not come back: each has one in the field's own terms, in docs/glossary.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READ = ("scal3r_ros", "docs", "config", "launch", "README.md")
GIVEN_UP = {
    "errands?": "background task",
    "evidence": "accumulated gradient",
    "can not": "cannot",
    "disagreements?": "Mahalanobis distance, residual",
    "spill(ed|s)?": "offload",
    "reunions?": "joint refinement",
    "look again": "joint refinement",
    "seen twice": "correspondences",
    "camera side": "frontend",
    "StampGate": "TimestampFilter",
    "NewestWins": "DropOldestQueue",
    "SteadyCorrection": "RateLimitedTransform",
    "WholeFiles?": "atomic write",
    "released_names": "state_dict_adapter",
    "catalogue": "model zoo",
    "truths": "ground truth",
    "way_m": "distance_travelled",
    r"figures\(": "metrics(",
    "shared_depth_frames": "overlap_depth_frames",
    "chunks_unmeasured": "chunks_failed",
    "submaps_to_be_found": "submaps_unlocalized",
    "loops_implausible": "loops_gated",
    "loops_unconfirmed": "loops_pending",
    "reset_on_time_jump(?!_s)": "reset_on_time_jump_s",
}
"""Expression of the name that was given up, and what stands for it. CHANGELOG.md names the old ones: it is not read."""


def sources() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *READ], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    return [ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in (".py", ".md", ".yaml")]


@pytest.mark.parametrize("name", GIVEN_UP)
def test_a_name_that_was_given_up_does_not_come_back(name: str) -> None:
    expression = re.compile(rf"(?<![A-Za-z]){name}(?![a-z])")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources()
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if expression.search(line)
    ]
    assert not found, f"write {GIVEN_UP[name]}"
