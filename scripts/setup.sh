#!/usr/bin/env bash
# Makes .venv at the project's root, ready to run: Python libraries at exact versions, ROS 2, this package.
#
#   scripts/setup.sh          what the command scal3r, the nodes and the demo need
#   scripts/setup.sh --dev    also what the tests need
#
# With a sourced ROS 2 (ROS_DISTRO set, python3 imports rclpy) that one is used; otherwise ROS 2 comes as wheels.
# Steps already done are skipped. Settings, all optional:
#   SCAL3R_PYTHON         the Python to use (3.11 or newer; 3.11 to 3.13 for ROS as wheels)
#   SCAL3R_TORCH_INDEX    a package index with torch builds for this machine, asked beside pip's own
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
stamps="$venv/stamps"
requirements="$root/requirements"
PATH="$PATH:/usr/sbin:/sbin"

say() { echo "setup: $*"; }
fail() { echo "setup: error: $*" >&2; exit 1; }

with_dev=false
case "${1:-}" in
    "") ;;
    --dev) with_dev=true ;;
    *) fail "unknown argument '$1'; usage: scripts/setup.sh [--dev]" ;;
esac

# Another venv's Python with ROS wheels leaves its library path behind, and its mark that nothing more is to be done.
if [[ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]]; then
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
fi

# ---------------------------------------------------------------------------------------------------- what is at hand

# Prints `major.minor` of a Python that is new enough, nothing otherwise.
python_version() {
    "$1" -c 'import sys; sys.version_info >= (3, 11) and print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

# Prints the first usable Python among the arguments; with a second test in $1 only one that passes it.
find_python() {
    local test="$1" candidate
    shift
    for candidate in "$@"; do
        if [[ -n "$candidate" && -n "$(python_version "$candidate")" ]] && "$candidate" -c "$test" 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys._base_executable)'
            return
        fi
    done
    return 1
}

if [[ -n "${ROS_DISTRO:-}" ]]; then
    ros=sourced
    python="$(find_python 'import rclpy' "${SCAL3R_PYTHON:-}" python3 /usr/bin/python3)" ||
        fail "ROS 2 '$ROS_DISTRO' is sourced, but no Python 3.11 or newer imports its rclpy: use jazzy or newer, or a shell without it"
else
    ros=wheels
    python="$(find_python '' "${SCAL3R_PYTHON:-}" python3.11 python3.12 python3.13 python3)" ||
        fail "no Python 3.11 or newer found: install one or name it in SCAL3R_PYTHON"
    if [[ "$(uname -sm)" != "Linux x86_64" || ! "$(python_version "$python")" =~ ^3\.1[123]$ ]]; then
        ros=none
    fi
fi
version="$(python_version "$python")"

imports() { "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)" 2>/dev/null; }

# Runs a step unless it was done before with the same inputs:  once NAME INPUTS FUNCTION
once() {
    local name="$1" inputs="$2"
    local stamp="$stamps/$name"
    if [[ -f "$stamp" && "$(<"$stamp")" == "$inputs" ]]; then
        return
    fi
    rm -f "$stamp"
    "$3"
    mkdir -p "$stamps"
    echo "$inputs" >"$stamp"
}

shared_files() { (cd "$root" && find config launch rviz -type f -not -path '*/__pycache__/*' | sort | sha256sum | cut -d' ' -f1); }
hash_of() { (cd "$root" && cat "$@" | sha256sum | cut -d' ' -f1); }

# pip without its remarks on links that do not fit this platform.
pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" \
        2> >(sed -u '/is ignored: /d; /Running pip as the .root. user/d' >&2)
}

# ---------------------------------------------------------------------------------------------------- system packages

