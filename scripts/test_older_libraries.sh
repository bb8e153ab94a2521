#!/usr/bin/env bash
# Runs scripts/test.sh with the oldest NumPy and OpenCV that an installed ROS brings along (Ubuntu 24.04: NumPy 1.26).
#
#   scripts/test_older_libraries.sh [arguments of scripts/test.sh]
#
# In a clone under out/older_libraries with its own environment, so that .venv stays as it is. Types are left out: what
# NumPy 1.26 and OpenCV 4.10 declare differs, and the code is checked against what the pinned ones do.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
clone="$root/out/older_libraries"

if [[ -d "$clone/.git" ]]; then
    git -C "$clone" fetch --quiet origin HEAD
    git -C "$clone" checkout --quiet --force --detach FETCH_HEAD
else
    git clone --quiet "$root" "$clone"
fi
# plyfile and pandas of the usual pins need NumPy 2.
sed -i -E 's/^numpy==[^ ]+/numpy==1.26.4/; s/^opencv-python-headless==[^ ]+/opencv-python-headless==4.10.0.84/; s/^plyfile==[^ ]+/plyfile==1.0.3/' \
    "$clone/requirements/runtime.txt"
sed -i -E 's/^pandas==.*/pandas==2.2.3\npytz==2024.2/' "$clone/requirements/constraints.txt"
SCAL3R_WITHOUT_TYPES=1 exec "$clone/scripts/test.sh" "$@"
