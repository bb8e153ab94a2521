import itertools
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from scal3r_ros.cli.simulate import simulate as simulate_command
from scal3r_ros.errors import SequenceError, SimulationError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.simulation import compiled as compiling
from scal3r_ros.simulation.drives.street import street_drive
from scal3r_ros.simulation.simulate import pinhole, render_frames, simulate
from scal3r_ros.simulation.town.town import build_town
from scal3r_ros.simulation.worlds.clips import SequenceSpec, render_sequence

CAMERA = pinhole(96, 64, 80.0)


@pytest.fixture(scope="module")
def drive() -> Trajectory:
    drive = street_drive(60.0, seed=2)
    return Trajectory(drive.stamps_ns[:12], drive.T_ref_cam[:12])


def test_the_bag_holds_what_was_rendered(tmp_path: Path, drive: Trajectory) -> None:
    told: list[int] = []
    simulate(drive, tmp_path / "bag", CAMERA, seed=2, depth_every=5, progress=told.append)
    frames = list(render_frames(drive, CAMERA, seed=2))
    assert told == list(range(1, len(drive) + 1))
    with BagReader(tmp_path / "bag") as reader:
        for read, made in zip(reader.frames(), frames, strict=True):
            assert read.stamp_ns == made.stamp_ns
            assert read.intrinsics == CAMERA
            np.testing.assert_array_equal(read.image, made.image)
        truth = reader.ground_truth()
        assert truth is not None
        np.testing.assert_array_equal(truth.stamps_ns, drive.stamps_ns)
        np.testing.assert_allclose(truth.T_ref_cam, drive.T_ref_cam, atol=1e-12)
        for (stamp_ns, depth_m), made in zip(reader.depth_frames(), frames[::5], strict=True):
            assert stamp_ns == made.stamp_ns
            np.testing.assert_array_equal(depth_m, made.depth_m)


def test_threads_change_nothing(drive: Trajectory) -> None:
    alone, together = (render_frames(drive, CAMERA, workers=workers) for workers in (1, 3))
    for one, other in itertools.zip_longest(alone, together):
        assert one.stamp_ns == other.stamp_ns
        assert one.image.tobytes() == other.image.tobytes()


def test_every_frame_has_noise_of_its_own(drive: Trajectory) -> None:
    parked = Trajectory(drive.stamps_ns, np.tile(drive.T_ref_cam[0], (len(drive), 1, 1)))
    town_drive = street_drive(60.0, seed=2)
    first, second = itertools.islice(render_frames(parked, CAMERA, town=build_town(town_drive)), 2)
    assert (first.image != second.image).mean() > 0.3
    np.testing.assert_array_equal(first.depth_m, second.depth_m)


def test_depth_can_be_left_out_and_bags_are_not_overwritten(tmp_path: Path, drive: Trajectory) -> None:
    simulate(drive, tmp_path / "bag", CAMERA, storage="mcap", depth_every=0)
    with BagReader(tmp_path / "bag") as reader:
        assert list(reader.depth_frames()) == []
    with pytest.raises(SequenceError, match="exists already"):
        simulate(drive, tmp_path / "bag", CAMERA)


@pytest.mark.parametrize("arguments", [(0, 10, 80), (10, 0, 80), (10, 10, 0), (10, 10, 180)])
def test_impossible_cameras_are_refused(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(SimulationError, match="cannot be made"):
        pinhole(*arguments)


def test_command_drives_along_given_poses(tmp_path: Path) -> None:
    drive = street_drive(40.0, seed=1)
    np.savetxt(tmp_path / "poses.txt", drive.T_ref_cam[:, :3].reshape(len(drive), -1))
    app = typer.Typer()
    app.command()(simulate_command)
    arguments = [
        "-o",
        tmp_path / "bag",
        "--trajectory",
        tmp_path / "poses.txt",
        "--width",
        64,
        "--height",
        32,
        "--level",
    ]
    result = CliRunner().invoke(app, [str(argument) for argument in [*arguments, "--max-frames", 4]])
    assert result.exit_code == 0, result.output
    assert "4 images" in result.output
    with BagReader(tmp_path / "bag") as reader:
        assert reader.image_count == 4


def test_command_writes_clips_to_train_on(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(simulate_command)
    arguments = ["-o", tmp_path / "bag", "--kind", "corridor", "--width", 64, "--height", 32, "--max-frames", 3]
    result = CliRunner().invoke(app, [str(argument) for argument in [*arguments, "--fov", 90, "--depth-every", 1]])
    assert result.exit_code == 0, result.output
    clip = render_sequence(SequenceSpec(0, 3, 64, 32, kind="corridor", fov_deg=90.0))
    with BagReader(tmp_path / "bag") as reader:
        frames, depths = list(reader.frames()), list(reader.depth_frames())
        truth = reader.ground_truth()
    assert truth is not None
    for index, frame in enumerate(frames):
        assert frame.intrinsics == clip.intrinsics
        np.testing.assert_array_equal(frame.image, clip.images[index])
        np.testing.assert_array_equal(depths[index][1], clip.depth_m[index])
    expected = clip.T_world_cam[:, :3, 3] - clip.T_world_cam[0, :3, 3]
    np.testing.assert_allclose(truth.T_ref_cam[:, :3, 3], expected, atol=1e-9)


def test_functions_are_compiled_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiling, "_Cache", refuse)

    @compiling.compiled
    def double(x: float) -> float:
        return 2.0 * x

    assert double(4.0) == 8.0
