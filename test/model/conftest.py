"""The reference numbers of the released code, and a network with the parameters they were computed with."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from scal3r_ros.model import Scal3R
from scal3r_ros.model.weights.presets import REFERENCE_SMALL
from scal3r_ros.model.weights.state_dict_adapter import to_scal3r

_REFERENCE = Path(__file__).parents[3] / "shared" / "reference"


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    if not _REFERENCE.is_dir():
        pytest.skip("the reference numbers of the released code are not beside this project")
    return _REFERENCE


@pytest.fixture(scope="session")
def reference(reference_folder) -> Mapping[str, np.ndarray]:
    return np.load(reference_folder / "scal3r_small.npz")


@pytest.fixture(scope="session")
def released_parameters(reference_folder) -> dict[str, torch.Tensor]:
    """A checkpoint with the released names for the preset `reference_small`."""
    spec = importlib.util.spec_from_file_location("deterministic", reference_folder / "deterministic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.device("meta"):
        shapes = {
            to_scal3r(n, REFERENCE_SMALL): tuple(t.shape) for n, t in Scal3R(REFERENCE_SMALL).state_dict().items()
        }
    return {name: torch.from_numpy(module.parameter(name, shape)).float() for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def reference_chunks(reference) -> list[torch.Tensor]:
    """Images (S, 3, h, w) of the two chunks."""
    return [torch.from_numpy(reference[f"chunk{i}/images"]).permute(0, 3, 1, 2) for i in range(2)]
