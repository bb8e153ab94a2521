"""Typed parameters: defaults, ranges, nesting, files, and one sentence for every mistake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from scal3r_ros.configuration import (
    from_parameters,
    parameter,
    parameters_of,
    read_parameter_file,
    read_settings,
    section,
    to_parameters,
)
from scal3r_ros.errors import ConfigurationError


@dataclass(frozen=True)
class Inner:
    """A part."""

    rate: float = parameter(2.0, "how often", unit="Hz", minimum=0.5, maximum=10.0)
    mode: str = parameter("slow", "how", choices=("slow", "fast"))


@dataclass(frozen=True)
class Outer:
    """The whole."""

    count: int = parameter(3, "how many", minimum=1, maximum=9)
    enabled: bool = parameter(True, "whether")
    name: str = parameter("", "what it is called")
    free: float = parameter(0.0, "anything")
    places: tuple[str, ...] = parameter(("",), "where")
    inner: Inner = section(Inner)
    plain: int = 7


def test_parameters_are_listed_in_order_with_dotted_names() -> None:
    infos = list(parameters_of(Outer))
    assert [info.name for info in infos] == [
        "count",
        "enabled",
        "name",
        "free",
        "places",
        "inner.rate",
        "inner.mode",
    ]
    rate = infos[5]
    assert (rate.kind, rate.default, rate.unit, rate.minimum, rate.maximum) == (float, 2.0, "Hz", 0.5, 10.0)
    assert infos[6].choices == ("slow", "fast")


def test_what_is_not_given_keeps_its_default() -> None:
    assert from_parameters(Outer, {}) == Outer()
    assert from_parameters(Outer, {"inner.rate": 5.0, "count": 9}) == Outer(count=9, inner=Inner(rate=5.0))


def test_names_and_values_come_back() -> None:
    config = Outer(count=2, enabled=False, name="x", places=("a", "b"), inner=Inner(9.5, "fast"))
    assert from_parameters(Outer, to_parameters(config)) == config


def test_settings_of_a_command_are_read_as_yaml_and_numbers_with_exponents_are_numbers() -> None:
    values = read_settings(["motor.gear=3", "name=a=b", "motor.flags=[x, y]"])
    assert values == {"motor.gear": 3, "name": "a=b", "motor.flags": ["x", "y"]}
    info = next(info for info in parameters_of(Outer) if info.name == "free")
    assert info.check(read_settings(["x=1e-1"])["x"]) == 0.1
    with pytest.raises(ConfigurationError, match="write --set name=value"):
        read_settings(["motor"])
    with pytest.raises(ConfigurationError, match="holds no value"):
        read_settings(["motor={"])


def test_a_list_of_strings_is_kept_as_a_tuple() -> None:
    assert from_parameters(Outer, {"places": ["a", "b"]}).places == ("a", "b")
    assert from_parameters(Outer, {"places": []}).places == ()


def test_a_whole_number_is_a_float_too() -> None:
    value = from_parameters(Outer, {"inner.rate": 5}).inner.rate
    assert isinstance(value, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count is 0, but it must lie in 1 … 9"),
        ({"count": 10}, "count is 10"),
        ({"count": 3.0}, "count is 3.0, but it must be of type int"),
        ({"count": True}, "must be of type int"),
        ({"count": "3"}, "must be of type int"),
        ({"count": None}, "must be of type int"),
        ({"enabled": 1}, "must be of type bool"),
        ({"free": True}, "must be of type float"),
        ({"free": float("nan")}, "free is nan"),
        ({"inner.rate": 0.4}, "0.5 … 10.0 Hz"),
        ({"inner.rate": [1.0]}, "must be of type float"),
        ({"inner.mode": "medium"}, "one of slow, fast"),
        ({"places": "a"}, "must be a list of strings"),
        ({"places": ["a", 1]}, "must be a list of strings"),
        ({"inner": 3}, "unknown parameter inner"),
        ({"rate": 3.0}, "unknown parameter rate; known ones are count, enabled, free"),
        ({"plain": 8}, "unknown parameter plain"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_parameter(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_parameters(Outer, values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parameter_file_is_flattened(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("/**:\n  ros__parameters:\n    count: 4\n    inner:\n      rate: 3.0\n      mode: fast\n")
    assert read_parameter_file(path) == {"count": 4, "inner.rate": 3.0, "inner.mode": "fast"}
    assert from_parameters(Outer, read_parameter_file(path)) == Outer(count=4, inner=Inner(3.0, "fast"))


def test_several_nodes_of_a_file_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("/**:\n  ros__parameters: {count: 4}\nmapper:\n  ros__parameters: {enabled: false}\n")
    assert read_parameter_file(path) == {"count": 4, "enabled": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no '/\\*\\*: ros__parameters:' section"),
        ("- 1\n- 2\n", "has no"),
        ("/**: 3\n", "'/\\*\\*' has no 'ros__parameters:' section"),
        ("/**:\n  count: 4\n", "has no 'ros__parameters:' section"),
        ("/**: [\n", "is no valid YAML in line 2"),
        (b"\xff\xfe\x00\x01", "is no valid YAML"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_parameter_file(path)
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_parameter_file(path)
