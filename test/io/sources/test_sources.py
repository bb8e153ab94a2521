"""Folders, videos and bags give the same images; a part of them can be chosen."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.bags.topics import FIRST_STAMP_NS, header, typestore
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration
from scal3r_ros.io.sources import SourceOptions, open_source
from scal3r_ros.reconstruction.protocol import Frame

COUNT, HEIGHT, WIDTH = 12, 48, 64
CALIB = "50 0 31.5\n0 50 23.5\n0 0 1\n"


def picture(index: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 10 * index + 20, np.uint8)
    image[: HEIGHT // 2, :, 0] = 200  # the upper half is redder
    return image


def folder(path: Path) -> Path:
    path.mkdir()
    for index in range(COUNT):
        cv2.imwrite(str(path / f"{index}.png"), picture(index)[..., ::-1])
    return path


def bag(path: Path) -> Path:
    with BagWriter(path) as writer:
        for index in range(COUNT):
            stamp_ns = FIRST_STAMP_NS + index * 10**8
            calibration = CameraCalibration.pinhole(WIDTH, HEIGHT, [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1])
            writer.write_camera_info(stamp_ns, calibration)
            writer.write_image(stamp_ns, picture(index))
    return path


def video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 4_000_000
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def read(path: Path, **options) -> list[Frame]:
    chosen = SourceOptions(**options)
    with closing(open_source(path, chosen)) as source:
        return list(chosen.select(source.frames()))


@pytest.mark.parametrize("name", ["drive", "drive.mp4", "drive.avi", "drive.mov", "bag"])
def test_every_kind_of_source_gives_images_times_and_camera(tmp_path: Path, name: str) -> None:
    make = folder if name == "drive" else bag if name == "bag" else video
    (tmp_path / "calib.txt").write_text(CALIB)
    frames = read(make(tmp_path / name), calib=tmp_path / "calib.txt", rate_hz=10.0)
    assert [frame.index for frame in frames] == list(range(COUNT))
    stamps = FIRST_STAMP_NS + np.arange(COUNT) * 10**8
    np.testing.assert_allclose([frame.stamp_ns - FIRST_STAMP_NS for frame in frames], stamps - FIRST_STAMP_NS, atol=10)
    assert all(frame.intrinsics == Intrinsics(50.0, 50.0, 31.5, 23.5, WIDTH, HEIGHT) for frame in frames)
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.image[4, 4], picture(index)[4, 4], atol=12)
        np.testing.assert_allclose(frame.image[-4, 4], picture(index)[-4, 4], atol=12)


def test_a_part_is_chosen_by_time_and_number(tmp_path: Path) -> None:
    path = folder(tmp_path / "drive")

    def taken(**options) -> list[int]:
        frames = read(path, rate_hz=10.0, **options)
        assert [frame.index for frame in frames] == list(range(len(frames)))
        return [round((frame.stamp_ns - FIRST_STAMP_NS) / 1e8) for frame in frames]

    assert taken(every=5) == [0, 5, 10]
    assert taken(start_s=0.35) == list(range(4, 12))
    assert taken(start_s=0.3, duration_s=0.4) == [3, 4, 5, 6, 7]
    assert taken(start_s=0.2, every=3, max_frames=2) == [2, 5]
    assert SourceOptions(every=5).expected(12) == 3
    assert SourceOptions(every=5, max_frames=2).expected(12) == 2
    assert SourceOptions().expected(None) is None


@pytest.mark.parametrize(
    "stamps_s",
    [
        [10.0, 10.1, 0.0, 10.3, 10.4],  # one that was not set
        [0.0, 1e4, 10000.1, 10000.2, 10000.3],
        [10.0, 10.1, 8.0, 8.1, 8.2],  # a bag that loops, a clock that is set back
        [10.0, 10.1, 9e6, 10.3, 10.4],  # one far ahead
        [10.0, 10.1, 10.1, 10.05, 10.3],
    ],
)
def test_what_a_stamp_is_worth_is_not_for_the_source_to_judge(tmp_path: Path, stamps_s: list[float]) -> None:
    """Every image reaches the mapper, which refuses it for its stamp and counts it."""
    stamps = [round(stamp * 1e9) for stamp in stamps_s]
    with BagWriter(tmp_path / "bag") as writer:
        for number, stamp_ns in enumerate(stamps):
            message = typestore().types["sensor_msgs/msg/Image"](
                header(stamp_ns, "camera"), HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, picture(number).ravel()
            )
            writer.write_message("/camera/image", 10**18 + number * 10**8, message)
    for options in ({}, {"duration_s": 3.0}):
        assert [frame.stamp_ns for frame in read(tmp_path / "bag", **options)] == stamps


def test_names_and_files_give_the_times(tmp_path: Path) -> None:
    path = tmp_path / "drive"
    path.mkdir()
    for index in range(3):
        cv2.imwrite(str(path / f"1700000000.{index}.png"), picture(index))
    assert [frame.stamp_ns for frame in read(path)] == [1_700_000_000 * 10**9 + index * 10**8 for index in range(3)]
    (tmp_path / "times.txt").write_text("0.0\n0.5\n0.75\n")
    stamps = [frame.stamp_ns - FIRST_STAMP_NS for frame in read(path, times=tmp_path / "times.txt")]
    assert stamps == [0, 5 * 10**8, 75 * 10**7]
    (tmp_path / "times.txt").write_text("0.0\n0.5\n")
    with pytest.raises(SequenceError, match="2 times for 3 images"):
        open_source(path, SourceOptions(times=tmp_path / "times.txt"))


def test_a_camera_that_nobody_knows_is_uncalibrated_or_of_the_assumed_field_of_view(tmp_path: Path) -> None:
    path = folder(tmp_path / "drive")
    assert read(path)[0].intrinsics is None
    assumed = read(path, assumed_fov_deg=90.0)[0].intrinsics
    assert assumed is not None
    assert (assumed.fx, assumed.fy) == pytest.approx((32.0, 32.0))
    assert (assumed.cx, assumed.cy) == (31.5, 23.5)


def test_damaged_images_and_other_sizes_are_counted(tmp_path: Path) -> None:
    path = folder(tmp_path / "drive")
    (path / "3.png").write_bytes(b"no image")
    cv2.imwrite(str(path / "5.png"), picture(5)[:-8])
    with closing(open_source(path, SourceOptions(assumed_fov_deg=90.0))) as source:
        assert len(list(source.frames())) == COUNT - 2
        assert source.image_count == COUNT
        assert source.dropped == {"undecodable picture": 1, "calibration of another size": 1}


def test_a_video_that_is_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with closing(open_source(path)) as source:
        assert 0 < len(list(source.frames())) < COUNT


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [("a.mp4", b"no video", "cannot be read"), ("a.txt", b"text", "no bag"), (None, b"", "does not exist")],
)
def test_what_holds_no_images_is_one_clear_sentence(
    tmp_path: Path, name: str | None, content: bytes, complaint: str
) -> None:
    path = tmp_path / (name or "missing")
    if name is not None:
        path.write_bytes(content)
    with pytest.raises(SequenceError, match=complaint):
        open_source(path)


def test_an_empty_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="holds no images"):
        open_source(tmp_path)


def test_the_camera_has_the_size_of_most_images(tmp_path: Path) -> None:
    path = folder(tmp_path / "drive")
    cv2.imwrite(str(path / "0.png"), picture(0)[:-8])
    (tmp_path / "calib.txt").write_text(CALIB)
    with closing(open_source(path, SourceOptions(calib=tmp_path / "calib.txt"))) as source:
        assert len(list(source.frames())) == COUNT - 1
        assert source.dropped == {"calibration of another size": 1}


def test_links_to_nothing_are_counted(tmp_path: Path) -> None:
    path = folder(tmp_path / "drive")
    (path / "3.png").unlink()
    (path / "3.png").symlink_to(tmp_path / "nothing.png")
    with closing(open_source(path)) as source:
        frames = list(source.frames())
    assert [frame.stamp_ns - FIRST_STAMP_NS for frame in frames] == [n * 10**8 for n in range(COUNT) if n != 3]
    assert source.dropped == {"undecodable picture": 1}


def test_pixels_that_are_no_whole_numbers_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "drive")
    (path / "3.png").unlink()
    cv2.imwrite(str(path / "3.tif"), picture(3).astype(np.float32) / 255)
    with closing(open_source(path)) as source:
        assert len(list(source.frames())) == COUNT - 1


def photographs(path: Path, orientations: list[int]) -> Path:
    """As a phone stores them: in the sensor's rows, with the turn that makes them upright beside."""
    path.mkdir()
    for index, orientation in enumerate(orientations):
        exif = PIL.Image.Exif()
        exif[PIL.ExifTags.Base.Orientation] = orientation
        PIL.Image.fromarray(np.ascontiguousarray(np.rot90(picture(index)))).save(path / f"{index}.png", exif=exif)
    return path


