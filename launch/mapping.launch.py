"""Starts the mapper, and with it RViz and a bag where asked for.

ros2 launch scal3r_ros mapping.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch scal3r_ros mapping.launch.py bag:=drive rviz:=true profile:=driving
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PACKAGE = "scal3r_ros"

DRAIN_S = "90.0"
"""How long the mapper may map what it has received, and write its result, after the first SIGINT."""

ARGUMENTS = {
    "image": ("/camera/image", "topic of the images"),
    "camera_info": ("/camera/camera_info", "topic of the camera's calibration"),
    "image_transport": ("raw", "raw for sensor_msgs/Image, compressed for sensor_msgs/CompressedImage"),
    "profile": ("default", "parameters: default, driving or handheld of this package, or the path of a file"),
    "namespace": ("", "namespace of the nodes and their topics, for several robots"),
    "base_frame": ("base_link", "frame whose pose is published; /tf_static connects it with the camera"),
    "rviz": ("false", "start RViz"),
    "bag": ("", "rosbag2 to replay; empty where a camera is running"),
    "rate": ("1.0", "speed at which the bag is replayed"),
    "loop": ("false", "start the bag again at its end"),
    "use_sim_time": ("auto", "take the time from /clock: true, false, or auto for true with a bag"),
    "result_directory": ("", "folder that gets trajectory, map, timings and run at the end"),
}

OUTPUTS = ("odometry", "path", "points", "map")


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that come of them."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])


def make_nodes(context: LaunchContext) -> list[Node]:
    """The nodes for the arguments as given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    share = Path(get_package_share_directory(PACKAGE))
    sim_time = {"use_sim_time": _flag("use_sim_time", given, auto=bool(given["bag"]))}
    nodes = [_mapper(given, share, sim_time)]
    if given["bag"]:
        nodes.append(_player(given))
    if _flag("rviz", given):
        nodes.append(_rviz(given, share, sim_time))
    return nodes


def _mapper(given: dict[str, str], share: Path, sim_time: dict[str, bool]) -> Node:
    own = {name: given[name] for name in ("image_transport", "base_frame", "result_directory")}
    return Node(
        package=PACKAGE,
        executable="mapper",
        name="mapper",
        namespace=given["namespace"],
        output="screen",
        parameters=[*_parameter_files(given["profile"], share), own, sim_time],
        remappings=[("image", given["image"]), ("camera_info", given["camera_info"])],
        sigterm_timeout=DRAIN_S,
    )


def _player(given: dict[str, str]) -> Node:
    bag = {"bag": given["bag"], "rate": float(given["rate"]), "loop": _flag("loop", given), "clock": True}
    return Node(package=PACKAGE, executable="player", name="player", output="screen", parameters=[bag])


def _rviz(given: dict[str, str], share: Path, sim_time: dict[str, bool]) -> Node:
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=given["namespace"],
        arguments=["-d", str(share / "rviz" / "mapping.rviz")],
        parameters=[sim_time],
        remappings=[("/camera/image", given["image"]), *((f"/{name}", name) for name in OUTPUTS)],
    )


def _parameter_files(profile: str, share: Path) -> list[str]:
    """The file of defaults and, after it, that of the profile: it holds only the values that differ."""
    default = share / "config" / "default.yaml"
    own = share / "config" / f"{profile}.yaml"
    path = own if own.is_file() else Path(profile)
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in (share / "config").glob("*.yaml")))
        raise RuntimeError(f"argument profile is {profile!r}, which is neither a file nor one of {known}")
    return [str(file) for file in dict.fromkeys([default, path])]


def _flag(name: str, given: dict[str, str], auto: bool = False) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False, "auto": auto}
    if given[name].lower() not in known:
        raise RuntimeError(f"argument {name} is {given[name]!r}, but must be true or false")
    return known[given[name].lower()]
