"""Sequences of published data sets, one file a set; `find_sequence` knows each by its layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scal3r_ros.io.datasets import (
    colmap_model,
    euroc,
    four_seasons,
    kitti,
    posed,
    seven_scenes,
    spires,
    transforms,
    tum,
    vkitti,
)
from scal3r_ros.io.datasets.sequence import ImageSequence

__all__ = ["ImageSequence", "find_sequence"]

READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], ImageSequence]], ...] = (
    (euroc.is_euroc, euroc.read_euroc),
    (tum.is_tum, tum.read_tum),
    (seven_scenes.is_seven_scenes, seven_scenes.read_seven_scenes),
    (vkitti.is_vkitti, vkitti.read_vkitti),
    (spires.is_spires, spires.read_spires),
    (four_seasons.is_four_seasons, four_seasons.read_four_seasons),
    (transforms.is_transforms, transforms.read_transforms),
    (kitti.is_raw, kitti.read_raw),
    (kitti.is_odometry, kitti.read_odometry),
    (colmap_model.is_colmap, colmap_model.read_colmap),
    (posed.is_posed, posed.read_posed),  # last: the least particular
)


def find_sequence(folder: Path) -> ImageSequence | None:
    """The sequence in `folder`; None where it has the layout of none of the known data sets.

    Raises:
        SequenceError: the layout is known, but a file of it is missing or damaged.
    """
    return next((read(folder) for is_known, read in READERS if is_known(folder)), None)
