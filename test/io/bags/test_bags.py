"""Bags written by the writer and read back, whole, damaged, and made by others."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from scal3r_ros.errors import SequenceError
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.bags.file import BagFile
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.topics import typestore
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration

Storage = Literal["sqlite3", "mcap"]
STORAGES: tuple[Storage, ...] = ("sqlite3", "mcap")
HEIGHT, WIDTH, COUNT = 48, 64, 60
CALIBRATION = CameraCalibration.pinhole(WIDTH, HEIGHT, [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1])
FIRST_NS = 1_700_000_000_000_000_123


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def pose(index: int) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array([0.0, 0.03 * index, 0.1]))[0]
    T[:3, 3] = index, 0.5, -0.25
    return T


def stamp(index: int) -> int:
    return FIRST_NS + index * 100_000_000


def write_bag(path: Path, storage: Storage = "sqlite3", count: int = COUNT) -> Path:
    with BagWriter(path, storage) as writer:
        for index in range(count):
            writer.write_camera_info(stamp(index), CALIBRATION)
            writer.write_image(stamp(index), picture(index))
            writer.write_pose(stamp(index), pose(index))
            if index % 10 == 0:
                writer.write_depth(stamp(index), np.full((HEIGHT, WIDTH), index + 0.5, np.float32))
    return path


def image_message(index: int, **changes: Any) -> Any:
    types = typestore().types
    stamp_ns = stamp(index)
    time = types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    fields: dict[str, Any] = {
        "header": types["std_msgs/msg/Header"](time, "camera"), "height": HEIGHT, "width": WIDTH, "encoding": "rgb8",
        "is_bigendian": 0, "step": 3 * WIDTH, "data": picture(index).reshape(-1),
    }  # fmt: skip
    return types["sensor_msgs/msg/Image"](**(fields | changes))


def write_messages(path: Path, messages: dict[str, list[Any]]) -> Path:
    with Writer(path, version=9) as writer:
        for topic, items in messages.items():
            kind = items[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=typestore())
            for index, message in enumerate(items):
                writer.write(connection, stamp(index), typestore().serialize_cdr(message, kind))
    return path


@pytest.mark.parametrize("storage", STORAGES)
def test_what_is_written_is_read_back(tmp_path: Path, storage: Storage) -> None:
    with BagReader(write_bag(tmp_path / "bag", storage)) as reader:
        assert (reader.image_topic, reader.camera_info_topic) == ("/camera/image", "/camera/camera_info")
        assert reader.image_count == COUNT
        assert reader.duration_s == pytest.approx((COUNT - 1) * 0.1)
        frames = list(reader.frames())
        assert [frame.index for frame in frames] == list(range(COUNT))
        for index, frame in enumerate(frames):
            assert frame.stamp_ns == stamp(index)
            np.testing.assert_array_equal(frame.image, picture(index))
            assert frame.intrinsics == Intrinsics(50, 50, 31.5, 23.5, WIDTH, HEIGHT)
        truth = reader.ground_truth()
        assert truth is not None
        np.testing.assert_array_equal(truth.stamps_ns, [stamp(index) for index in range(COUNT)])
        np.testing.assert_allclose(truth.T_ref_cam, [pose(index) for index in range(COUNT)], atol=1e-12)
        depths = list(reader.depth_frames())
        assert [stamp_ns for stamp_ns, _ in depths] == [stamp(index) for index in range(0, COUNT, 10)]
        assert all((depth == index + 0.5).all() for (_, depth), index in zip(depths, range(0, COUNT, 10), strict=True))
        assert not reader.dropped
        assert reader.damage is None


@pytest.mark.parametrize("storage", STORAGES)
def test_a_single_file_is_a_bag_too(tmp_path: Path, storage: Storage) -> None:
    folder = write_bag(tmp_path / "bag", storage)
    file = next(path for path in folder.iterdir() if path.name != "metadata.yaml")
    with BagReader(file) as reader:
        assert sum(1 for _ in reader.frames()) == COUNT


@pytest.mark.parametrize("storage", STORAGES)
def test_raw_messages_are_all_of_the_bag_in_order(tmp_path: Path, storage: Storage) -> None:
    with BagFile(write_bag(tmp_path / "bag", storage, count=20)) as bag:
        messages = list(bag.messages())
        assert len(messages) == 3 * 20 + 3
        stamps = [message.stamp_ns for message in messages]
        assert stamps == sorted(stamps)
        first = next(message for message in messages if message.topic == "/camera/image")
        assert first.kind == "sensor_msgs/msg/Image"
        np.testing.assert_array_equal(typestore().deserialize_cdr(first.data, first.kind).data, picture(0).reshape(-1))


def test_grey_images_are_mono8_and_come_back_with_three_channels(tmp_path: Path) -> None:
    grey = picture(0)[..., 0]
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_image(stamp(0), grey)
    with BagReader(tmp_path / "bag") as reader:
        (frame,) = reader.frames()
        assert frame.intrinsics is None
        np.testing.assert_array_equal(frame.image, np.dstack([grey] * 3))


def test_an_existing_bag_is_not_overwritten_but_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    write_bag(tmp_path / "bag", count=1)
    with pytest.raises(SequenceError, match="exists already"):
        write_bag(tmp_path / "bag", count=1)


@pytest.mark.parametrize("storage", STORAGES)
def test_an_interrupted_writer_leaves_nothing_behind(tmp_path: Path, storage: Storage) -> None:
    def stop_half_way() -> None:
        with BagWriter(tmp_path / "bag", storage) as writer:
            writer.write_image(stamp(0), picture(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert not (tmp_path / "bag").exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from scal3r_ros.errors import SequenceError
from scal3r_ros.io.bags.writer import BagWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with BagWriter(Path(sys.argv[1]), sys.argv[2]) as writer:
        for index in range(200):
            writer.write_image(index + 1, np.random.default_rng(index).integers(0, 255, (100, 100, 3), np.uint8))
except SequenceError as error:
    print(error)
"""


