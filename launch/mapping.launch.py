r"""Starts the mapper, and with it RViz and a bag where asked for.

ros2 launch scal3r_ros mapping.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch scal3r_ros mapping.launch.py bag:=drive rviz:=true profile:=driving
ros2 launch scal3r_ros mapping.launch.py namespace:=car1 map_frame:=car1/map odom_frame:=car1/odom \
    base_frame:=car1/base_link
"""

import sys
import tempfile
from pathlib import Path

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

sys.path.insert(0, str(Path(__file__).parent))
from scal3r_launch_arguments import DRAIN_S, flag, number, parameter_files

PACKAGE = "scal3r_ros"

ARGUMENTS = {
    "image": ("camera/image", "topic of the images, without /compressed; a relative name lies in the namespace"),
    "camera_info": ("camera/camera_info", "topic of the camera's calibration; a relative name lies in the namespace"),
    "wheel_odometry": ("wheel_odometry", "topic of nav_msgs/Odometry by wheels, where there is one: metres by it"),
    "imu": ("imu", "topic of sensor_msgs/Imu, where there is one: which way is up, and metres in lively motion"),
    "fix": ("fix", "topic of sensor_msgs/NavSatFix, where there is one: metres, and the place on earth"),
    "camera_height": ("", "metres from the camera down to the ground it travels on; empty leaves it to the profile"),
    "earth_frame": ("", "frame east, north and up of the first fix, the parent of the map on /tf_static; empty: none"),
    "image_transport": ("raw", "raw for sensor_msgs/Image, compressed for CompressedImage on <image>/compressed"),
    "profile": ("default", "parameters: default, driving or handheld of this package, or the path of a file"),
    "namespace": ("", "namespace of the nodes and their topics, for several robots"),
    "base_frame": ("base_link", "frame whose pose is published; /tf_static connects it with the camera"),
    "odom_frame": ("odom", "frame in which the pose is continuous"),
    "map_frame": ("map", "frame of the map"),
    "publish_tf": (
        "true",
        "publish odom → base and map → odom on /tf; false leaves that to another node",
    ),
    "rviz": ("false", "start RViz"),
    "view": ("false", "show the map in the browser"),
    "view_host": ("127.0.0.1", "address of that page; 0.0.0.0 lets everyone on the network see the map"),
    "view_port": ("8080", "port of that page; the next free one where it is taken"),
    "bag": ("", "rosbag2 to replay; empty where a camera is running"),
    "rate": ("1.0", "speed at which the bag is replayed"),
    "loop": ("false", "start the bag again at its end"),
    "use_sim_time": ("auto", "take the time from /clock: true, false, or auto for true with a bag"),
    "result_directory": ("", "folder that gets trajectory, map, timings and run at the end"),
    "autostart": ("true", "configure and activate at start; false leaves that to a lifecycle manager"),
    "respawn": ("false", "start the mapper again where it ends by itself; otherwise its end is that of the launch"),
}

INPUTS = ("image", "camera_info", "wheel_odometry", "imu", "fix")
FRAMES = ("base_frame", "odom_frame", "map_frame")


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that come of them."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])


def make_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The nodes for the arguments as given; every argument is checked before the first of them starts."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    share = Path(get_package_share_directory(PACKAGE))
    sim_time = {"use_sim_time": flag("use_sim_time", given, auto=bool(given["bag"]))}
    nodes = [_mapper(given, share, sim_time)]
    if given["bag"]:
        player = _player(given)
        nodes += [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=_after_player))]
    if flag("rviz", given):
        nodes.append(_rviz(given, share, sim_time))
    if flag("view", given):
        nodes.append(_viewer(given, share))
    return nodes


def _mapper(given: dict[str, str], share: Path, sim_time: dict[str, bool]) -> Node:
    own: dict[str, str | float] = {name: given[name] for name in ("image_transport", "result_directory", *FRAMES)}
    if given["camera_height"]:
        own["scale.camera_height"] = number("camera_height", given)
    if given["earth_frame"]:
        own["earth_frame"] = given["earth_frame"]
    lifecycle = {"autostart": flag("autostart", given), "publish_tf": flag("publish_tf", given)}
    respawn = flag("respawn", given)
    return Node(
        package=PACKAGE,
        executable="mapper",
        name="mapper",
        namespace=given["namespace"],
        output="screen",
        parameters=[*parameter_files(given["profile"], share), own, lifecycle, sim_time],
        remappings=[(name, given[name]) for name in INPUTS],
        sigterm_timeout=DRAIN_S,
        **({"respawn": True, "respawn_delay": 2.0} if respawn else {"on_exit": Shutdown(reason="the mapper ended")}),
    )


