from pathlib import Path

import cv2
import numpy as np
import pytest

from scal3r_ros.errors import SequenceError
from scal3r_ros.io.images.folder import find_images, frame_number, read_depth, read_image, stamps_of_names

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def test_images_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("frame10.png", "frame9.png", "frame2.PNG", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_images(tmp_path).paths] == ["frame2.PNG", "frame9.png", "frame10.png"]


def test_the_only_folder_with_images_is_found_and_told(tmp_path: Path) -> None:
    (tmp_path / "image_0").mkdir()
    (tmp_path / "empty").mkdir()
    cv2.imwrite(str(tmp_path / "image_0" / "0.png"), GREY)
    found = find_images(tmp_path)
    assert found.folder == tmp_path / "image_0"
    assert len(found.paths) == 1


def test_folders_without_a_clear_choice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="is no folder"):
        find_images(tmp_path / "missing")
    with pytest.raises(SequenceError, match="holds no images"):
        find_images(tmp_path)
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "0.png"), GREY)
    with pytest.raises(SequenceError, match="left, right"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("image", "beside"),
    [
        ("frame-{:06d}.color.png", "frame-{:06d}.depth.png"),
        ("{:04d}.jpg", "{:04d}_mask.png"),
        ("{}.png", "depth_{}.png"),
        ("rgb_{:05d}.jpg", "semantic_{:05d}.png"),
    ],
)
def test_depth_and_masks_beside_the_images_are_left_out(tmp_path: Path, image: str, beside: str) -> None:
    for number in range(12):
        (tmp_path / image.format(number)).write_bytes(b"x")
        (tmp_path / beside.format(number)).write_bytes(b"x")
    assert [path.name for path in find_images(tmp_path).paths] == [image.format(number) for number in range(12)]


def test_a_folder_of_depth_beside_one_of_images_is_left_out(tmp_path: Path) -> None:
    for name in ("color", "depth"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"x")
    assert find_images(tmp_path).folder == tmp_path / "color"


def test_depth_alone_is_a_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "depth_1.png").write_bytes(b"x")
    assert len(find_images(tmp_path).paths) == 1


def test_two_cameras_in_one_folder_are_asked_about(tmp_path: Path) -> None:
    for number in range(5):
        for side in ("left", "right"):
            (tmp_path / f"{side}_{number}.png").write_bytes(b"x")
    with pytest.raises(SequenceError, match=r"left_#\.png, right_#\.png"):
        find_images(tmp_path)


def test_names_that_are_seconds_are_ordered_and_give_the_stamps(tmp_path: Path) -> None:
    names = ["1700000000.9", "1700000000.0333", "1700000001", "1700000000.10"]
    for name in names:
        (tmp_path / f"{name}.png").write_bytes(b"x")
    paths = find_images(tmp_path).paths
    assert [path.stem for path in paths] == [names[1], names[3], names[0], names[2]]
    expected = 1_700_000_000 * 10**9 + np.array([33_300_000, 100_000_000, 900_000_000, 1_000_000_000])
    np.testing.assert_array_equal(stamps_of_names(paths), expected)


@pytest.mark.parametrize(
    "names",
    [
        ["1403636579.763", "1403636579.813"],
        ["1403636579763", "1403636579813"],
        ["1403636579763000", "1403636579813000"],
        ["1403636579763000000", "1403636579813000000"],
        ["left-1403636579763000000", "left-1403636579813000000"],
        ["cam0_1403636579.763", "cam0_1403636579.813"],
        ["1403636579_763000000", "1403636579_813000000"],
        ["left-1403636579-763000000", "left-1403636579-813000000"],
    ],
)
def test_names_are_times_in_whatever_unit_they_have(names: list[str]) -> None:
    stamps = stamps_of_names([Path(f"{name}.png") for name in names])
    assert stamps is not None
    assert stamps.tolist() == [1_403_636_579_763_000_000, 1_403_636_579_813_000_000]
    assert stamps_of_names([Path(f"{names[0]}.png"), Path(f"other{names[1]}.png")]) is None


def test_decimals_behind_a_word_order_images_by_time(tmp_path: Path) -> None:
    names = ["left_1700000000.9", "left_1700000000.0333", "left_1700000000.10"]
    for name in names:
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((4, 4), np.uint8))
    paths = find_images(tmp_path).paths
    assert [path.stem for path in paths] == [names[1], names[2], names[0]]
    assert stamps_of_names(paths) is not None


def test_a_name_without_a_number_comes_before_those_with_one(tmp_path: Path) -> None:
    names = ["shot", "shot (1)", "shot (2)", "shot (10)"]
    for name in names:
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((4, 4), np.uint8))
    assert [path.stem for path in find_images(tmp_path).paths] == names


def test_names_of_nanoseconds_are_times_and_numbers_of_images_are_not() -> None:
    stamps = stamps_of_names([Path("1403636579763555584.png"), Path("1403636579813555456.png")])
    np.testing.assert_array_equal(stamps, [1403636579763555584, 1403636579813555456])
    assert stamps_of_names([Path("000010.png"), Path("000011.png")]) is None
    assert stamps_of_names([Path("frame_000010.png"), Path("frame_000011.png")]) is None
    assert stamps_of_names([Path("1403636579763555584" * 2 + ".png")]) is None
    assert stamps_of_names([Path("frame1.5.png")]) is None
    assert stamps_of_names([Path("1.5.png"), Path("1.50.png")]) is None


def test_grey_stays_grey_and_colour_is_rgb(tmp_path: Path) -> None:
    colour = np.zeros((6, 8, 3), np.uint8)
    colour[..., 2] = 200  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / "grey.png"), GREY)
    cv2.imwrite(str(tmp_path / "colour.png"), colour)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), GREY)
    assert read_image(tmp_path / "colour.png")[0, 0].tolist() == [200, 0, 0]


def test_damaged_images_are_named(tmp_path: Path) -> None:
    for name, content in (("empty.png", b""), ("text.png", b"no image"), ("cut.png", b"\x89PNG\r\n\x1a\n\x00\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SequenceError, match=f"{name} cannot be decoded"):
            read_image(tmp_path / name)
    with pytest.raises(SequenceError, match="cannot be read"):
        read_image(tmp_path / "missing.png")


def test_depth_is_in_metres_and_its_invalid_values_are_0(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "d.png"), np.array([[0, 1500], [65535, 65534]], np.uint16))
    np.testing.assert_allclose(read_depth(tmp_path / "d.png"), [[0, 1.5], [0, 65.534]], rtol=1e-6)
    cv2.imwrite(str(tmp_path / "grey.png"), GREY)
    with pytest.raises(SequenceError, match="not 16-bit"):
        read_depth(tmp_path / "grey.png")


@pytest.mark.parametrize(
    ("name", "number"), [("000020.png", 20), ("frame-000020.depth.png", 20), ("seq2_0007.jpg", 7), ("last.png", None)]
)
def test_frame_number_is_the_last_number_of_a_name(name: str, number: int | None) -> None:
    assert frame_number(Path(name)) == number
