"""What every test runs in: a middleware of its own, caches and logs that leave no trace in the home directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# At import, before any test module loads numba, matplotlib or rclpy, each of which reads these once.
ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
PROFILES = "FASTRTPS" if os.environ.get("ROS_DISTRO") == "jazzy" else "FASTDDS"  # a later one warns of the old name
os.environ.setdefault(f"{PROFILES}_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(sys.prefix) / "cache" / "numba"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ROS_LOG_DIR", str(Path(sys.prefix) / "log"))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)  # each worker of pytest-xdist is a process of its own
