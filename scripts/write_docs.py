#!/usr/bin/env python3
"""Writes what the docs list of the nodes, from the nodes themselves: write_docs.py [FOLDER].

Topics, types and services are those of a node that runs, parameters those that it declares; only the notes stand here.
"""

from __future__ import annotations

import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import rclpy
from rclpy.parameter import Parameter

from scal3r_ros.assembly import build_mapper
from scal3r_ros.configuration import ParameterInfo, parameters_of
from scal3r_ros.nodes.mapper.config import MapperNodeConfig
from scal3r_ros.nodes.mapper.node import MapperNode
from scal3r_ros.nodes.player.node import PlayerConfig
from scal3r_ros.nodes.ros.parameters import AT_ONCE

INPUTS = {
    "image": "mono8, rgb8, bgr8, rgba8, bgra8, Bayer, YUV 4:2:2, NV12, NV21, 16-bit; any other encoding is dropped, "
    "counted and logged once. With `image_transport: compressed`, sensor_msgs/msg/CompressedImage on "
    "`image/compressed`",
    "camera_info": "distortion is removed; without it the network estimates the intrinsics itself",
    "/tf_static": "base ← camera optical frame; where it is absent, one warning, and the camera counts as the base "
    "until it comes",
    "wheel_odometry": "optional: [metres](scale.md) by the distance that the wheels measured; best effort",
    "imu": "optional: which way is up, and metres where speed changes enough; needs its mount in /tf_static; "
    "best effort",
    "fix": "optional: metres, and where `map` lies on earth; best effort",
}
OUTPUTS = {
    "/tf": "`odom → base_frame` for every frame, with the stamp of its image; `map → odom` from the first image on and "
    "at 10 Hz, identity until known",
    "odometry": "every frame: pose in `odom` and twist in the base frame, with covariances",
    "path": "in `map`: whole with every [submap](glossary.md#submap) and every loop, and extended at 5 Hz between; "
    "at most `output.path_max_poses`; transient local",
    "points": "in `map`, xyz, rgb, confidence in 0..1 and submap: new points of the newest submap, once per "
    "[chunk](glossary.md#chunk)",
    "map": "in `map`, with the fields of `points`: the complete voxel-filtered map, decimated to "
    "`output.map_byte_budget`, at most `output.map_rate`; transient local. After `~/load_map` it holds this drive "
    "only, until the camera is found in the loaded map",
    "loop_closures": "in `map`: lines between the places that loops connect; transient local",
    "occupancy": "in `map`: where the ground is free, occupied or unknown ([navigation](navigation.md)), at the height "
    "of the ground; with new submaps and corrections, at most `output.map_rate`; transient local. Nothing before the "
    "map is in metres and the ground or gravity is known",
    "occupancy_local": "in `odom`: the same within `output.local_size_m` around the robot, once per chunk; transient "
    "local",
    "points_local": "in `odom`: what the newest submap saw, one point per `output.local_voxel_m`, once per chunk where "
    "the map is in metres",
    "scale": "metres in a unit of `odom`, when they become known and when they change: 1 but for corrections that "
    "`odom` has not taken over yet. Nothing while they are unknown, NaN where a reset makes them unknown again; "
    "transient local",
    "/diagnostics": "at 1 Hz: lag, rates, drops and their reasons, queues, RAM, submaps, last loop, scale with its "
    "sigma, sources and conflicts",
}
SERVICES = {
    "~/reset": "forgets the map",
    "~/pause": "ignores images, or takes them again",
    "~/resume": "takes them again",
    "~/save_map": "saves the map into the folder of the parameter `map_directory`, and answers when it is on disk: "
    "[saved maps](maps.md)",
    "~/load_map": "starts anew with the map in that folder, and continues it once the camera is "
    "[relocalized](glossary.md#relocalization) in it",
}
FRAMES = {
    "map_frame": "fixed; corrected by loops",
    "odom_frame": "its child: in it the pose is continuous, and drifts",
    "base_frame": "its child: the robot",
    "camera_frame": "the optical frame of the camera, which /tf_static connects with the base; empty takes the "
    "`frame_id` of the images",
}
INTERNAL = ("/rosout", "/parameter_events", "~/transition_event")


DISCOVERY_S = 60.0
"""How long a node may take to see its own topics in the graph: it learns of them in the background."""


