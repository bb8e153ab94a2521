"""What the documentation tells a reader to type runs, and what it points to exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from scal3r_ros.assembly import CoreConfig
from scal3r_ros.cli.main import COMMANDS, imported
from scal3r_ros.configuration import to_parameters
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole, simulate

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "scal3r_ros/weights/MODEL_CARD.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("benchmarks", "config", "docs", "launch", "requirements", "rviz", "scripts", "test")


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `scal3r …` command of a page, in code blocks and between backticks."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^(?: {4})?(scal3r .*)$", text, re.MULTILINE) + re.findall(r"`(scal3r [^`]*)`", text):
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["scal3r"] and len(words) > 1 and words[1].isidentifier():
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_docs_have_only_options_and_parameters_that_exist(page: Path) -> None:
    parameters = set(to_parameters(CoreConfig()))
    for words in commands(page):
        assert words[0] in COMMANDS, words
        known = {name for option in imported(words[0]).params for name in option.opts}
        given = [word for word in words[1:] if re.fullmatch(r"-\w|--[\w-]+", word)]
        assert set(given) <= known, words
        if words[0] == "replay":
            settings = [value for word, value in pairwise(words) if word == "--set"]
            assert {setting.split("=")[0] for setting in settings} <= parameters | {"name"}, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_docs_name_exist(page: Path) -> None:
    """Paths between backticks, from the root of the repository or of the package."""
    named = re.findall(r"`([\w./]+/[\w.]*(?:\.(?:py|sh|yaml|txt|xml|rviz)|/))`", page.read_text(encoding="utf-8"))
    inside = {path.name for path in (ROOT / "scal3r_ros").iterdir() if path.is_dir()}
    ours = [name for name in named if name.split("/")[0] in {*FOLDERS, *inside, "scal3r_ros"}]
    missing = [name for name in ours if not ((ROOT / name).exists() or (ROOT / "scal3r_ros" / name).exists())]
    assert not missing


def test_the_snippet_of_the_readme_runs(tmp_path: Path) -> None:
    """On a short street under the name that the snippet reads."""
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    simulate(street_drive(32.0, 8.0, 10.0, seed=1), tmp_path / "street", pinhole(320, 96, 83.0), seed=1)
    script = snippet + "print(len(trajectory), 'poses', len(cloud.points), 'points')\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "and a submap" in done.stdout
    poses, points = map(int, re.findall(r"\d+", done.stdout.splitlines()[-1]))
    assert poses >= 15
    assert points > 1000