missing_packages() {
    local pair library package libraries
    local -a missing=()
    libraries="$(ldconfig -p)"  # read to its end: under pipefail, a `grep -q` that leaves early looks like a failure
    for pair in libusb-1.0.so.0=libusb-1.0-0 libGL.so.1=libgl1 libEGL.so.1=libegl1 libX11.so.6=libx11-6 libgomp.so.1=libgomp1; do
        library="${pair%%=*}" package="${pair#*=}"
        [[ "$libraries" == *"$library "* ]] || missing+=("$package")
    done
    "$python" -c 'import ensurepip' 2>/dev/null || missing+=("python$version-venv")
    if [[ "$ros" == wheels ]]; then
        command -v g++ >/dev/null || missing+=(g++)
        [[ -f "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]] || missing+=("python$version-dev")
    elif [[ "$ros" == sourced ]]; then
        for package in rclpy std_msgs sensor_msgs geometry_msgs nav_msgs diagnostic_msgs visualization_msgs std_srvs \
            lifecycle_msgs tf2_msgs launch_ros; do
            imports "$package" || missing+=("ros-$ROS_DISTRO-${package//_/-}")
        done
    fi
    echo "${missing[*]-}"
}

install_system_packages() {
    local missing
    missing="$(missing_packages)"
    [[ -n "$missing" ]] || return 0
    if ! command -v apt-get >/dev/null; then
        fail "missing on this system (Debian's names): $missing; install them and run this again"
    elif [[ "$(id -u)" != 0 ]]; then
        fail "missing Debian packages; run this, then setup again:  sudo apt-get update && sudo apt-get install -y $missing"
    fi
    say "installing Debian packages: $missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# ---------------------------------------------------------------------------------------------------- Python libraries

make_venv() {
    local wanted=false found=false
    local -a options=()
    if [[ "$ros" == sourced ]]; then
        wanted=true
        options=(--system-site-packages)
    fi
    if grep -qs '^include-system-site-packages = true' "$venv/pyvenv.cfg"; then
        found=true
    fi
    # An environment knows its own path: one that was moved has to be made again.
    if [[ "$(python_version "$venv/bin/python") $found" == "$version $wanted" ]] &&
        [[ "$(grep '^command = ' "$venv/pyvenv.cfg")" == *" $venv" ]] &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    say "making .venv with Python $version"
    rm -rf "$venv"/{bin,build,cache,include,lib,lib64,share,pyvenv.cfg} "$stamps"/{libraries,dev,tf2_msgs,package}
    "$python" -m venv "${options[@]}" "$venv"
}

install_torch() {
    local pin
    pin="$(grep -o '^torch==[^ ]*' "$requirements/runtime.txt")"
    local -a index=()
    [[ -z "${SCAL3R_TORCH_INDEX:-}" ]] || index=(--extra-index-url "$SCAL3R_TORCH_INDEX")
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
        say "NVIDIA GPU found: installing torch"
        pip_install "${index[@]}" -c "$requirements/constraints.txt" "$pin"
        "$venv/bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
            say "warning: this torch does not see the GPU; name an index with CUDA builds in SCAL3R_TORCH_INDEX"
    elif ! pip_install "${index[@]}" -c "$requirements/constraints.txt" "$pin+cpu" 2>/dev/null; then
        say "no CPU-only build of torch at hand (SCAL3R_TORCH_INDEX may name an index that has it): installing the default build"
        pip_install "${index[@]}" -c "$requirements/constraints.txt" "$pin"
    fi
}

install_libraries() {
    local -a files=(-r "$requirements/runtime.txt")
    [[ "$ros" != wheels ]] || files+=(-r "$requirements/ros.txt")
    say "installing Python libraries (2.7 GB, some minutes)"
    install_torch
    pip_install "${files[@]}" -c "$requirements/constraints.txt"
}

install_dev() {
    say "installing what the tests need"
    pip_install -r "$requirements/dev.txt" -c "$requirements/constraints.txt" -c "$requirements/runtime.txt"
}

# ---------------------------------------------------------------------------------------------------- ROS packages

# The wheels have every message package but tf2_msgs.
build_tf2_msgs() {
    local build="$venv/build/tf2_msgs" libraries
    say "building tf2_msgs"
    rm -rf "$build"
    mkdir -p "$build"
    libraries="$(printf '%s:' "$venv/lib/python$version/site-packages"/ros_*.libs)$venv/lib"
    if ! (
        export PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv" LD_LIBRARY_PATH="$libraries"
        unset PYTHONPATH
        cmake -S "$root/interfaces/tf2_msgs" -B "$build" -G Ninja -DCMAKE_INSTALL_PREFIX="$venv" -DBUILD_TESTING=OFF \
            -DPython3_EXECUTABLE="$venv/bin/python" -DPYTHON_EXECUTABLE="$venv/bin/python" &&
            cmake --build "$build" && cmake --install "$build"
    ) >"$build/log.txt" 2>&1; then
        tail -n 25 "$build/log.txt" >&2
        fail "tf2_msgs does not build; the whole log is $build/log.txt"
    fi
}

# Editable, so that a change in the source needs no second setup; the shared files are linked for the same reason.
install_package() {
    say "installing scal3r_ros"
    pip_install --no-deps --no-build-isolation -e "$root"
    "$root/scripts/link_share.sh" "$venv"
}

# ---------------------------------------------------------------------------------------------------- in order

mkdir -p "$venv"
exec 9>"$venv/.lock"
flock 9

once system "$version $ros ${ROS_DISTRO:-}" install_system_packages
once python "$version $ros $root" make_venv
once libraries "$ros ${SCAL3R_TORCH_INDEX:-} $(hash_of requirements/{runtime,ros,constraints}.txt)" install_libraries
if [[ "$ros" == wheels ]]; then
    once tf2_msgs "$(hash_of requirements/ros.txt interfaces/tf2_msgs/{CMakeLists.txt,package.xml,msg/TFMessage.msg})" build_tf2_msgs
fi
once package "$root $(hash_of setup.py setup.cfg package.xml scripts/link_share.sh) $(shared_files)" install_package
if "$with_dev"; then
    once dev "$(hash_of requirements/{dev,runtime,constraints}.txt)" install_dev
fi

if [[ "$ros" == none ]]; then
    say "ready, without ROS 2: its wheels exist for Linux x86-64 and Python 3.11 to 3.13; source an installed ROS 2 and run this again"
else
    say "ready (Python $version, ROS 2: $ros); use it with  . scripts/env.sh"
fi
