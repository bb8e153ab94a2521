"""One clip of a made-up world, and one of a long drive."""

from __future__ import annotations

from scal3r_ros.simulation.worlds.clips import SequenceSpec, render_sequence
from scal3r_ros.simulation.worlds.long_drives import DriveSpec, render_drive
from scal3r_ros.training.data.clips import Clip


def render_clip(spec: SequenceSpec) -> Clip:
    """The clip of a spec; its ground truth has no gaps: depth 0 means sky."""
    rendered = render_sequence(spec)
    return Clip(rendered.images, rendered.depth_m, rendered.T_world_cam, rendered.intrinsics.K, zero_is_far=True)


def render_places(spec: DriveSpec) -> Clip:
    """The places of a long drive as a clip."""
    drive = render_drive(spec)
    truth = (drive.depth_m, drive.T_world_cam, drive.intrinsics.K)
    return Clip(drive.images, *truth, zero_is_far=True, place_frames=spec.frames)