def interface() -> dict[str, str]:
    """The tables of topics, services and frames by their name in the docs.

    Raises:
        KeyError: a topic or service has no note here, or a note has no topic or service.
    """
    context = rclpy.Context()
    # A name that no other node has or had: the graph would answer for that one, even where it has ended.
    name = f"mapper_{uuid.uuid4().hex}"
    rclpy.init(args=["--ros-args", "-r", f"__node:={name}"], context=context)
    node = MapperNode(
        MapperNodeConfig, build_mapper, context=context, parameter_overrides=[Parameter("autostart", value=True)]
    )
    try:
        node.start()
        own = (name, "/")
        return {
            "inputs": _table("in", INPUTS, lambda: node.get_subscriber_names_and_types_by_node(*own)),
            "outputs": _table("out", OUTPUTS, lambda: node.get_publisher_names_and_types_by_node(*own)),
            "services": _table(
                "service",
                SERVICES,
                lambda: [
                    (name, kinds)
                    for name, kinds in node.get_service_names_and_types_by_node(*own)
                    if kinds[0].startswith("std_srvs/")
                ],
            ),
            "frames": _frames(),
        }
    finally:
        node.finish()
        node.destroy_node()
        context.try_shutdown()


def parameters_page() -> str:
    """The page of all parameters of both nodes."""
    lines = [
        "# Parameters",
        "",
        "Written by `scripts/write_docs.py`. *At once*: takes effect whenever it is set. All others take effect when",
        "the node is configured, and are refused on a configured node.",
        "",
        "## Node `mapper`",
        "",
        *_parameter_table(parameters_of(MapperNodeConfig), AT_ONCE),
        "",
        "## Node `player`",
        "",
        *_parameter_table(parameters_of(PlayerConfig), ()),
    ]
    return "\n".join(lines) + "\n"


def filled(page: str, tables: dict[str, str]) -> str:
    """A page with the tables between their marks."""
    for name, table in tables.items():
        mark = f"<!-- {name}: written by scripts/write_docs.py -->\n"
        pattern = re.escape(mark) + r".*?<!-- end -->\n"
        if not re.search(pattern, page, flags=re.DOTALL):
            raise KeyError(f"the page has no place for the table {name}")
        page = re.sub(pattern, lambda _, block=f"{mark}{table}<!-- end -->\n": block, page, flags=re.DOTALL)
    return page


def _types(found: Iterable[tuple[str, list[str]]]) -> dict[str, str]:
    absolute = ("/tf", "/tf_static", "/diagnostics")
    types = {}
    for name, kinds in found:
        relative = name if name in absolute else re.sub(r"^/", "", re.sub(r"^/mapper_[0-9a-f]{32}/", "~/", name))
        if name not in INTERNAL and relative not in INTERNAL:
            types[relative] = ", ".join(kinds)
    return types


def _table(head: str, notes: dict[str, str], find: Callable[[], Iterable[tuple[str, list[str]]]]) -> str:
    deadline = time.monotonic() + DISCOVERY_S
    while set(types := _types(find())) != set(notes) and time.monotonic() < deadline:
        time.sleep(0.05)
    if set(types) != set(notes):
        raise KeyError(f"topics or services without a note, or notes without one: {set(types) ^ set(notes)}")
    rows = [f"| {number} | `{name}` | {types[name]} | {notes[name]} |" for number, name in enumerate(notes, 1)]
    return "\n".join([f"| # | {head} | type | note |", "|---|---|---|---|", *rows]) + "\n"


def _frames() -> str:
    defaults = {info.name: info.default for info in parameters_of(MapperNodeConfig) if info.name in FRAMES}
    rows = [
        f"| {number} | {f'`{defaults[name]}`' if defaults[name] else 'from the images'} | `{name}` | {note} |"
        for number, (name, note) in enumerate(FRAMES.items(), 1)
    ]
    return "\n".join(["| # | frame | parameter | note |", "|---|---|---|---|", *rows]) + "\n"


def _parameter_table(infos: Iterable[ParameterInfo], at_once: Iterable[str]) -> list[str]:
    rows = ["| # | parameter | default | range | effect | meaning |", "|---|---|---|---|---|---|"]
    for number, info in enumerate(infos, 1):
        effect = "at once" if info.name in at_once else ""
        default = f"`{info.default}`" if info.default not in ("", ("",)) else ""
        meaning = info.doc.replace("|", "\\|")
        rows.append(f"| {number} | `{info.name}` | {default} | {_range(info)} | {effect} | {meaning} |")
    return rows


def _range(info: ParameterInfo) -> str:
    if info.choices:
        return ", ".join(info.choices)
    bounds = ""
    if info.minimum is not None or info.maximum is not None:
        low = "-∞" if info.minimum is None else f"{info.minimum:.12g}"
        high = "∞" if info.maximum is None else f"{info.maximum:.12g}"
        bounds = f"{low} … {high}"
    return f"{bounds} {info.unit}".strip()


def main() -> None:
    """Writes both pages."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs"
    (folder / "ros.md").write_text(filled((folder / "ros.md").read_text(), interface()))
    (folder / "parameters.md").write_text(parameters_page())


if __name__ == "__main__":
    main()