@pytest.mark.parametrize("storage", STORAGES)
def test_a_full_disk_is_one_sentence_and_its_space_is_given_back(tmp_path: Path, storage: Storage) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "bag"), storage], capture_output=True, text=True, check=False
    )
    assert "cannot be written" in run.stdout
    assert "disk full" in run.stdout
    assert run.stdout.count("\n") == 1
    assert run.stderr == ""
    assert not (tmp_path / "bag").exists()


def test_wrong_arrays_and_storages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="unknown; choose one of sqlite3, mcap"):
        BagWriter(tmp_path / "bag", "zip")  # type: ignore[arg-type]
    with pytest.raises(SequenceError, match="not open"):
        BagWriter(tmp_path / "bag").write_image(stamp(0), picture(0))
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_image(stamp(0), picture(0))
        with pytest.raises(SequenceError, match="cannot be written; give"):
            writer.write_image(stamp(0), picture(0).astype(np.float32))  # type: ignore[arg-type]
        with pytest.raises(SequenceError, match="cannot be written; give"):
            writer.write_depth(stamp(0), picture(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95, 0.999])
def test_a_cut_off_bag_gives_its_whole_frames_then_says_so(tmp_path: Path, storage: Storage, part: float) -> None:
    folder = write_bag(tmp_path / "bag", storage, count=300)
    file = next(path for path in folder.iterdir() if path.name != "metadata.yaml")
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    with BagReader(folder) as reader:
        frames = list(reader.frames())
        assert reader.damage is not None
        assert "cut off" in reader.damage
        # The index and the metadata at the end cost some of the length, and the last image may be in doubt.
        assert 0.93 * part * 300 - 2 < len(frames) <= 300
        for index, frame in enumerate(frames):
            assert frame.stamp_ns == stamp(index)
            np.testing.assert_array_equal(frame.image, picture(index))
        assert len(reader.ground_truth() or ()) > 0


@pytest.mark.parametrize("storage", STORAGES)
def test_a_folder_whose_recorder_was_killed_has_no_metadata_and_is_read(tmp_path: Path, storage: Storage) -> None:
    folder = write_bag(tmp_path / "bag", storage)
    (folder / "metadata.yaml").unlink()
    with BagReader(folder) as reader:
        assert sum(1 for _ in reader.frames()) == COUNT


@pytest.mark.parametrize("storage", STORAGES)
def test_damage_in_the_middle_ends_the_frames_not_the_program(tmp_path: Path, storage: Storage) -> None:
    folder = write_bag(tmp_path / "bag", storage, count=300)
    file = next(path for path in folder.iterdir() if path.name != "metadata.yaml")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60_000] = b"\xab" * 60_000
    file.write_bytes(content)
    with BagReader(folder) as reader:
        assert sum(1 for _ in reader.frames()) <= 300


def nothing(folder: Path) -> None:
    folder.mkdir()


def zero_bytes(suffix: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / f"bag{suffix}").write_bytes(b"")

    return make


def no_messages(folder: Path) -> None:
    with BagWriter(folder):
        pass