def test_photographs_are_turned_upright_all_alike(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text(CALIB)
    frames = read(photographs(tmp_path / "portrait", [6, 1, 8]), calib=tmp_path / "calib.txt")
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(index))
    assert [frame.intrinsics for frame in frames] == [Intrinsics(50.0, 50.0, 31.5, 23.5, WIDTH, HEIGHT)] * 3
    as_stored = read(photographs(tmp_path / "landscape", [1, 6]), assumed_fov_deg=90.0)
    assert [frame.image.shape for frame in as_stored] == [(WIDTH, HEIGHT, 3)] * 2


def test_a_calibration_for_the_size_as_stored_leaves_photographs_so(tmp_path: Path) -> None:
    text = f"image_width: {HEIGHT}\nimage_height: {WIDTH}\nfx: 50\nfy: 50\ncx: 23.5\ncy: 31.5\n"
    (tmp_path / "calib.yaml").write_text(text)
    frames = read(photographs(tmp_path / "portrait", [6, 6]), calib=tmp_path / "calib.yaml")
    assert [frame.image.shape for frame in frames] == [(WIDTH, HEIGHT, 3)] * 2


@pytest.mark.parametrize("suffix", ["mpg", "ts", "wmv", "MP4"])
def test_other_videos_are_read(tmp_path: Path, suffix: str) -> None:
    with av.open(str(tmp_path / f"drive.{suffix}"), "w") as container:
        stream = container.add_stream("wmv2" if suffix == "wmv" else "mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode())
    assert len(read(tmp_path / f"drive.{suffix}")) == COUNT


@pytest.mark.parametrize(("suffix", "share"), [("mkv", 0.5), ("avi", 0.9)])
def test_a_video_that_is_cut_off_says_how_much_is_there(tmp_path: Path, suffix: str, share: float) -> None:
    whole = video(tmp_path / f"drive.{suffix}")
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: round(whole.stat().st_size * share)])
    for path, is_cut in ((whole, False), (cut, True)):
        with closing(open_source(path)) as source:
            frames = list(source.frames())
            assert (source.damage is not None) == is_cut
            assert (len(frames) < COUNT) == is_cut
    assert "cut off" in str(source.damage)


