"""The mapper under images, calibrations and stamps that no camera should send: it answers, and writes a result."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    specification = importlib.util.spec_from_file_location("fuzzing", ROOT / "benchmarks" / "fuzz.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # where dataclasses look up their own module
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_leaves_the_mapper_but_answers(fuzzing: ModuleType, tmp_path: Path, seed: int) -> None:
    found = fuzzing.fuzz(seed, tmp_path, 350)
    assert dict(found.faults) == {}
    assert found.frames == 350
    assert sum(found.healths.values()) >= 10
    assert (tmp_path / "result" / "run.yaml").is_file()
    assert abs(found.growth_mb()) < 100
