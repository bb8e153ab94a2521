#!/usr/bin/env bash
# Maps a drive live: the real node and the real player as two processes over DDS, then the evaluation of what came out.
#
#   scripts/demo.sh                      a simulated street of 300 m, made on the spot
#   scripts/demo.sh --short              the same over 60 m
#   scripts/demo.sh BAG                  a rosbag2 of your own (sqlite3 or mcap)
#   scripts/demo.sh FOLDER_OF_IMAGES     images of your own (--calib FILE, --rate HZ)
#   scripts/demo.sh --help               all options
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
"$here/scripts/setup.sh"
. "$here/scripts/env.sh"
export ROS_DOMAIN_ID="${ROS_DOMAIN_ID:-$((1 + $$ % 100))}"
exec scal3r demo --default-config "$here/config/driving.yaml" --default-out "$here/out/demo" "$@"
