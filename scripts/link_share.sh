#!/usr/bin/env bash
# Links what ROS 2 looks for in a package's prefix to this source tree:  link_share.sh PREFIX
# Files are linked one by one: `ros2 launch` does not look into linked folders.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
prefix="$1"
name=scal3r_ros

mkdir -p "$prefix/share/$name" "$prefix/lib/$name" "$prefix/share/ament_index/resource_index/packages"
ln -sfn "$root/resource/$name" "$prefix/share/ament_index/resource_index/packages/$name"
ln -sfn "$root/package.xml" "$prefix/share/$name/package.xml"
for folder in config launch rviz; do
    rm -rf "${prefix:?}/share/$name/$folder"
    (cd "$root" && find "$folder" -type f -not -path '*/__pycache__/*') | while read -r file; do
        mkdir -p "$prefix/share/$name/$(dirname "$file")"
        ln -sfn "$root/$file" "$prefix/share/$name/$file"
    done
done
for executable in mapper player scal3r viewer; do
    ln -sfn "../../bin/$executable" "$prefix/lib/$name/$executable"
done
