r"""Starts the mapper beside robot_localization's filter, which joins visual odometry with wheels and IMU.

ros2 launch scal3r_ros robot_localization.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch scal3r_ros robot_localization.launch.py filter_parameters:=my_ekf.yaml profile:=driving

It takes every argument of mapping.launch.py, too. The filter publishes odom → base_link, so the mapper publishes no
transforms. The filter's parameters are those of config/integrations/robot_localization.yaml; a robot with wheels and
IMU names their topics in a file of the same form.
"""

import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

sys.path.insert(0, str(Path(__file__).parent))
from scal3r_launch_arguments import flag

PACKAGE = "scal3r_ros"

ARGUMENTS = {
    "filter_parameters": ("", "parameter file of ekf_node; empty takes that of this package"),
    "namespace": ("", "namespace of the nodes and their topics, for several robots"),
    "bag": ("", "rosbag2 to replay; empty where a camera is running"),
    "use_sim_time": ("auto", "take the time from /clock: true, false, or auto for true with a bag"),
}


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that come of them."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])


def make_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """What mapping.launch.py starts, which checks its own arguments first, and the filter."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    try:
        get_package_share_directory("robot_localization")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "the package robot_localization is not installed: install ros-$ROS_DISTRO-robot-localization"
        ) from error
    share = Path(get_package_share_directory(PACKAGE))
    filter_file = Path(given["filter_parameters"] or share / "config" / "integrations" / "robot_localization.yaml")
    if not filter_file.is_file():
        raise RuntimeError(f"argument filter_parameters is {given['filter_parameters']!r}, but there is no such file")
    sim_time = {"use_sim_time": flag("use_sim_time", given, auto=bool(given["bag"]))}
    passed_on = {name: given[name] for name in ("namespace", "bag", "use_sim_time")}
    mapping = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share / "launch" / "mapping.launch.py")),
        launch_arguments=[*passed_on.items(), ("publish_tf", "false")],
    )
    ekf = Node(
        package="robot_localization",
        executable="ekf_node",
        name="ekf_filter_node",
        namespace=given["namespace"],
        output="screen",
        parameters=[str(filter_file), sim_time],
    )
    return [mapping, ekf]
