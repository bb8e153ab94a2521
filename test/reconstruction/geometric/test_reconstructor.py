"""The reconstructor without weights on a rendered street."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tracked import tracked_chunks

from scal3r_ros.errors import ReconstructionError
from scal3r_ros.features.klt import KltConfig
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.reconstruction.geometric.plane_sweep import PlaneSweepConfig
from scal3r_ros.reconstruction.geometric.reconstructor import GeometricConfig, GeometricReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Previous
from scal3r_ros.simulation.simulate import SimulatedFrame

CONFIG = GeometricConfig(sweep=PlaneSweepConfig(width=120, planes=24))
SIZE, SHARED = 10, 4


def reconstructor() -> GeometricReconstructor:
    return GeometricReconstructor(CONFIG, KltConfig())


@pytest.fixture(scope="module")
def chunks(street_frames: list[SimulatedFrame], street_camera: Intrinsics) -> list[Chunk]:
    """Every second frame, tracked, in chunks that overlap."""
    return tracked_chunks(street_frames, street_camera, SIZE, SHARED, 3)


@pytest.fixture(scope="module")
def geometries(chunks: list[Chunk]) -> list[ChunkGeometry]:
    return in_turn(chunks)


def in_turn(chunks: list[Chunk]) -> list[ChunkGeometry]:
    own = reconstructor()
    done: list[ChunkGeometry] = []
    for chunk in chunks:
        previous = Previous(chunks[len(done) - 1], done[-1]) if done else None
        done.append(own.reconstruct(chunk, previous))
    return done


def way(T: np.ndarray) -> float:
    return float(np.linalg.norm(T[-1, :3, 3] - T[0, :3, 3]))


def test_chunks_are_measured_and_their_scale_is_that_of_the_one_before(
    chunks: list[Chunk], geometries: list[ChunkGeometry], street_frames: list[SimulatedFrame]
) -> None:
    scales = []
    for chunk, geometry in zip(chunks, geometries, strict=True):
        assert geometry.health is ChunkHealth.OK
        true = np.stack([street_frames[frame.index].T_ref_cam for frame in chunk.frames])
        scales.append(way(geometry.T_chunk_cam) / way(true))
        relative = np.linalg.inv(true[0]) @ true[-1]
        found = np.linalg.inv(geometry.T_chunk_cam[0]) @ geometry.T_chunk_cam[-1]
        assert np.abs(found[:3, :3] - relative[:3, :3]).max() < np.deg2rad(0.5)
    assert np.abs(np.diff(np.log(scales))).max() < 0.04  # of so small images


def test_shared_frames_keep_place_and_depth(geometries: list[ChunkGeometry]) -> None:
    for before, after in itertools.pairwise(geometries):
        shared = before.T_chunk_cam[-SHARED:]
        np.testing.assert_allclose(
            after.T_chunk_cam[:2, :3, 3], (np.linalg.inv(shared[0]) @ shared[:2])[:, :3, 3], atol=1e-3
        )
        np.testing.assert_array_equal(after.depth[:SHARED], before.depth[-SHARED:])


def test_everything_has_the_shape_that_the_protocol_promises(
    chunks: list[Chunk], geometries: list[ChunkGeometry]
) -> None:
    for chunk, geometry in zip(chunks, geometries, strict=True):
        count, small = len(chunk.frames), geometry.intrinsics[0]
        assert geometry.T_chunk_cam.shape == (count, 4, 4)
        assert geometry.depth.shape == geometry.confidence.shape == (count, small.height, small.width)
        assert geometry.depth.dtype == geometry.confidence.dtype == np.float32
        assert len(geometry.intrinsics) == count
        assert geometry.tracks is not None
        assert np.all(np.diff(geometry.tracks.ids) > 0)
        assert len(geometry.tracks.ids) == len(geometry.tracks.points_chunk) == len(geometry.tracks.sigma)
        assert all(seconds >= 0 for seconds in geometry.timings.values())


def test_equal_chunks_give_equal_bytes_also_after_a_reset(chunks: list[Chunk], geometries: list[ChunkGeometry]) -> None:
    again = in_turn(chunks)
    for one, other in zip(geometries, again, strict=True):
        assert one.T_chunk_cam.tobytes() == other.T_chunk_cam.tobytes()
        assert one.depth.tobytes() == other.depth.tobytes()
        assert one.confidence.tobytes() == other.confidence.tobytes()
    used = reconstructor()
    used.reconstruct(chunks[2], None)
    used.reset()
    assert used.reconstruct(chunks[0], None).depth.tobytes() == geometries[0].depth.tobytes()


def test_frames_without_tracks_are_tracked_here(chunks: list[Chunk]) -> None:
    bare = replace(chunks[0], frames=tuple(replace(frame, features=None) for frame in chunks[0].frames))
    assert reconstructor().reconstruct(bare, None).health is ChunkHealth.OK


def test_an_uncalibrated_camera_is_refused_with_what_to_do(chunks: list[Chunk]) -> None:
    bare = replace(chunks[0], frames=tuple(replace(frame, intrinsics=None) for frame in chunks[0].frames))
    with pytest.raises(ReconstructionError, match="camera_info"):
        reconstructor().reconstruct(bare, None)


def test_a_calibration_that_changes_within_a_chunk_loses_it_and_the_next_one_is_measured(chunks: list[Chunk]) -> None:
    frames = list(chunks[0].frames)
    assert frames[3].intrinsics is not None
    frames[3] = replace(frames[3], intrinsics=replace(frames[3].intrinsics, fx=99.0))
    with closing(reconstructor()) as geometric:
        lost = geometric.reconstruct(replace(chunks[0], frames=tuple(frames)), None)
        assert lost.health is ChunkHealth.LOST
        assert "calibration changes" in lost.note
        assert not lost.confidence.any()
        np.testing.assert_array_equal(lost.T_chunk_cam, np.tile(np.eye(4), (len(frames), 1, 1)))
        assert geometric.reconstruct(chunks[0], None).health is ChunkHealth.OK


def test_the_threads_of_the_process_are_left_as_they_were(chunks: list[Chunk]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with closing(reconstructor()) as geometric:
            seen = [torch.get_num_threads()]
            geometric.reconstruct(chunks[0], None)
            new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            new.start()
            new.join()
            assert [*seen, torch.get_num_threads()] == [3, 3, 3]
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(ReconstructionError, match="'nonsense'"):
        GeometricReconstructor(replace(CONFIG, device="nonsense"), KltConfig())


def test_black_images_are_no_error(chunks: list[Chunk]) -> None:
    black = tuple(replace(frame, image=np.zeros_like(frame.image), features=None) for frame in chunks[0].frames)
    geometry = reconstructor().reconstruct(replace(chunks[0], frames=black), None)
    assert geometry.health is ChunkHealth.FEW_TRACKS
    assert geometry.note
    assert not geometry.confidence.any()
    assert np.isfinite(geometry.T_chunk_cam).all()


def test_all_that_a_chunk_needs_is_compiled_before_the_first(chunks: list[Chunk], tmp_path: Path) -> None:
    path = tmp_path / "chunks.pickle"
    path.write_bytes(pickle.dumps((CONFIG, chunks[:2])))
    program = """
import pickle, sys
from numba.core.dispatcher import Dispatcher
from scal3r_ros.features.klt import KltConfig
from scal3r_ros.reconstruction.geometric.reconstructor import GeometricReconstructor
from scal3r_ros.reconstruction.protocol import Previous

def compiled():
    ours = [module for name, module in sys.modules.items() if name.startswith("scal3r_ros.")]
    functions = {each for module in ours for each in vars(module).values() if isinstance(each, Dispatcher)}
    return {(function.py_func.__qualname__, signature) for function in functions for signature in function.signatures}

config, (first, second) = pickle.load(open(sys.argv[1], "rb"))
made = GeometricReconstructor(config, KltConfig())
before = compiled()
made.reconstruct(second, Previous(first, made.reconstruct(first, None)))
made.close()
print(len(before), sorted(name for name, _ in compiled() - before))
"""
    ran = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    count, later = ran.stdout.split(maxsplit=1)
    assert int(count) > 5
    assert later.strip() == "[]"
