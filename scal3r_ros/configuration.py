"""Typed configuration without ROS: frozen dataclasses whose fields carry unit, range and meaning.

Every component owns one dataclass of fields made by `parameter`. The ROS node declares the same names as parameters
with the descriptors found here, and the YAML files in `config/` hold them under `/**: ros__parameters:`, nested by
dots.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from scal3r_ros.errors import ConfigurationError

Value = bool | int | float | str | tuple[str, ...]
"""What a parameter may hold; a tuple stands for a list of strings."""
ConfigT = TypeVar("ConfigT")
_WITH_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter: its documentation, and what values are checked against; `minimum`/`maximum` are inclusive."""

    name: str
    kind: type
    default: Value
    doc: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]

    def check(self, value: object) -> Value:
        """`value` as `kind`, or `ConfigurationError` saying what was expected."""
        if self.kind is tuple:
            return self._strings(value)
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.kind is float and isinstance(value, str) and _WITH_EXPONENT.fullmatch(value):
            value = float(value)  # YAML takes 1e-3 for text
        if not isinstance(value, self.kind) or (self.kind is int and isinstance(value, bool)):
            raise ConfigurationError(
                f"parameter {self.name} is {value!r}, but it must be of type {self.kind.__name__} ({self.doc})"
            )
        if self.choices and value not in self.choices:
            raise ConfigurationError(
                f"parameter {self.name} is {value!r}, but it must be one of {', '.join(self.choices)}"
            )
        if isinstance(value, int | float) and not isinstance(value, bool):
            low = -float("inf") if self.minimum is None else self.minimum
            high = float("inf") if self.maximum is None else self.maximum
            if not low <= value <= high:  # also refuses NaN
                raise ConfigurationError(
                    f"parameter {self.name} is {value}, but it must lie in {low} … {high} {self.unit}".rstrip()
                )
        return typing.cast("Value", value)

    def _strings(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigurationError(
                f"parameter {self.name} is {value!r}, but it must be a list of strings ({self.doc})"
            )
        return tuple(value)


def parameter(
    default: Value,
    doc: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is also a parameter with a documented unit, range and meaning."""
    metadata = {"doc": doc, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def section(config: type) -> Any:
    """A field that holds another config dataclass; its parameters get the field's name and a dot before theirs."""
    return dataclasses.field(default_factory=config, metadata={"section": config})


def parameters_of(config: type, prefix: str = "") -> Iterator[ParameterInfo]:
    """Every parameter of a config dataclass, nested ones with dotted names, in order of definition."""
    kinds = typing.get_type_hints(config)
    for item in dataclasses.fields(config):
        name = prefix + item.name
        if "section" in item.metadata:
            yield from parameters_of(item.metadata["section"], name + ".")
        elif "doc" in item.metadata:
            kind = typing.get_origin(kinds[item.name]) or kinds[item.name]
            yield ParameterInfo(name, kind, item.default, **item.metadata)  # type: ignore[arg-type]


def from_parameters(config: type[ConfigT], values: Mapping[str, object]) -> ConfigT:
    """A config from dotted names; absent ones keep their default, wrong or unknown ones raise `ConfigurationError`."""
    known = {info.name: info for info in parameters_of(config)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigurationError(f"unknown parameter {unknown[0]}; known ones are {', '.join(sorted(known))}")
    checked = {name: known[name].check(value) for name, value in values.items()}
    return _build(config, checked, "")


def to_parameters(config: object, prefix: str = "") -> dict[str, Value]:
    """The dotted names and values of a config: the inverse of `from_parameters`."""
    values: dict[str, Value] = {}
    for item in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        if "section" in item.metadata:
            values |= to_parameters(value, prefix + item.name + ".")
        elif "doc" in item.metadata:
            values[prefix + item.name] = value
    return values


def read_settings(settings: Iterable[str]) -> dict[str, object]:
    """Values by dotted names of a command's `--set name=value`, the value as in YAML.

    Raises:
        ConfigurationError: one has no `=`, or no value.
    """
    values: dict[str, object] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise ConfigurationError(f"--set {setting} has no '='; write --set name=value")
        try:
            values[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(f"--set {setting} holds no value; write --set name=value") from error
    return values


def read_parameter_file(path: Path) -> dict[str, object]:
    """Dotted names and values of a ROS parameter file (`/**: ros__parameters: …`).

    Raises:
        ConfigurationError: the file is missing, no YAML, or not of that form.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"parameter file {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise ConfigurationError(f"parameter file {path} is no valid YAML{where}") from error
    values: dict[str, object] = {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"parameter file {path} has no '/**: ros__parameters:' section")
    for node, body in content.items():
        if not isinstance(body, dict) or not isinstance(body.get("ros__parameters"), dict):
            raise ConfigurationError(f"parameter file {path}: '{node}' has no 'ros__parameters:' section")
        values |= _flatten(body["ros__parameters"], "")
    return values


def _build(config: type[ConfigT], values: Mapping[str, Value], prefix: str) -> ConfigT:
    chosen: dict[str, Any] = {}
    for item in dataclasses.fields(config):  # type: ignore[arg-type]
        name = prefix + item.name
        if "section" in item.metadata:
            chosen[item.name] = _build(item.metadata["section"], values, name + ".")
        elif name in values:
            chosen[item.name] = values[name]
    return config(**chosen)


def _flatten(tree: Mapping[str, object], prefix: str) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
