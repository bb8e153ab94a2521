"""Starts two mappers with the network on one machine, which share what its memory learns.

ros2 launch scal3r_ros two_nodes.launch.py bag_a:=north bag_b:=south
ros2 launch scal3r_ros two_nodes.launch.py network_preset:=full checkpoint:=scal3r.pt device_a:=cuda:0 device_b:=cuda:1
ros2 launch scal3r_ros two_nodes.launch.py devices_a:=cuda:0,cuda:1 devices_b:=cuda:2,cuda:3

Robots on machines of their own run mapping.launch.py each, with the same memory_peers.rendezvous in its parameter file.
"""

import sys
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

sys.path.insert(0, str(Path(__file__).parent))
from scal3r_launch_arguments import DRAIN_S, flag, number, parameter_files

PACKAGE = "scal3r_ros"

SIDES = ("a", "b")

ARGUMENTS = {
    "profile": ("default", "parameters: default, driving or handheld of this package, or the path of a file"),
    "network_preset": ("tiny", "shape of the network, the same for both; tiny has weights in the package"),
    "checkpoint": ("", "file with the network's weights, the same for both; empty takes those of the package"),
    "allow_random_weights": ("false", "run without a checkpoint: nonsense for geometry, good for trying the rest"),
    "rendezvous": ("127.0.0.1:29500", "host:port where the two find each other"),
    "key_file": ("", "file with the key that both know; needed where the rendezvous is not on this machine alone"),
    "period": ("5.0", "seconds between two messages of what was learnt"),
    "rate": ("1.0", "speed at which bags are replayed"),
    "result_directory": ("", "folder that gets a result for each robot, in folders of their names"),
}

ARGUMENTS_OF_EACH = {
    "robot": ("robot_{side}", "name of robot {side}: the namespace of its node, topics and frames"),
    "image": ("", "topic of its images; empty takes camera/image in its namespace"),
    "camera_info": ("", "topic of its camera's calibration; empty takes camera/camera_info in its namespace"),
    "wheel_odometry": ("", "topic of its wheels' nav_msgs/Odometry; empty takes wheel_odometry in its namespace"),
    "imu": ("", "topic of its sensor_msgs/Imu; empty takes imu in its namespace"),
    "fix": ("", "topic of its sensor_msgs/NavSatFix; empty takes fix in its namespace"),
    "device": ("auto", "device of its network"),
    "devices": ("", "devices of its network where it is a box of several, as cuda:0,cuda:1; auto takes all GPUs"),
    "bag": ("", "rosbag2 to replay in place of its camera, as scal3r bag and scal3r simulate write them"),
}

BAG_TOPICS = {
    "image": "/camera/image",
    "camera_info": "/camera/camera_info",
    "wheel_odometry": "/wheel_odometry",
    "imu": "/imu",
    "fix": "/fix",
}
"""Names of the inputs in bags; without a slash before them they are those in the namespace of a robot."""


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that come of them."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in (ARGUMENTS | _arguments_of_each()).items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])


def make_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The nodes for the arguments as given."""
    names = (*ARGUMENTS, *_arguments_of_each())
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    if given["robot_a"] == given["robot_b"]:
        raise RuntimeError(f"arguments robot_a and robot_b are both {given['robot_a']!r}, but the two must differ")
    share = Path(get_package_share_directory(PACKAGE))
    nodes = []
    for side in SIDES:
        own = {name: given[f"{name}_{side}"] for name in ARGUMENTS_OF_EACH}
        topics = {name: own[name] or f"/{own['robot']}{topic}" for name, topic in BAG_TOPICS.items()}
        nodes.append(_mapper(given, own, topics, share))
        if own["bag"]:
            if not Path(own["bag"]).exists():
                raise RuntimeError(f"argument bag_{side} is {own['bag']!r}, but there is no such file or folder")
            player = _player(given, own, topics)
            nodes += [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=_after_player))]
    return nodes


def _after_player(event: object, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """A bag that cannot be played ends everything; after one that was, the maps stay."""
    code = getattr(event, "returncode", 0)
    return [Shutdown(reason=f"a player ended with exit code {code}")] if code else []


def _arguments_of_each() -> dict[str, tuple[str, str]]:
    return {
        f"{name}_{side}": (default.format(side=side), meaning.format(side=side))
        for side in SIDES
        for name, (default, meaning) in ARGUMENTS_OF_EACH.items()
    }


def _mapper(given: dict[str, str], own: dict[str, str], topics: dict[str, str], share: Path) -> Node:
    robot, results = own["robot"], given["result_directory"]
    parameters = {
        "reconstructor": "scal3r",
        "network.preset": given["network_preset"],
        "network.checkpoint": given["checkpoint"],
        "network.allow_random_weights": flag("allow_random_weights", given),
        "network.device": own["device"],
        "network.devices": own["devices"].split(","),
        "memory_peers.rendezvous": given["rendezvous"],
        "memory_peers.name": robot,
        "memory_peers.key_file": given["key_file"],
        "memory_peers.period_s": number("period", given),
        # Both robots are on one /tf, so their frames need names of their own.
        "map_frame": f"{robot}/map",
        "odom_frame": f"{robot}/odom",
        "base_frame": f"{robot}/base_link",
        "result_directory": str(Path(results) / robot) if results else "",
    }
    return Node(
        package=PACKAGE,
        executable="mapper",
        name="mapper",
        namespace=robot,
        output="screen",
        parameters=[*parameter_files(given["profile"], share), parameters],
        remappings=list(topics.items()),
        sigterm_timeout=DRAIN_S,
    )


def _player(given: dict[str, str], own: dict[str, str], topics: dict[str, str]) -> Node:
    # Two bags have two times: neither is published as the time of all.
    bag = {
        "bag": own["bag"],
        "rate": number("rate", given),
        "clock": False,
        "topics": ",".join(BAG_TOPICS.values()),
    }
    return Node(
        package=PACKAGE,
        executable="player",
        name="player",
        namespace=own["robot"],
        output="screen",
        parameters=[bag],
        remappings=[(recorded, topics[name]) for name, recorded in BAG_TOPICS.items()],
    )
