"""Weights bundled with the package, `weights/<preset>.safetensors`, and the card that describes them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

BUNDLED_LICENCE = "Apache-2.0"


def bundled_weights(preset: str) -> Path | None:
    """The file with the weights for the preset of that name; None where the package has none."""
    return all_bundled_weights().get(preset)


def all_bundled_weights() -> dict[str, Path]:
    """The files of all bundled weights, by preset."""
    return {file.stem: file for file in sorted(_folder().glob("*.safetensors"))}


def model_card() -> Path | None:
    """What the weights were trained on, how good they are and what they are not for; None where there is no card."""
    file = _folder() / "MODEL_CARD.md"
    return file if file.is_file() else None


def _folder() -> Path:
    return Path(str(resources.files("scal3r_ros"))) / "weights"
