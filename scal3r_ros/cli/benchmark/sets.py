"""The benchmarks, and which folders belong to each."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scal3r_ros.cli.benchmark import published
from scal3r_ros.cli.benchmark.published import PublishedClouds, PublishedRow
from scal3r_ros.errors import SequenceError
from scal3r_ros.io.datasets import ImageSequence, find_sequence

logger = logging.getLogger(__name__)

DEEPEST = 6
"""Folders below the one that is given in which sequences are looked for."""
POSED = "posed images"


class Benchmark(StrEnum):
    """A benchmark by the name that the command takes."""

    KITTI = "kitti"
    SPIRES = "spires"
    ETH3D = "eth3d"
    TUM = "tum"
    EUROC = "euroc"
    SEVEN_SCENES = "seven_scenes"
    VKITTI = "vkitti"


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is run.

    `kinds` are the data sets whose sequences belong to it; folders of posed images do where their name has `named`.
    `profile` is the parameter file that fits. `sequences` are the columns of published tables; `column` finds in its
    group, in the name of a sequence, the column that it belongs to. `published` are figures with their sources.
    `segments`: relative errors by KITTI's segments, too. `clouds`: compared with laser scans where they are there, F1
    also at `tolerance_m`, that of the figures in `published_clouds`.
    """

    title: str
    kinds: tuple[str, ...]
    named: str
    profile: str
    sequences: tuple[str, ...] = ()
    column: str = r"^(.+)$"
    published: tuple[PublishedRow, ...] = ()
    segments: bool = False
    clouds: bool = False
    tolerance_m: float | None = None
    published_clouds: tuple[PublishedClouds, ...] = ()

    def column_of(self, sequence: ImageSequence) -> str | None:
        """The column of published tables that a sequence belongs to; None for others, and for parts of sequences.

        Folders of posed images, whatever their names, may hold any part.
        """
        if sequence.kind == POSED:
            return None
        found = re.search(self.column, sequence.name, re.IGNORECASE)
        return found[1] if found is not None and (not self.sequences or found[1] in self.sequences) else None


PROTOCOLS = {
    Benchmark.KITTI: Protocol(
        "KITTI odometry", ("KITTI odometry", "KITTI raw"), r"^kitti", "driving.yaml", published.KITTI, r"^(\d\d)$",
        published.KITTI_ROWS, segments=True,
    ),
    Benchmark.SPIRES: Protocol(
        "Oxford Spires", ("Oxford Spires",), r"spires", "handheld.yaml", published=published.SPIRES_ROWS, clouds=True,
        tolerance_m=4.0, published_clouds=published.SPIRES_CLOUDS,
    ),
    Benchmark.ETH3D: Protocol(
        "ETH3D", ("ETH3D", "ETH3D SLAM"), r"eth3d", "handheld.yaml", published=published.ETH3D_ROWS, clouds=True,
        tolerance_m=0.25, published_clouds=published.ETH3D_CLOUDS,
    ),
    Benchmark.TUM: Protocol(
        "TUM RGB-D", ("TUM RGB-D",), r"tum|freiburg|^fr\d_", "handheld.yaml", published.TUM,
        r"(?:freiburg|fr)1_(\w+)$", published.TUM_ROWS,
    ),
    Benchmark.EUROC: Protocol(
        "EuRoC MAV", ("EuRoC",), r"euroc", "handheld.yaml", published.EUROC, r"^((?:MH|V1|V2)_\d\d)",
        published.EUROC_ROWS,
    ),
    Benchmark.SEVEN_SCENES: Protocol(
        "7-Scenes", ("7-Scenes",), r"seven.?scenes|7.?scenes", "handheld.yaml", published.SEVEN_SCENES,
        r"^(\w+)/seq-01$", published.SEVEN_SCENES_ROWS,
    ),
    Benchmark.VKITTI: Protocol(
        "Virtual KITTI 2", ("Virtual KITTI 2",), r"vkitti", "driving.yaml", published=published.VKITTI_ROWS,
        segments=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """A sequence of a benchmark and the folder it is in."""

    folder: Path
    sequence: ImageSequence


def sequences_in(path: Path, protocol: Protocol) -> list[Found]:
    """The sequences of a benchmark in `path` or below it that have true poses, by name.

    A folder that is recognised but damaged, or without true poses, is named in the log and left out.
    """
    found = []
    for folder in _folders(path):
        try:
            sequence = find_sequence(folder)
        except SequenceError as error:
            logger.warning("%s is left out: %s", folder, error)
            continue
        if sequence is None or not _belongs(sequence, folder, protocol):
            continue
        if sequence.ground_truth is None:
            logger.warning("%s is left out: it has no true poses", folder)
            continue
        found.append(Found(folder, sequence))
    return sorted(found, key=lambda each: (each.sequence.name, str(each.folder)))


def profile_file(name: str) -> Path | None:
    """A parameter file that comes with the package, from the repository or from where it is installed."""
    places = (Path(__file__).resolve().parents[3] / "config", Path(sys.prefix) / "share" / "scal3r_ros" / "config")
    return next((place / name for place in places if (place / name).is_file()), None)


def _belongs(sequence: ImageSequence, folder: Path, protocol: Protocol) -> bool:
    if sequence.kind == POSED:
        return re.search(protocol.named, folder.name, re.IGNORECASE) is not None
    return sequence.kind in protocol.kinds


def _folders(path: Path) -> Iterator[Path]:
    """`path` and the folders below it, none of them inside a sequence."""
    start = len(path.parts)
    for name, below, _ in os.walk(path, followlinks=True):
        folder = Path(name)
        below.sort()
        yield folder
        inside = ("image_0", "image_00", "rgb", "mav0", "frames", "raw", "images", "color", "undistorted_images")
        if len(folder.parts) - start >= DEEPEST or any(child in inside for child in below):
            below.clear()
