"""The mapper under images, calibrations and stamps that no camera should send: it answers, and writes a result."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    return importlib.import_module("fuzz")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_leaves_the_mapper_but_answers(fuzzing: ModuleType, tmp_path: Path, seed: int) -> None:
    found = fuzzing.fuzz(seed, tmp_path, 350)
    assert dict(found.faults) == {}
    assert found.frames == 350
    assert sum(found.healths.values()) >= 1  # images that nothing connects to others are in no chunk
    assert (tmp_path / "result" / "run.yaml").is_file()
    assert abs(found.growth_mb()) < 100
