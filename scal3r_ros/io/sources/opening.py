"""Chooses the reader for a path."""

from __future__ import annotations

import logging
from pathlib import Path

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.bags.file import METADATA, is_bag
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS
from scal3r_ros.io.datasets import ImageSequence, find_sequence
from scal3r_ros.io.images.folder import ImageFolder, find_images, stamps_of_names, upright_turns
from scal3r_ros.io.sources.files import VIDEO_SUFFIXES, ImageFiles, Video
from scal3r_ros.io.sources.source import Source, SourceOptions
from scal3r_ros.io.trajectories import even_stamps, read_times

logger = logging.getLogger(__name__)

USUAL_RATE_HZ = 10.0


def open_source(path: Path, options: SourceOptions | None = None) -> Source:
    """The images in `path`: a bag, a video, a data set's own folder, or a folder of images.

    Raises:
        SequenceError: the path is missing, is none of these, or cannot be read.
    """
    options = options or SourceOptions()
    if not path.exists():
        raise SequenceError(f"{path} does not exist; give a bag, a video, a folder of images or one of a data set")
    if is_bag(path):
        return BagReader(
            path, options.image_topic, options.camera_info_topic, calib=options.calib, rectified=options.rectified
        )
    if path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return Video(path, options)
        raise SequenceError(
            f"{path} is no bag (.mcap, .db3, .bag) and no video ({', '.join(VIDEO_SUFFIXES)}); give one of these, or a "
            "folder"
        )
    if not path.is_dir():
        raise SequenceError(f"{path} is no file and no folder; give a bag, a video or a folder")
    if (path / METADATA).exists():
        raise SequenceError(f"bag {path} has a {METADATA}, but none of its .mcap or .db3 files is there")
    sequence = find_sequence(path)
    if sequence is not None:
        logger.info("%s is a sequence of %s", path, sequence.kind)
    return ImageFiles(_folder(path, options) if sequence is None else sequence, options)


def _images_of(path: Path) -> ImageFolder:
    """The images of a folder; where it has bags or videos instead, the error names those."""
    try:
        return find_images(path)
    except SequenceError:
        bags = [child.name for child in sorted(path.iterdir()) if is_bag(child)]
        if bags:
            raise SequenceError(f"folder {path} is no bag, but has bags in it; give {' or '.join(bags)}") from None
        videos = [child.name for child in sorted(path.iterdir()) if child.suffix.lower() in VIDEO_SUFFIXES]
        if videos:
            raise SequenceError(f"folder {path} has videos in it; give {' or '.join(videos)}") from None
        raise


def _folder(path: Path, options: SourceOptions) -> ImageSequence:
    """A folder of images by the times in a file, in their names, or at a steady rate."""
    found = _images_of(path)
    count = len(found.paths)
    named = stamps_of_names(found.paths)
    if options.times is not None:
        stamps = read_times(options.times)[:count]
        if len(stamps) < count:
            raise SequenceError(f"times file {options.times} has {len(stamps)} times for {count} images")
        stamps = stamps if stamps[0] >= FIRST_STAMP_NS else stamps + FIRST_STAMP_NS
    elif named is not None and options.rate_hz is None:
        stamps = named
        logger.info("the names of the images in %s are their times", found.folder)
    else:
        if options.rate_hz is None:
            logger.warning("nothing says when the images were taken (--rate): %.0f a second are assumed", USUAL_RATE_HZ)
        stamps = even_stamps(count, options.rate_hz or USUAL_RATE_HZ)
    return ImageSequence("folder", path.name, found.paths, stamps, quarter_turns=upright_turns(found.paths[0]))
