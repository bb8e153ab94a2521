"""A camera that is lost: said so, mapped apart at a scale of its own, and joined where the map is seen again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from oracle import Oracle

from scal3r_ros.geometry import se3
from scal3r_ros.geometry.alignment import align_sim3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.mapping import MapperConfig, MapUpdate, OnlineMapper
from scal3r_ros.mapping.frontend.window import WindowConfig
from scal3r_ros.mapping.loops.config import LoopConfig
from scal3r_ros.mapping.values import FramePose, PoseSource
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, Frame, Previous
from scal3r_ros.simulation.simulate import SimulatedFrame, render_frames
from scal3r_ros.simulation.town.town import Town

OWN_UNIT = 0.4
APART, BACK = range(36, 60), range(66, 90)
COVERED = (*range(24, 36), *range(60, 66))


class OwnUnits(Oracle):
    """Knows the truth, but a chunk that shares no frame with one before has a unit of its own, as those after it."""

    unit = 1.0 / OWN_UNIT

    def reconstruct(self, chunk: Chunk, previous: Previous | None, following: Sequence[Chunk] = ()) -> ChunkGeometry:
        if previous is None:
            self.unit *= OWN_UNIT
        geometry = super().reconstruct(chunk, previous, following)
        T = geometry.T_chunk_cam.copy()
        T[:, :3, 3] *= self.unit
        return replace(geometry, T_chunk_cam=T, depth=geometry.depth * np.float32(self.unit))


@pytest.fixture(scope="module")
def interrupted(
    street_frames: list[SimulatedFrame], street_camera: Intrinsics, street_town: Town
) -> tuple[list[Frame], OwnUnits]:
    """24 images of a street, twelve black ones, 24 that look back down the street, black, the first 24 again."""
    around = se3.se3(se3.rotation_exp([0.0, np.pi, 0.0]), [0.0, 0.0, 0.0])
    there = np.stack([frame.T_ref_cam for frame in street_frames[:24]])
    back = there @ around
    way = Trajectory(even_stamps(48, 10.0), np.concatenate([there, back]))
    drawn = list(render_frames(way, street_camera, town=street_town, workers=2))
    shown = [*range(24), *[23] * 12, *range(24, 48), *[47] * 6, *range(24)]
    stamps = even_stamps(len(shown), 10.0)
    frames = [
        Frame(i, int(stamps[i]), drawn[number].image * np.uint8(i not in COVERED), street_camera)
        for i, number in enumerate(shown)
    ]
    return frames, OwnUnits({int(stamps[i]): drawn[number] for i, number in enumerate(shown)})


@pytest.fixture(scope="module")
def mapped(
    interrupted: tuple[list[Frame], OwnUnits],
) -> tuple[OnlineMapper, list[MapUpdate], dict[int, FramePose]]:
    frames, oracle = interrupted
    config = MapperConfig(
        window=WindowConfig(size=8, overlap=3, min_parallax=0.005), loops=LoopConfig(keyframes_per_submap=6)
    )
    mapper = OnlineMapper(config, oracle)
    updates = [update for frame in frames for update in mapper.push(frame)]
    given = {pose.index: pose for update in updates for pose in update.poses}
    return mapper, updates, given


def test_every_image_is_answered_and_lost_ones_are_said_to_be(
    mapped: tuple[OnlineMapper, list[MapUpdate], dict[int, FramePose]],
) -> None:
    mapper, _, given = mapped
    assert sorted(given) == list(range(90))
    assert all(given[i].source.measured for i in range(24))
    assert not any(given[i].source.measured for i in COVERED)
    assert all(given[i].source is PoseSource.LOST for i in range(30, 36))
    assert mapper.counters()["frames_lost"] >= 6


def test_what_nothing_connects_is_unconnected_and_says_it_knows_no_scale(
    mapped: tuple[OnlineMapper, list[MapUpdate], dict[int, FramePose]],
) -> None:
    _, updates, given = mapped
    apart = [given[i] for i in APART if given[i].source is PoseSource.UNCONNECTED]
    assert len(apart) >= 8
    assert min(pose.scale_sigma for pose in apart) > 1.0
    assert given[20].scale_sigma < 0.1
    notes = [update.submap.note for update in updates if update.submap is not None]
    assert sum("new segment" in note for note in notes) == 2


def test_it_is_joined_at_the_right_scale_within_two_seconds_of_seeing_the_map(
    mapped: tuple[OnlineMapper, list[MapUpdate], dict[int, FramePose]],
    interrupted: tuple[list[Frame], OwnUnits],
) -> None:
    mapper, _, given = mapped
    counters = mapper.counters()
    assert (counters["segments"], counters["segments_joined"]) == (2, 1)
    assert counters["submaps_unconnected"] == 4  # nothing connects what was seen the other way
    again = next(i for i in BACK if given[i].source is PoseSource.TRACKED)
    assert again - BACK[0] <= 20
    assert given[89].scale_sigma < 0.2
    trajectory = mapper.trajectory()
    black = {interrupted[0][i].stamp_ns for i in COVERED}
    apart = {interrupted[0][i].stamp_ns for i in APART}
    keep = [k for k, stamp in enumerate(trajectory.stamps_ns) if int(stamp) not in black | apart]
    assert len(keep) >= 44
    true = np.stack([interrupted[1].truth[int(trajectory.stamps_ns[k])].T_ref_cam for k in keep])[:, :3, 3]
    fit = align_sim3(trajectory.T_ref_cam[keep, :3, 3][:20], true[:20])
    error = np.linalg.norm(fit.transform.apply(trajectory.T_ref_cam[keep, :3, 3]) - true, axis=1)
    assert error.max() < 0.1 * np.linalg.norm(true[20] - true[0])