def noise(suffix: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / f"bag{suffix}").write_bytes(np.random.default_rng(0).bytes(5000))

    return make


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda folder: None, "does not exist"),
        (nothing, "is no bag"),
        (zero_bytes(".db3"), "holds no messages"),
        (zero_bytes(".mcap"), "holds no messages"),
        (no_messages, "holds no messages"),
        (noise(".db3"), "holds no messages, and is damaged"),
        (noise(".mcap"), "holds no messages, and is damaged"),
        (lambda folder: folder.write_text("text"), "is no bag"),
    ],
)
def test_what_is_no_bag_is_one_clear_sentence(tmp_path: Path, make: Callable[[Path], Any], complaint: str) -> None:
    make(tmp_path / "bag")
    with pytest.raises(SequenceError, match=complaint) as caught:
        BagReader(tmp_path / "bag")
    assert "\n" not in str(caught.value)


def test_the_camera_with_a_calibration_is_chosen(tmp_path: Path) -> None:
    info = typestore().types["sensor_msgs/msg/CameraInfo"]
    roi = typestore().types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    header = image_message(0).header
    k, p = np.array(CALIBRATION.k), np.array(CALIBRATION.p)
    camera_info = info(header, HEIGHT, WIDTH, "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), p, 0, 0, roi)
    messages = {
        "/debug/image": [image_message(0)],
        "/front/image_raw": [image_message(0)],
        "/front/camera_info": [camera_info],
    }
    with BagReader(write_messages(tmp_path / "bag", messages)) as reader:
        assert reader.image_topic == "/front/image_raw"
    with BagReader(tmp_path / "bag", "/debug/image", "/front/camera_info") as reader:
        assert reader.image_topic == "/debug/image"
        assert reader.calibration is not None
    with pytest.raises(SequenceError, match=r"no images on /rear/image; .* /debug/image, /front/image_raw"):
        BagReader(tmp_path / "bag", "/rear/image")
    with pytest.raises(SequenceError, match="no camera_info on /rear/info; it is on /front/camera_info"):
        BagReader(tmp_path / "bag", None, "/rear/info")


def test_several_cameras_are_named(tmp_path: Path) -> None:
    messages = {"/left/image": [image_message(0)], "/right/image": [image_message(0)]}
    with pytest.raises(SequenceError, match="choose one with --image-topic: /left/image, /right/image"):
        BagReader(write_messages(tmp_path / "bag", messages))


def depth_message(encoding: str) -> Any:
    depth = np.zeros((HEIGHT, WIDTH), np.float32 if encoding == "32FC1" else np.uint16)
    return typestore().types["sensor_msgs/msg/Image"](
        image_message(0).header, HEIGHT, WIDTH, encoding, 0, depth.nbytes // HEIGHT, depth.view(np.uint8).ravel()
    )


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_beside_the_pictures_is_no_second_camera(tmp_path: Path, encoding: str) -> None:
    """As the bags of RGB-D cameras have it, those of TUM RGB-D among them."""
    messages = {"/camera/rgb/image_color": [image_message(0)], "/camera/depth/image": [depth_message(encoding)]}
    with BagReader(write_messages(tmp_path / "rgbd", messages)) as reader:
        assert reader.image_topic == "/camera/rgb/image_color"
    with BagReader(tmp_path / "rgbd", "/camera/depth/image") as reader:
        assert reader.image_topic == "/camera/depth/image"
    del messages["/camera/rgb/image_color"]
    with pytest.raises(SequenceError, match=r"only depth images; .* --image-topic: /camera/depth/image"):
        BagReader(write_messages(tmp_path / "depth", messages))
    messages = {"/depth_camera/image": [image_message(0)]}  # a camera's name says nothing of its images
    with BagReader(write_messages(tmp_path / "grey", messages)) as reader:
        assert reader.image_topic == "/depth_camera/image"


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_an_image_topic_without_a_message_is_named(tmp_path: Path, storage: StoragePlugin) -> None:
    with Writer(tmp_path / "bag", version=9, storage_plugin=storage) as writer:
        writer.add_connection("/camera/image", "sensor_msgs/msg/Image", typestore=typestore())
        header = image_message(0).header
        other = writer.add_connection("/chatter", header.__msgtype__, typestore=typestore())
        writer.write(other, 1, typestore().serialize_cdr(header, header.__msgtype__))
    with pytest.raises(SequenceError, match="has no image: there is no message on /camera/image"):
        BagReader(tmp_path / "bag")


def test_topics_are_named_where_none_has_images(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_pose(stamp(0), pose(0))
    with pytest.raises(SequenceError, match="no image topic; its topics are /ground_truth/pose"):
        BagReader(tmp_path / "bag")


def test_a_compressed_copy_is_no_second_camera_and_can_be_read_alone(tmp_path: Path) -> None:
    smooth = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    smooth[..., 0] = 180
    data = cv2.imencode(".png", smooth[..., ::-1])[1]
    compressed = typestore().types["sensor_msgs/msg/CompressedImage"](image_message(0).header, "rgb8; png", data)
    messages = {"/camera/image": [image_message(0)], "/camera/image/compressed": [compressed]}
    with BagReader(write_messages(tmp_path / "both", messages)) as reader:
        assert reader.image_topic == "/camera/image"
    del messages["/camera/image"]
    with BagReader(write_messages(tmp_path / "one", messages)) as reader:
        (frame,) = reader.frames()
        np.testing.assert_array_equal(frame.image, smooth)


def test_frames_that_can_not_be_decoded_are_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [
        image_message(0),
        image_message(1, encoding="theora"),
        image_message(2, encoding="theora"),
        image_message(3, data=picture(3).reshape(-1)[:100]),
        image_message(4, height=0, width=0),
        image_message(5),
    ]
    with BagReader(write_messages(tmp_path / "bag", {"/camera/image": messages})) as reader:
        with caplog.at_level(logging.WARNING):
            frames = list(reader.frames())
        assert [(frame.index, frame.stamp_ns) for frame in frames] == [(0, stamp(0)), (1, stamp(5))]
        assert reader.dropped == {"unknown encoding": 2, "truncated data": 1, "zero size": 1}
    assert sum("frame dropped" in record.message for record in caplog.records) == 3


def test_a_message_whose_bytes_are_cut_is_counted(tmp_path: Path) -> None:
    kind = "sensor_msgs/msg/Image"
    data = bytes(typestore().serialize_cdr(image_message(0), kind))
    with Writer(tmp_path / "bag", version=9) as writer:
        connection = writer.add_connection("/camera/image", kind, typestore=typestore())
        for index, size in enumerate((len(data), len(data) // 2, 30, 0)):
            writer.write(connection, stamp(index), data[:size])
    with BagReader(tmp_path / "bag") as reader:
        assert sum(1 for _ in reader.frames()) == 1
        assert reader.dropped == {"truncated data": 3}


def test_true_poses_that_are_none_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(3):
            writer.write_image(stamp(index), picture(index))
            writer.write_pose(stamp(index), pose(index))
        types = typestore().types
        nothing = types["geometry_msgs/msg/Pose"](
            types["geometry_msgs/msg/Point"](0.0, 0.0, 0.0), types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 0.0)
        )
        unset = types["geometry_msgs/msg/PoseStamped"](image_message(5).header, nothing)
        writer.write_message("/ground_truth/pose", stamp(5), unset)
    with BagReader(tmp_path / "bag") as reader:
        assert len(reader.ground_truth() or ()) == 3
    assert "1 true poses on /ground_truth/pose are left out" in caplog.text


def test_calibration_of_zeros_means_none_and_of_another_size_drops_frames(tmp_path: Path) -> None:
    zeros = CameraCalibration(WIDTH, HEIGHT, "", (), (0.0,) * 9, (0.0,) * 9, (0.0,) * 12)
    other = CameraCalibration.pinhole(32, 24, [25.0, 0, 15.5, 0, 25.0, 11.5, 0, 0, 1])
    for name, calibration in (("zeros", zeros), ("other", other)):
        with BagWriter(tmp_path / name) as writer:
            writer.write_camera_info(stamp(0), calibration)
            writer.write_image(stamp(0), picture(0))
    with BagReader(tmp_path / "zeros") as reader:
        (frame,) = reader.frames()
        assert frame.intrinsics is None
    with BagReader(tmp_path / "other") as reader:
        assert list(reader.frames()) == []
        assert reader.dropped == {"calibration of another size": 1}


def stamped(index: int, stamp_ns: int) -> Any:
    types = typestore().types
    time = types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    return image_message(index, header=types["std_msgs/msg/Header"](time, "camera"))


def test_where_no_stamp_is_set_the_times_of_recording_are_taken(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", {"/camera/image": [stamped(index, 0) for index in range(10)]})
    with BagReader(path) as reader:
        assert [frame.stamp_ns for frame in reader.frames()] == [stamp(index) for index in range(10)]


def test_header_and_recording_times_are_never_mixed(tmp_path: Path) -> None:
    single = [stamped(index, 0 if index == 3 else 5 * 10**9 + index) for index in range(6)]
    simulated = [stamped(index, index * 10**8) for index in range(6)]
    for name, messages in (("single", single), ("simulated", simulated)):
        with BagReader(write_messages(tmp_path / name, {"/camera/image": messages})) as reader:
            stamps = [frame.stamp_ns for frame in reader.frames()]
        expected = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in messages]
        assert stamps == expected


def info_message(**changes: Any) -> Any:
    types = typestore().types
    fields: dict[str, Any] = {
        "header": types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 0), "camera"),
        "height": HEIGHT, "width": WIDTH, "distortion_model": "plumb_bob", "d": np.zeros(5),
        "k": np.array(CALIBRATION.k), "r": np.array(CALIBRATION.r), "p": np.array(CALIBRATION.p),
        "binning_x": 0, "binning_y": 0, "roi": types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    }  # fmt: skip
    return types["sensor_msgs/msg/CameraInfo"](**(fields | changes))


def test_the_first_calibration_that_is_one_counts(tmp_path: Path) -> None:
    zeros = info_message(k=np.zeros(9), r=np.zeros(9), p=np.zeros(12), distortion_model="", d=np.zeros(0))
    broken = [info_message(k=np.full(9, np.nan)), info_message(k=-np.array(CALIBRATION.k))]
    messages = {"/camera/camera_info": [zeros, *broken, info_message()], "/camera/image": [image_message(0)]}
    with BagReader(write_messages(tmp_path / "bag", messages)) as reader:
        assert reader.calibration == CALIBRATION


def test_binning_and_region_of_camera_info_are_applied(tmp_path: Path) -> None:
    region = typestore().types["sensor_msgs/msg/RegionOfInterest"](10, 8, 2 * HEIGHT, 2 * WIDTH, False)
    info = info_message(width=640, height=480, binning_x=2, binning_y=2, roi=region)
    messages = {"/camera/camera_info": [info], "/camera/image": [image_message(0)]}
    with BagReader(write_messages(tmp_path / "bag", messages)) as reader:
        (frame,) = reader.frames()
    assert frame.intrinsics == Intrinsics(25.0, 25.0, 10.5, 7.5, WIDTH, HEIGHT)


def test_a_calibration_elsewhere_is_taken_where_it_is_the_only_one(tmp_path: Path) -> None:
    images = {"/cam0/image_raw": [image_message(0)]}
    one = write_messages(tmp_path / "one", {**images, "/calibration/cam0": [info_message()]})
    with BagReader(one) as reader:
        assert (reader.camera_info_topic, reader.calibration) == ("/calibration/cam0", CALIBRATION)
    infos = {"/calibration/cam0": [info_message()], "/calibration/cam1": [info_message()]}
    two = write_messages(tmp_path / "two", {**images, **infos})
    with pytest.raises(SequenceError, match=r"--camera-info-topic: /calibration/cam0, /calibration/cam1"):
        BagReader(two)
    with BagReader(two, camera_info_topic="/calibration/cam1") as reader:
        assert reader.calibration == CALIBRATION


def test_a_calibration_file_takes_the_place_of_camera_info(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text("40 0 31.5\n0 40 23.5\n0 0 1\n")
    bag = write_messages(tmp_path / "bag", {"/cam0/image_raw": [image_message(0)]})
    with BagReader(bag, calib=tmp_path / "calib.txt") as reader:
        (frame,) = reader.frames()
    assert frame.intrinsics == Intrinsics(40.0, 40.0, 31.5, 23.5, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("topic", "rectified", "expected"),
    [("/camera/image_rect_color", None, 45.0), ("/camera/image_raw", None, 45.0), ("/camera/image_rect", False, 45.0)],
)
def test_rectified_topics_keep_their_pixels(
    tmp_path: Path, topic: str, rectified: bool | None, expected: float
) -> None:
    p = np.array([45.0, 0, 30.0, 0, 0, 45.0, 22.0, 0, 0, 0, 1, 0])
    info = info_message(d=np.array([-0.3, 0.1, 0.0, 0.0, 0.0]), p=p)
    bag = write_messages(tmp_path / "bag", {"/camera/camera_info": [info], topic: [image_message(0)]})
    with BagReader(bag, rectified=rectified) as reader:
        (frame,) = reader.frames()
    assert frame.intrinsics == Intrinsics(expected, expected, 30.0, 22.0, WIDTH, HEIGHT)
    is_kept = rectified is None and "rect" in topic
    assert np.array_equal(frame.image, picture(0)) == is_kept
