#!/usr/bin/env python3
"""Writes down what users and other programs hold on to: public_interface.py [FILE].

Parameters, topics, services, launch arguments, the command's options and the files of a result, as they are now. A test
compares them with test/public_interface.yaml: whoever changes one on purpose runs this script and names the change in
CHANGELOG.md.
"""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from scal3r_ros.assembly import build_mapper
from scal3r_ros.cli.main import COMMANDS, imported
from scal3r_ros.configuration import parameters_of
from scal3r_ros.io.results import layout
from scal3r_ros.nodes.mapper.config import MapperNodeConfig
from scal3r_ros.nodes.mapper.node import MapperNode
from scal3r_ros.nodes.player.node import PlayerConfig
from scal3r_ros.nodes.viewer.node import ViewerConfig

ROOT = Path(__file__).resolve().parents[1]
OWN_TO_ROS = ("/rosout", "/parameter_events", "transition_event")
OWN_SERVICES = ("_parameters", "/get_", "change_state")


def main() -> None:
    """Writes the file."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "test" / "public_interface.yaml"
    heading = (
        "# Written by scripts/public_interface.py. Who changes it changes what users hold on to: see CHANGELOG.md.\n"
    )
    content = yaml.safe_dump(collect(), sort_keys=False, width=110, allow_unicode=True)
    target.write_text(heading + content, encoding="utf-8")


def collect() -> dict[str, Any]:
    """Everything public, by kind."""
    return {
        "parameters": {
            "mapper": parameters(MapperNodeConfig),
            "player": parameters(PlayerConfig),
            "viewer": parameters(ViewerConfig),
        },
        **topics_and_services(),
        "launch_arguments": {
            path.name: launch_arguments(path) for path in sorted((ROOT / "launch").glob("*.launch.py"))
        },
        "command": command_options(),
        "result_files": [*layout.FILES, layout.depth_file(0)],
        "timings_columns": [*layout.TIMINGS_COLUMNS, layout.RSS_COLUMN],
    }


def parameters(config: type) -> dict[str, str]:
    """Type, default and choices by name."""
    found = {}
    for info in parameters_of(config):
        default = list(info.default) if isinstance(info.default, tuple) else info.default
        choices = f", one of {', '.join(info.choices)}" if info.choices else ""
        found[info.name] = f"{info.kind.__name__}, default {default!r}{choices}"
    return found


def topics_and_services() -> dict[str, dict[str, str]]:
    """What the mapper publishes, hears and answers once it is active, by name as in its code."""
    context = Context()
    rclpy.init(context=context, domain_id=None)
    node: MapperNode[MapperNodeConfig] = MapperNode(
        MapperNodeConfig, lambda config: build_mapper(config, "public_interface"), context=context
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        node.start()
        kinds = {
            "publishes": {item.topic_name: _name(item.msg_type) for item in node.publishers},
            "hears": {item.topic_name: _name(item.msg_type) for item in node.subscriptions},
            "answers": {item.srv_name: _name(item.srv_type) for item in node.services},
        }
    finally:
        node.finish()
        node.destroy_node()
        rclpy.shutdown(context=context)
    hidden = (*OWN_TO_ROS, *OWN_SERVICES)
    return {
        kind: {name: names[name] for name in sorted(names) if not any(part in name for part in hidden)}
        for kind, names in kinds.items()
    }


def launch_arguments(path: Path) -> dict[str, dict[str, str]]:
    """Default by name: the literals named ARGUMENTS of a launch file, read without launch, which may not be here."""
    found = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name.startswith("ARGUMENTS"):
                arguments = ast.literal_eval(statement.value)
                found[name.lower()] = {argument: default for argument, (default, _) in arguments.items()}
    return found


def command_options() -> dict[str, dict[str, str]]:
    """Arguments and options of each subcommand, with their type and default."""
    found = {}
    for command in COMMANDS:
        function = imported(command).callback
        kinds = typing.get_type_hints(function, include_extras=True)
        options = {}
        for name, item in inspect.signature(function).parameters.items():
            kind, declared = typing.get_args(kinds[name])[:2]
            written = " ".join(getattr(declared, "param_decls", None) or ())
            is_argument = type(declared).__name__ == "ArgumentInfo"
            label = name.upper() if is_argument else written or f"--{name.replace('_', '-')}"
            default = "" if item.default is inspect.Parameter.empty else f", default {_plain(item.default)!r}"
            options[label] = f"{_type(kind)}{default}"
        found[command] = options
    return dict(sorted(found.items()))


def _type(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "").replace("pathlib.", "")


def _plain(default: Any) -> Any:
    return default if isinstance(default, bool | int | float | str) or default is None else str(default)


def _name(kind: Any) -> str:
    return f"{kind.__module__.split('.')[0]}/{kind.__name__}"


if __name__ == "__main__":
    main()
