from pathlib import Path

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import typer
from typer.testing import CliRunner

from scal3r_ros.cli.bag import bag
from scal3r_ros.errors import SequenceError
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.sources import SourceOptions, open_source

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
COUNT = 6

app = typer.Typer()
app.command()(bag)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images 0, 2, 4 … of one camera, depth of every second of them, poses, times and calibration."""
    rng = np.random.default_rng(0)
    for name in ("color", "depth"):
        (tmp_path / name).mkdir()
    for index in range(COUNT):
        cv2.imwrite(str(tmp_path / "color" / f"{2 * index:06d}.png"), rng.integers(0, 256, (12, 16, 3), np.uint8))
        if index % 2 == 0:
            depth = np.full((12, 16), 1000 * (index + 1), np.uint16)
            cv2.imwrite(str(tmp_path / "depth" / f"{2 * index:06d}.png"), depth)
    T = np.tile(np.eye(4), (COUNT, 1, 1))
    T[:, 2, 3] = np.arange(COUNT)
    np.savetxt(tmp_path / "poses.txt", T[:, :3].reshape(COUNT, -1))
    np.savetxt(tmp_path / "times.txt", 0.25 * np.arange(COUNT))
    (tmp_path / "calib.txt").write_text("20 0 7.5\n0 20 5.5\n0 0 1\n")
    return tmp_path / "color"


def test_bag_holds_images_calibration_poses_and_depth_at_their_stamps(images: Path) -> None:
    root = images.parent
    out = root / "bag"
    said = run(images, "--calib", root / "calib.txt", "--rate", 10, "--truth", root / "poses.txt",
               "--depth", root / "depth", "-o", out)  # fmt: skip
    assert "6 images, 6 true poses, 3 true depth images" in said
    with BagReader(out) as reader:
        frames = list(reader.frames())
        stamps = [10**18 + index * 10**8 for index in range(COUNT)]
        assert [frame.stamp_ns for frame in frames] == stamps
        for index, frame in enumerate(frames):
            expected = cv2.imread(str(images / f"{2 * index:06d}.png"))[..., ::-1]
            np.testing.assert_array_equal(frame.image, expected)
        truth = reader.ground_truth()
        assert truth is not None
        assert truth.stamps_ns.tolist() == stamps
        assert truth.T_ref_cam[:, 2, 3].tolist() == list(range(COUNT))
        depths = {stamp_ns: float(depth.mean()) for stamp_ns, depth in reader.depth_frames()}
        assert depths == {stamps[index]: pytest.approx(index + 1.0) for index in (0, 2, 4)}


def test_times_replace_the_rate_and_tum_poses_find_their_images(images: Path) -> None:
    root = images.parent
    # In the clock of the times, shifted by less than half a period, with poses between the images.
    stamps = np.arange(0.01, 1.2, 0.125)
    lines = [f"{stamp:.3f} {stamp:.3f} 0 0 0 0 0 1" for stamp in stamps]
    (root / "truth.tum").write_text("\n".join(lines))
    run(images, "--calib", root / "calib.txt", "--times", root / "times.txt", "--truth", root / "truth.tum",
        "--storage", "mcap", "--max-frames", 4, "-o", root / "bag")  # fmt: skip
    with BagReader(root / "bag") as reader:
        assert [frame.stamp_ns - 10**18 for frame in reader.frames()] == [0, 250_000_000, 500_000_000, 750_000_000]
        truth = reader.ground_truth()
        assert truth is not None
        np.testing.assert_allclose(truth.T_ref_cam[:, 0, 3], [0.01, 0.26, 0.51, 0.76])


def test_times_with_a_clock_of_their_own_keep_it(images: Path) -> None:
    root = images.parent
    (root / "times.txt").write_text("\n".join(f"{1_600_000_000 + index}.5" for index in range(COUNT)))
    run(images, "--calib", root / "calib.txt", "--times", root / "times.txt", "-o", root / "bag")
    with BagReader(root / "bag") as reader:
        assert next(reader.frames()).stamp_ns == 1_600_000_000_500_000_000


@pytest.mark.parametrize(
    ("calib", "is_turned"),
    [
        ("20 0 5.5\n0 20 7.5\n0 0 1\n", True),
        ("image_width: 16\nimage_height: 12\nfx: 20\nfy: 20\ncx: 7.5\ncy: 5.5\n", False),
    ],
    ids=["calibrated upright", "calibrated as stored"],
)
def test_photographs_are_turned_upright_with_their_depth_as_by_replay(
    images: Path, calib: str, is_turned: bool
) -> None:
    root = images.parent
    for path in sorted(images.glob("*.png")):
        exif = PIL.Image.Exif()
        exif[PIL.ExifTags.Base.Orientation] = 6
        pixels = np.array(PIL.Image.open(path))
        PIL.Image.fromarray(pixels).save(path, exif=exif)
    cv2.imwrite(str(root / "depth" / "000000.png"), np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) + 1)
    (root / "calib.yaml").write_text(calib)
    run(images, "--calib", root / "calib.yaml", "--rate", 10, "--depth", root / "depth", "-o", root / "bag")
    with BagReader(root / "bag") as reader:
        written = next(reader.frames())
        _, depth = next(reader.depth_frames())
    options = SourceOptions(calib=root / "calib.yaml", rate_hz=10.0)
    replayed = next(open_source(images, options).frames())
    np.testing.assert_array_equal(written.image, replayed.image)
    assert written.intrinsics == replayed.intrinsics
    assert written.image.shape == ((16, 12, 3) if is_turned else (12, 16, 3))
    upper_left = depth[0, 0] * 1000
    assert upper_left == pytest.approx(16 * 11 + 1 if is_turned else 1)  # turned by the clock, the lower left comes up


def test_true_poses_of_photographs_that_are_turned_are_refused(images: Path) -> None:
    """Whether they are of the camera before or after, no file tells."""
    root = images.parent
    for path in sorted(images.glob("*.png")):
        exif = PIL.Image.Exif()
        exif[PIL.ExifTags.Base.Orientation] = 6
        PIL.Image.fromarray(np.rot90(np.array(PIL.Image.open(path))).copy()).save(path, exif=exif)
    common = (images, "--calib", root / "calib.txt", "--rate", 10, "-o", root / "bag")
    with pytest.raises(SequenceError, match="before or after; turn the files themselves"):
        run(*common, "--truth", root / "poses.txt")
    assert not (root / "bag").exists()
    run(*common)


def test_wrong_input_leaves_no_bag(images: Path) -> None:
    root, out = images.parent, images.parent / "bag"
    common = ("--calib", root / "calib.txt", "-o", out)
    with pytest.raises(SequenceError, match="give --rate or --times"):
        run(images, *common)
    (root / "short.txt").write_text("0\n1\n")
    with pytest.raises(SequenceError, match="2 times for 6 images"):
        run(images, *common, "--times", root / "short.txt")
    (root / "other").mkdir()
    cv2.imwrite(str(root / "other" / "000777.png"), np.ones((12, 16), np.uint16))
    with pytest.raises(SequenceError, match="number is that of one of the images"):
        run(images, *common, "--rate", 10, "--depth", root / "other")
    (root / "far.tum").write_text("5000 0 0 0 0 0 0 1\n")
    with pytest.raises(SequenceError, match="same clock"):
        run(images, *common, "--rate", 10, "--truth", root / "far.tum")
    cv2.imwrite(str(images / "000004.png"), np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(SequenceError, match=r"000004\.png has 8×6 pixels"):
        run(images, *common, "--rate", 10)
    (images / "000004.png").write_bytes(b"cut")
    with pytest.raises(SequenceError, match=r"000004\.png cannot be decoded"):
        run(images, *common, "--rate", 10)
    assert not out.exists()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "images", "options", "frames"),
    [
        ("kitti00_160", ".", ("--times", "times_first160.txt", "--truth", "poses_first160.txt"), 160),
        ("kitti06_51", "image_0", ("--rate", "10", "--truth", "poses.txt"), 51),
        ("seven_scenes_1000", "color", ("--rate", "30", "--truth", "poses.txt", "--depth", "depth"), 60),
    ],
)
def test_recorded_sequences_become_bags(
    tmp_path: Path, name: str, images: str, options: tuple[str, ...], frames: int
) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"recorded sequence {name} is not at hand in ../shared/data")
    paths = [folder / word if (folder / word).exists() else word for word in options]
    said = run(folder / images, "--calib", folder / "calib.txt", *paths, "--max-frames", frames, "-o", tmp_path / "bag")
    assert f"{frames} images, {frames} true poses" in said
    with BagReader(tmp_path / "bag") as reader:
        assert reader.image_count == frames
        assert reader.calibration is not None
        assert next(reader.frames()).intrinsics is not None
        assert len(reader.ground_truth() or ()) == frames
        assert sum(1 for _ in reader.depth_frames()) == (3 if "--depth" in options else 0)
