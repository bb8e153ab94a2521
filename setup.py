"""The ament_python build of the ROS 2 package `scal3r_ros`; `colcon build` and `pip install` both start here."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "scal3r_ros"
ROOT = Path(__file__).resolve().parent


def share_files() -> list[tuple[str, list[str]]]:
    """What a ROS 2 package keeps under `share/`: its manifest, its mark in the package index, what launch reads."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ]
    for folder in ("launch", "config", "config/training", "config/integrations", "rviz"):
        found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*") if path.is_file())
        files.append((f"share/{PACKAGE}/{folder}", found))
    return files


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Online 3D mapping from one moving camera, as ROS 2 nodes and as a Python library",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "features/place_vocabulary.npz", "weights/*.safetensors", "weights/*.md"]},
    data_files=share_files(),
    zip_safe=False,
    extras_require={"test": ["pytest"]},  # by which `colcon test` knows what runs the tests
    entry_points={
        "console_scripts": [
            "scal3r = scal3r_ros.cli.main:main",
            "mapper = scal3r_ros.nodes.mapper_main:main",
            "player = scal3r_ros.nodes.player_main:main",
            "viewer = scal3r_ros.nodes.viewer_main:main",
        ],
    },
)
