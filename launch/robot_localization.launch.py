r"""Starts the mapper beside robot_localization's filter, which joins visual odometry with wheels and IMU.

ros2 launch scal3r_ros robot_localization.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch scal3r_ros robot_localization.launch.py filter_parameters:=my_ekf.yaml profile:=driving

The filter publishes odom → base_link, so the mapper publishes no transforms. The filter's parameters are those of
config/integrations/robot_localization.yaml; a robot with wheels and IMU names their topics in a file of the same form.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PACKAGE = "scal3r_ros"

DRAIN_S = "90.0"
"""How long the mapper may map what it has received, and write its result, after the first SIGINT."""

ARGUMENTS = {
    "image": ("camera/image", "topic of the images; a relative name lies in the namespace"),
    "camera_info": ("camera/camera_info", "topic of the camera's calibration; a relative name lies in the namespace"),
    "profile": ("default", "parameters of the mapper: default, driving or handheld of this package"),
    "filter_parameters": ("", "parameter file of ekf_node; empty takes that of this package"),
    "namespace": ("", "namespace of the nodes and their topics, for several robots"),
    "result_directory": ("", "folder that gets trajectory, map, timings and run at the end"),
}


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that come of them."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])


def make_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Mapper and filter for the arguments as given; every argument is checked before the first of them starts."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    try:
        get_package_share_directory("robot_localization")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "the package robot_localization is not installed: install ros-$ROS_DISTRO-robot-localization"
        ) from error
    config = Path(get_package_share_directory(PACKAGE)) / "config"
    profile = config / f"{given['profile']}.yaml"
    if not profile.is_file():
        known = ", ".join(sorted(item.stem for item in config.glob("*.yaml")))
        raise RuntimeError(f"argument profile is {given['profile']!r}, which is none of {known}")
    filter_file = Path(given["filter_parameters"] or config / "integrations" / "robot_localization.yaml")
    if not filter_file.is_file():
        raise RuntimeError(f"argument filter_parameters is {given['filter_parameters']!r}, but there is no such file")
    mapper = Node(
        package=PACKAGE,
        executable="mapper",
        name="mapper",
        namespace=given["namespace"],
        output="screen",
        parameters=[
            *(str(file) for file in dict.fromkeys([config / "default.yaml", profile])),
            {"publish_tf": False, "result_directory": given["result_directory"]},
        ],
        remappings=[(name, given[name]) for name in ("image", "camera_info")],
        sigterm_timeout=DRAIN_S,
        on_exit=Shutdown(reason="the mapper ended"),
    )
    ekf = Node(
        package="robot_localization",
        executable="ekf_node",
        name="ekf_filter_node",
        namespace=given["namespace"],
        output="screen",
        parameters=[str(filter_file)],
    )
    return [mapper, ekf]
