"""The ament_python build of the ROS 2 package `scal3r_ros`; `colcon build` and `pip install` both start here."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "scal3r_ros"
ROOT = Path(__file__).resolve().parent

# What `pip install` brings along: the libraries of requirements/runtime.txt, below the next version that may break
# something. Of the oldest versions only those of NumPy, OpenCV and plyfile were tried, by
# scripts/test_older_libraries.sh; the others are what Ubuntu 24.04 has, or what the code asks of the library. An
# environment to rely on is pinned in requirements/.
REQUIRES = [
    "av>=14,<19",
    "evo>=1.30,<2",
    "faiss-cpu>=1.9,<2",
    "gtsam>=4.3,<4.4",
    "laspy>=2.5,<3",
    "lazrs>=0.6,<1",
    "matplotlib>=3.6.3,<4",
    "mcap>=1.2,<2",
    "numba>=0.58.1,<1",
    "numpy>=1.26,<3",
    'open3d-cpu>=0.19,<1; platform_machine == "x86_64" and sys_platform == "linux"',
    'open3d>=0.19,<1; platform_machine != "x86_64" or sys_platform != "linux"',
    "opencv-python-headless>=4.10,<6",
    "pillow>=10.2,<14",
    "plyfile>=1.0.3,<2",
    "psutil>=5.9.8,<8",
    "pymap3d>=3.1,<4",
    "PyYAML>=6,<7",
    "rich>=13.7,<15",
    "rosbags>=0.11,<0.12",
    "safetensors>=0.4.5,<1",
    "scipy>=1.11.4,<2",
    "torch>=2.4,<3",
    "trimesh>=4,<6",
    "typer>=0.9,<1",
    "viser>=1,<2",
    "zstandard>=0.22,<1",
]
EXTRAS = {
    "rerun": ["rerun-sdk>=0.41,<0.42"],  # `scal3r replay --rerun`; its interface changes with every minor version
    "training": ["tensorboardX>=2.6,<3"],
    "test": ["pytest"],  # by which `colcon test` knows what runs the tests
}


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
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "scal3r = scal3r_ros.cli.main:main",
            "mapper = scal3r_ros.nodes.mapper_main:main",
            "player = scal3r_ros.nodes.player_main:main",
            "viewer = scal3r_ros.nodes.viewer_main:main",
        ],
    },
)
