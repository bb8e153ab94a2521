"""Bags as recorders leave them: compressed, split, killed, re-indexed, of ROS 1, under odd paths."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import yaml
import zstandard
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_typestore

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.bags.file import BagFile
from scal3r_ros.io.bags.reader import BagReader
from scal3r_ros.io.bags.topics import typestore
from scal3r_ros.io.bags.writer import BagWriter
from scal3r_ros.io.calibration import CameraCalibration

Storage = Literal["sqlite3", "mcap"]
STORAGES: tuple[Storage, ...] = ("sqlite3", "mcap")
HEIGHT, WIDTH, COUNT = 24, 32, 12
CALIBRATION = CameraCalibration.pinhole(WIDTH, HEIGHT, [30.0, 0, 15.5, 0, 30.0, 11.5, 0, 0, 1])


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def stamp(index: int) -> int:
    return 1_700_000_000_000_000_123 + index * 100_000_000


def write_bag(path: Path, storage: Storage, frames: range = range(COUNT)) -> Path:
    with BagWriter(path, storage) as writer:
        for index in frames:
            writer.write_camera_info(stamp(index), CALIBRATION)
            writer.write_image(stamp(index), picture(index))
    return path


def storage_file(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.name != "metadata.yaml")


def split_bag(folder: Path, storage: Storage, compress: bool = False) -> Path:
    """Three files as a recorder splits them, with the `metadata.yaml` that belongs to them."""
    folder.mkdir()
    names = []
    for part in range(3):
        one = write_bag(folder.with_name(f"part{part}"), storage, range(4 * part, 4 * part + 4))
        file = storage_file(one)
        name = f"{folder.name}_{part}{file.suffix}"
        content = file.read_bytes()
        if compress:
            name, content = f"{name}.zstd", zstandard.ZstdCompressor().compress(content)
        (folder / name).write_bytes(content)
        names.append(name)
    information = {"relative_file_paths": names, "compression_mode": "FILE" if compress else ""}
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}))
    return folder


def assert_all_is_read(path: Path, count: int = COUNT) -> None:
    with BagReader(path) as reader:
        assert reader.image_count == count
        assert reader.calibration == CALIBRATION
        frames = list(reader.frames())
        assert [frame.stamp_ns for frame in frames] == [stamp(index) for index in range(count)]
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.image, picture(index))
        assert reader.duration_s == pytest.approx((count - 1) * 0.1)
        assert reader.damage is None


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("has_metadata", [True, False])
def test_split_bags_are_read_with_and_without_metadata(
    tmp_path: Path, storage: Storage, compress: bool, has_metadata: bool
) -> None:
    folder = split_bag(tmp_path / "bag", storage, compress)
    if not has_metadata:
        (folder / "metadata.yaml").unlink()
    assert_all_is_read(folder)


@pytest.mark.parametrize("storage", STORAGES)
def test_suffixes_may_be_in_capitals(tmp_path: Path, storage: Storage) -> None:
    file = storage_file(write_bag(tmp_path / "bag", storage))
    (tmp_path / "copy").mkdir()
    for name, content in (("A", file.read_bytes()), ("B", zstandard.ZstdCompressor().compress(file.read_bytes()))):
        copy = tmp_path / "copy" / f"{name}{file.suffix}{'.ZSTD' if name == 'B' else ''}".upper()
        copy.write_bytes(content)
        assert_all_is_read(copy)
        copy.rename(tmp_path / copy.name)
    shutil.copy(tmp_path / f"A{file.suffix}".upper(), tmp_path / "copy")
    assert_all_is_read(tmp_path / "copy")


@pytest.mark.parametrize("storage", STORAGES)
def test_one_compressed_file_is_a_bag(tmp_path: Path, storage: Storage) -> None:
    file = storage_file(split_bag(tmp_path / "bag", storage, compress=True))
    first = next(path for path in sorted(file.parent.iterdir()) if path.suffix == ".zstd")
    assert_all_is_read(first, count=4)


def test_what_was_decompressed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = split_bag(tmp_path / "bag", "sqlite3", compress=True)
    room = tmp_path / "temporary"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    with BagFile(folder):
        assert any(room.rglob("*.db3"))
    assert not list(room.iterdir())


@pytest.mark.parametrize("storage", STORAGES)
def test_only_the_cut_file_of_a_split_bag_loses_messages(tmp_path: Path, storage: Storage) -> None:
    folder = split_bag(tmp_path / "bag", storage)
    last = sorted(path for path in folder.iterdir() if path.suffix != ".yaml")[-1]
    last.write_bytes(last.read_bytes()[: int(0.5 * last.stat().st_size)])
    with BagReader(folder) as reader:
        frames = list(reader.frames())
        assert 8 <= len(frames) < COUNT
        assert reader.damage is not None
        assert last.name in reader.damage


@pytest.mark.parametrize("storage", STORAGES)
def test_files_that_the_metadata_does_not_name_are_no_part_of_the_bag(tmp_path: Path, storage: Storage) -> None:
    folder = split_bag(tmp_path / "bag", storage)
    stray = storage_file(write_bag(tmp_path / "stray", storage))
    shutil.copy(stray, folder / f"other{stray.suffix}")
    assert_all_is_read(folder)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "change",
    [
        lambda information: information.update(storage_identifier=""),
        lambda information: [
            item["topic_metadata"].update(offered_qos_profiles="") for item in information["topics_with_message_count"]
        ],
        lambda information: information.clear(),
    ],
    ids=["no storage", "no QoS", "nothing"],
)
def test_reindexed_bags_are_read(tmp_path: Path, storage: Storage, change: Callable[[dict], object]) -> None:
    folder = write_bag(tmp_path / "bag", storage)
    content = yaml.safe_load((folder / "metadata.yaml").read_text())
    change(content["rosbag2_bagfile_information"])
    (folder / "metadata.yaml").write_text(yaml.safe_dump(content))
    assert_all_is_read(folder)


@pytest.mark.parametrize("has_metadata", [True, False])
def test_messages_compressed_one_by_one_are_read(tmp_path: Path, has_metadata: bool) -> None:
    writer = Writer(tmp_path / "bag", version=9)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with BagFile(write_bag(tmp_path / "plain", "sqlite3")) as plain, writer:
        connections = {
            topic.name: writer.add_connection(topic.name, topic.kind, typestore=typestore()) for topic in plain.topics
        }
        for message in plain.messages():
            writer.write(connections[message.topic], message.stamp_ns, message.data)
    if not has_metadata:
        (tmp_path / "bag" / "metadata.yaml").unlink()
    assert_all_is_read(tmp_path / "bag")


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD, CompressionType.LZ4])
@pytest.mark.parametrize("chunked", [True, False])
def test_mcap_of_another_writer_is_read(tmp_path: Path, compression: CompressionType, chunked: bool) -> None:
    target = tmp_path / "bag.mcap"
    with BagFile(write_bag(tmp_path / "plain", "sqlite3")) as plain:
        writer = McapWriter(str(target), compression=compression, use_chunking=chunked, chunk_size=10_000)
        writer.start(profile="ros2")
        channels = {}
        for message in plain.messages():
            if message.topic not in channels:
                schema = writer.register_schema(message.kind, "ros2msg", b"")
                channels[message.topic] = writer.register_channel(message.topic, "cdr", schema)
            writer.add_message(channels[message.topic], message.stamp_ns, message.data, message.stamp_ns)
        writer.finish()
    assert_all_is_read(target)


def test_messages_of_a_begun_mcap_chunk_are_read(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", "mcap"))
    image_bytes = HEIGHT * WIDTH * 3
    with BagFile(write_bag(tmp_path / "plain", "sqlite3")) as plain:
        writer = McapWriter(str(file), compression=CompressionType.NONE, chunk_size=1 << 30)
        writer.start(profile="ros2")
        channel = writer.register_channel(
            "/camera/image", "cdr", writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b"")
        )
        for message in plain.messages(["/camera/image"]):
            writer.add_message(channel, message.stamp_ns, message.data, message.stamp_ns)
        writer.finish()
    file.write_bytes(file.read_bytes()[: 5 * (image_bytes + 400)])
    with BagReader(file) as reader:
        assert [frame.stamp_ns for frame in reader.frames()] == [stamp(index) for index in range(5)]
        assert reader.damage is not None


def test_the_log_that_a_killed_recorder_left_is_read_and_left_alone(tmp_path: Path) -> None:
    whole = storage_file(write_bag(tmp_path / "bag", "sqlite3"))
    live = tmp_path / "live.db3"
    source, target = sqlite3.connect(whole), sqlite3.connect(live)
    target.execute("PRAGMA journal_mode=WAL")
    target.execute("PRAGMA wal_autocheckpoint=0")
    for (statement,) in source.execute("SELECT sql FROM sqlite_master WHERE name IN ('topics', 'messages')"):
        target.execute(statement)
    for table in ("topics", "messages"):
        for number, row in enumerate(source.execute(f"SELECT * FROM {table}").fetchall()):
            target.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
            target.commit()
            if table == "messages" and number == 8:
                target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("live.db3", "live.db3-wal"):
        shutil.copy(tmp_path / name, killed / name)
    target.close()
    source.close()
    before = {path.name: path.read_bytes() for path in killed.iterdir()}
    assert_all_is_read(killed)
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == before


def write_ros1_bag(path: Path) -> Path:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    with Ros1Writer(path) as writer, BagFile(write_bag(path.with_name("ros2"), "sqlite3")) as plain:
        connections = {
            topic.name: writer.add_connection(topic.name, topic.kind, typestore=store)
            for topic in plain.topics
            if topic.kind in store.fielddefs  # the transforms' message is not among rosbags' definitions for ROS 1
        }
        for number, raw in enumerate(plain.messages()):
            if raw.topic not in connections:
                continue
            new = typestore().deserialize_cdr(raw.data, raw.kind)
            time = types["builtin_interfaces/msg/Time"](new.header.stamp.sec, new.header.stamp.nanosec)
            header = types["std_msgs/msg/Header"](number, time, new.header.frame_id)
            if raw.kind == "sensor_msgs/msg/Image":
                old = types[raw.kind](
                    header, new.height, new.width, new.encoding, new.is_bigendian, new.step, new.data
                )  # fmt: skip
            else:
                region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
                old = types[raw.kind](
                    header, new.height, new.width, new.distortion_model, new.d, new.k, new.r, new.p, 0, 0, region
                )
            writer.write(connections[raw.topic], raw.stamp_ns, store.serialize_ros1(old, raw.kind))
    return path


def test_a_bag_of_ros_1_is_read(tmp_path: Path) -> None:
    assert_all_is_read(write_ros1_bag(tmp_path / "old.bag"))
    (tmp_path / "folder").mkdir()
    shutil.move(tmp_path / "old.bag", tmp_path / "folder" / "old.bag")
    assert_all_is_read(tmp_path / "folder")


def test_a_bag_of_ros_1_without_index_says_what_to_do(tmp_path: Path) -> None:
    bag = write_ros1_bag(tmp_path / "old.bag")
    bag.write_bytes(bag.read_bytes()[:20_000])
    with pytest.raises(SequenceError, match=r"old\.bag of ROS 1 cannot be opened.*rosbag reindex"):
        BagFile(bag)


def test_the_last_file_of_a_split_recording_without_index_costs_only_its_own(tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    bag = write_ros1_bag(tmp_path / "old.bag")
    shutil.copy(bag, tmp_path / "drive" / "drive_0.bag")
    (tmp_path / "drive" / "drive_1.bag").write_bytes(bag.read_bytes()[:20_000])
    with BagFile(bag) as whole, BagFile(tmp_path / "drive") as split:
        assert [len(raw.data) for raw in split.messages()] == [len(raw.data) for raw in whole.messages()]
        assert split.damage is not None
        assert "drive_1.bag of ROS 1 cannot be opened" in split.damage
    (tmp_path / "drive" / "drive_0.bag").unlink()
    shutil.copy(tmp_path / "drive" / "drive_1.bag", tmp_path / "drive" / "drive_2.bag")
    with pytest.raises(SequenceError, match=r"drive_1\.bag of ROS 1 cannot be opened"):
        BagFile(tmp_path / "drive")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "name", ["run #2", "what?", "100%25", "e [data]", "a&immutable=0", "Straße 7", "new\nline", "end "]
)
def test_any_path_is_written_and_read(tmp_path: Path, storage: Storage, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    bag = write_bag(folder / name, storage)
    assert_all_is_read(bag)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert sorted(path.name for path in folder.iterdir()) == [name]