def test_a_folder_with_bags_in_it_names_them(tmp_path: Path) -> None:
    bag(tmp_path / "second")
    bag(tmp_path / "first")
    with pytest.raises(SequenceError, match="has bags in it; give first or second"):
        open_source(tmp_path)
    for file in (tmp_path / "first").glob("*.db3"):
        file.unlink()
    with pytest.raises(SequenceError, match="none of its"):
        open_source(tmp_path / "first")
    with pytest.raises(SequenceError, match="no file and no folder"):
        open_source(Path("/dev/null"))


def marked_as_turned(path: Path) -> Path:
    """A video as a phone stores it upright: the turn by the clock stands in the matrix of its track."""
    content = bytearray(video(path).read_bytes())
    matrix = content.find(b"tkhd") + 44
    one = 1 << 16
    content[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def test_a_video_is_turned_upright_unless_the_calibration_is_for_it_as_stored(tmp_path: Path) -> None:
    path = marked_as_turned(tmp_path / "portrait.mp4")
    upright = read(path, assumed_fov_deg=90.0)[5]
    assert upright.image.shape == (WIDTH, HEIGHT, 3)
    assert upright.image[8, -4, 0] > 180 > 100 > upright.image[8, 4, 0]  # what was up is right
    (tmp_path / "calib.txt").write_text(CALIB)
    stored = read(path, calib=tmp_path / "calib.txt")[5]
    assert stored.intrinsics == Intrinsics(50.0, 50.0, 31.5, 23.5, WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.rot90(stored.image, -1), upright.image)


def test_a_video_whose_first_pictures_are_not_to_be_shown_is_whole(tmp_path: Path) -> None:
    """As one that was trimmed on a phone; one whose recording was broken off has no index."""
    with av.open(str(tmp_path / "trimmed.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = index - 4
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with closing(open_source(tmp_path / "trimmed.mp4")) as source:
        assert len(list(source.frames())) == COUNT - 4
        assert source.damage is None
    whole = video(tmp_path / "whole.mp4").read_bytes()
    index_at = whole.rfind(b"moov") - 4
    (tmp_path / "broken_off.mp4").write_bytes(whole[:index_at])
    with pytest.raises(SequenceError, match="its index is missing"):
        open_source(tmp_path / "broken_off.mp4")


def test_a_recording_in_fragments_that_is_cut_off_says_so(tmp_path: Path) -> None:
    """Its index, which comes first, does not tell how many pictures follow."""
    path = tmp_path / "drive.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_every_frame+empty_moov"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode())
    for share, is_cut in ((1.0, False), (0.6, True)):
        content = path.read_bytes()
        path.write_bytes(content[: round(len(content) * share)])
        with closing(open_source(path)) as source:
            count = len(list(source.frames()))
            assert (count < COUNT, source.damage is not None) == (is_cut, is_cut)


def test_a_folder_of_what_cannot_be_read_names_it(tmp_path: Path) -> None:
    video(tmp_path / "drive.mp4")
    with pytest.raises(SequenceError, match=r"has videos in it; give drive\.mp4"):
        open_source(tmp_path)
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "IMG_1.HEIC").write_bytes(b"heic")
    with pytest.raises(SequenceError, match=r"IMG_1\.HEIC and others like it cannot be read: convert them"):
        open_source(tmp_path / "phone")


def test_what_is_left_out_of_a_folder_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder(tmp_path / "phone")
    (path / "IMG_1.HEIC").write_bytes(b"heic")
    open_source(path)
    assert "1 images in" in caplog.text
    assert "IMG_1.HEIC" in caplog.text
    pages = [PIL.Image.fromarray(picture(index)) for index in range(3)]
    (tmp_path / "pages").mkdir()
    pages[0].save(tmp_path / "pages" / "stack.tif", save_all=True, append_images=pages[1:])
    open_source(tmp_path / "pages")
    assert "has 3 pages" in caplog.text
