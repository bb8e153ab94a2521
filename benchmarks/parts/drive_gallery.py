"""What the long drives look like that a memory is trained on, and by how much the unit of their chunks differs.

    python benchmarks/parts/drive_gallery.py                                   # the page of docs/training.md
    python benchmarks/parts/drive_gallery.py --drives 100 --first 5000 --split held_out

Writes a picture with a row a drive and a column a place, in the order in which they were drawn. Prints for each drive
its rig and the typical depth of every place (the geometric mean of its frames' depths, which is one in training where
that place comes first), and over all drives the spread of the logarithm of what later places have against the first.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scal3r_ros.simulation.worlds.clips import SPLITS
from scal3r_ros.simulation.worlds.long_drives import Drive, DriveSpec, render_drive

GAP = 3
JPEG_QUALITY = 85


def main() -> None:
    """Renders, writes the page, prints the spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drives", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first drive")
    parser.add_argument("--places", type=int, default=8, help="places of each drive")
    parser.add_argument("--frames", type=int, default=2, help="frames of each place")
    parser.add_argument("--size", type=int, nargs=2, default=(144, 72), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--out", type=Path, default=Path("out/drive_gallery.jpg"))
    arguments = parser.parse_args()
    width, height = arguments.size
    rows, spreads = [], []
    for seed in range(arguments.first, arguments.first + arguments.drives):
        drive = render_drive(DriveSpec(seed, arguments.places, arguments.frames, width, height, arguments.split))
        log_unit = log_units(drive, arguments.places)
        spreads.append(log_unit[1:] - log_unit[0])
        rows.append(row_of(drive.images[:: arguments.frames]))
        print(described(seed, drive, log_unit), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    page = np.concatenate(rows)[:-GAP, :-GAP, ::-1]
    cv2.imwrite(str(arguments.out), page, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    print(summary(np.concatenate(spreads), arguments.drives), f"page: {arguments.out}", sep="\n")


def log_units(drive: Drive, places: int) -> NDArray[np.float64]:
    """Mean logarithm of depth (places,) of each place, in metres; NaN where only sky is seen."""
    by_place = drive.depth_m.reshape(places, -1)
    return np.array([np.log(depths[depths > 0]).mean() if (depths > 0).any() else math.nan for depths in by_place])


def row_of(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (n, h, w, 3) side by side with a gap after each and below."""
    padded = np.pad(images, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)


def described(seed: int, drive: Drive, log_unit: NDArray[np.float64]) -> str:
    """One line on a drive."""
    rig = drive.rig
    places = ", ".join(f"{sort} {math.exp(unit):.1f}" for sort, unit in zip(drive.sorts, log_unit, strict=True))
    return (
        f"{seed}: {rig.height_m:.2f} m high, {math.degrees(rig.yaw):.0f}° aside, lens {rig.fov_deg:.0f}°;"
        f" typical depth in m: {places}"
    )


def summary(later: NDArray[np.float64], drives: int) -> str:
    """The spread over all later places."""
    known = later[np.isfinite(later)]
    return (
        f"log unit of {len(known)} later places against the first of their {drives} drives: standard deviation"
        f" {known.std():.3f}, mean size {np.abs(known).mean():.3f}"
    )


if __name__ == "__main__":
    main()
