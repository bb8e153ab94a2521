#!/usr/bin/env python3
"""Writes the parameter files in config/ from the config dataclasses: write_config.py [FOLDER].

`default.yaml` holds every parameter. The other profiles hold only the values in which they differ: load them after it.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scal3r_ros.configuration import ParameterInfo, Value, from_parameters, parameters_of, to_parameters
from scal3r_ros.nodes.mapper.config import MapperNodeConfig


@dataclass(frozen=True)
class Profile:
    """A parameter file: `purpose` opens it, `changes` are the parameters in which it differs from the defaults."""

    purpose: str
    changes: Mapping[str, Value] = field(default_factory=dict)


DEFAULT = "default"
PROFILES = {
    DEFAULT: Profile("The defaults of every parameter: a starting point for a camera that no other profile fits."),
    "driving": Profile(
        "A camera on a car or another vehicle that drives through streets.",
        {
            "initial_median_depth_m": 12.0,
            "map.voxel_size": 0.2,
            "tracker.klt.anchor": 9,
            "geometric.lag.radial_sigma": 0.02,
            "geometric.sweep.min_parallax_deg": 3.5,
        },
    ),
    "handheld": Profile(
        "A camera carried by hand through rooms.",
        {
            "initial_median_depth_m": 2.0,
            "map.voxel_size": 0.02,
            "geometric.lag.readout_s": 0.02,
            "geometric.lag.readout_sigma_s": 0.01,
            "window.max_turn": 0.1,
            "window.min_common": 0.7,
            "tracker.revisits": 30,
        },
    ),
}


def render(name: str) -> str:
    """The parameter file of a profile; raises ConfigurationError where a value of the profile is wrong."""
    profile = PROFILES[name]
    values = to_parameters(from_parameters(MapperNodeConfig, profile.changes))
    contents = (
        "Written by scripts/write_config.py; every parameter with meaning, range and unit."
        if name == DEFAULT
        else "Written by scripts/write_config.py; only what differs from default.yaml, which holds the rest."
    )
    lines = [*_comment(profile.purpose, ""), *_comment(contents, "")]
    lines += ["", "/**:", "  ros__parameters:"]
    section: tuple[str, ...] = ()
    for info in parameters_of(MapperNodeConfig):
        if name != DEFAULT and info.name not in profile.changes:
            continue
        *parents, last = info.name.split(".")
        common = _common(section, tuple(parents))
        lines += ["  " * (2 + depth) + f"{parents[depth]}:" for depth in range(common, len(parents))]
        section = tuple(parents)
        indent = "  " * (2 + len(parents))
        lines += _comment(_meaning(info), indent)
        lines.append(f"{indent}{last}: {_yaml(values[info.name])}")
    return "\n".join(lines) + "\n"


def _yaml(value: Value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # YAML takes 1e-05 for a string, and 1.0e-05 for a number.
    return text.replace("e", ".0e", 1) if isinstance(value, float) and "e" in text and "." not in text else text


def _meaning(info: ParameterInfo) -> str:
    meaning = info.doc
    if info.choices:
        meaning += f" [{' | '.join(info.choices)}]"
    elif info.minimum is not None or info.maximum is not None:
        low = "-∞" if info.minimum is None else f"{info.minimum:.12g}"
        high = "∞" if info.maximum is None else f"{info.maximum:.12g}"
        meaning += f" [{low} … {high}{' ' + info.unit if info.unit else ''}]"
    elif info.unit:
        meaning += f" [{info.unit}]"
    return meaning


def _comment(text: str, indent: str) -> list[str]:
    text, bracket, bounds = text.partition(" [")
    kept_whole = text + (bracket + bounds).replace(" ", "\0").replace("\0", " ", 1)
    lines = textwrap.wrap(kept_whole, 120, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    return [line.replace("\0", " ") for line in lines]


def _common(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def main() -> None:
    """Writes the file of every profile."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "config"
    for name in PROFILES:
        (folder / f"{name}.yaml").write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    main()
