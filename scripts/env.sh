# Source this to work with scal3r_ros in a shell:  . scripts/env.sh
# It activates .venv (made by scripts/setup.sh) and sets what ROS 2 and the caches need. Variables already set are kept.

scal3r_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
scal3r_venv="$scal3r_root/.venv"

if [ ! -f "$scal3r_venv/bin/activate" ]; then
    echo "scal3r_ros: no .venv in $scal3r_root; run scripts/setup.sh first" >&2
    return 1
fi

# Another venv's Python with ROS wheels leaves its library path behind, and its mark that nothing more is to be done.
if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
fi

. "$scal3r_venv/bin/activate"

case ":${AMENT_PREFIX_PATH:-}:" in
    *":$scal3r_venv:"*) ;;
    *) export AMENT_PREFIX_PATH="$scal3r_venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" ;;
esac

# Whole images and clouds fit into the shared memory. Later distributions than jazzy warn of the name it reads.
if [ "${ROS_DISTRO:-}" = jazzy ]; then
    export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$scal3r_root/config/fastdds.xml}"
else
    export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$scal3r_root/config/fastdds.xml}"
fi
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"

export NUMBA_CACHE_DIR="${NUMBA_CACHE_DIR:-$scal3r_venv/cache/numba}"
export MPLCONFIGDIR="${MPLCONFIGDIR:-$scal3r_venv/cache/matplotlib}"
mkdir -p "$NUMBA_CACHE_DIR" "$MPLCONFIGDIR"

# ROS logs into the home directory and does not start without one.
if [ -z "${ROS_LOG_DIR:-}${ROS_HOME:-}" ] && [ ! -w "${HOME:-}" ]; then
    export ROS_LOG_DIR="$scal3r_venv/log"
fi

unset scal3r_root scal3r_venv