def _player(given: dict[str, str]) -> Node:
    if not Path(given["bag"]).exists():
        raise RuntimeError(f"argument bag is {given['bag']!r}, but there is no such file or folder")
    bag = {"bag": given["bag"], "rate": number("rate", given), "loop": flag("loop", given), "clock": True}
    # Bags hold absolute names: those that are given as relative ones are played into the namespace.
    relative = [given[name] for name in INPUTS if not given[name].startswith("/")]
    relative.append(f"{given['image']}/compressed")
    return Node(
        package=PACKAGE,
        executable="player",
        name="player",
        namespace=given["namespace"],
        output="screen",
        parameters=[bag],
        remappings=[(f"/{name}", name) for name in relative if not name.startswith("/")],
    )


def _after_player(event: object, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """A bag that cannot be played ends everything; after one that was, the map stays."""
    code = getattr(event, "returncode", 0)
    return [Shutdown(reason=f"the player ended with exit code {code}")] if code else []


def _viewer(given: dict[str, str], share: Path) -> Node:
    page = {
        "host": given["view_host"],
        "port": int(number("view_port", given)),
        "point_size": _voxel_size(parameter_files(given["profile"], share)),
        "base_frame": given["base_frame"],
        "image_transport": given["image_transport"],
    }
    return Node(
        package=PACKAGE,
        executable="viewer",
        name="viewer",
        namespace=given["namespace"],
        output="screen",
        parameters=[page],
        remappings=[(name, given[name]) for name in INPUTS],
    )


def _rviz(given: dict[str, str], share: Path, sim_time: dict[str, bool]) -> Node:
    try:
        get_package_share_directory("rviz2")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "argument rviz is 'true', but the package rviz2 is not installed: install ros-$ROS_DISTRO-rviz2, or leave "
            "rviz out"
        ) from error
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=given["namespace"],
        arguments=["-d", str(_rviz_config(given, share / "rviz" / "mapping.rviz"))],
        parameters=[sim_time],
    )


def _rviz_config(given: dict[str, str], template: Path) -> Path:
    """A copy of the package's config with the frames and the full names of the topics of this launch."""
    config = yaml.safe_load(template.read_text())
    manager = config["Visualization Manager"]
    manager["Global Options"]["Fixed Frame"] = given["map_frame"]
    manager["Views"]["Current"]["Target Frame"] = given["base_frame"]
    prefix = "/" + given["namespace"].strip("/") if given["namespace"].strip("/") else ""
    image = given["image"] if given["image"].startswith("/") else f"{prefix}/{given['image']}"
    for display in manager["Displays"]:
        if display["Class"] == "rviz_default_plugins/Image":
            display["Topic"]["Value"] = f"{image}/compressed" if given["image_transport"] == "compressed" else image
        elif "Topic" in display:
            for topic in (display["Topic"], display.get("Update Topic", {"Value": ""})):
                topic["Value"] = prefix + topic["Value"]
        if display["Class"] == "rviz_default_plugins/PointCloud2":
            display["Size (m)"] = _voxel_size(parameter_files(given["profile"], template.parents[1]))
    path = Path(tempfile.mkdtemp(prefix="scal3r_rviz_")) / template.name
    path.write_text(yaml.safe_dump(config, sort_keys=False, width=1_000_000))
    return path


def _voxel_size(files: list[str]) -> float:
    """Edge of a voxel in the last of the parameter files that gives it."""
    sizes = [1.0]
    for file in files:
        for node in (yaml.safe_load(Path(file).read_text()) or {}).values():
            parameters = node.get("ros__parameters", {})
            sizes += [parameters[name] for name in ("map.voxel_size",) if name in parameters]
            sizes += [value for name, value in (parameters.get("map") or {}).items() if name == "voxel_size"]
    return float(sizes[-1])
