import av
import cv2
import numpy as np
import pytest
from rosbags.image import image_to_cvimage
from rosbags.typesys import Stores, get_typestore

from scal3r_ros.io.images.decoding import (
    ENCODINGS,
    ImageError,
    decode_compressed_image,
    decode_image,
)

HEIGHT, WIDTH = 6, 8
BYTES = {"mono16": 2, "16UC1": 2, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4, "rgb16": 6}
BYTES |= {"bgr16": 6, "yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2}
BYTES |= {"16UC3": 6, "rgba16": 8, "bgra16": 8, "16UC4": 8}
PLANAR = ("nv12", "nv21")


def pixel_bytes(encoding: str) -> int:
    return BYTES.get(encoding, 2 if encoding.endswith("16") else 1)


def noise(encoding: str) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, HEIGHT * WIDTH * pixel_bytes(encoding), np.uint8)


def decode(encoding: str, data: np.ndarray, step: int | None = None, bigendian: bool = False) -> np.ndarray:
    return decode_image(encoding, HEIGHT, WIDTH, step or WIDTH * pixel_bytes(encoding), bigendian, data)


@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - set(PLANAR)))
def test_every_encoding_agrees_with_rosbags_image(encoding: str) -> None:
    data = noise(encoding)
    types = get_typestore(Stores.ROS2_JAZZY).types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    message = types["sensor_msgs/msg/Image"](
        header, HEIGHT, WIDTH, encoding, 0, WIDTH * pixel_bytes(encoding), data
    )  # fmt: skip
    if encoding.startswith(("8UC", "16UC")):  # generic there, grey or BGR here
        stored = image_to_cvimage(message)
        stored = (stored / 257 if stored.dtype == np.uint16 else stored).astype(np.float64)
        expected = np.dstack([stored] * 3) if stored.ndim == 2 else stored[..., 2::-1]
    else:
        expected = image_to_cvimage(message, "rgb8").astype(np.float64)
    decoded = decode(encoding, data)
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(np.float64) - expected).max() <= 1.0  # they round down, we round


@pytest.mark.parametrize("encoding", PLANAR)
def test_colours_behind_the_grey_values_agree_with_ffmpeg(encoding: str) -> None:
    grey = np.random.default_rng(1).integers(0, 100, (HEIGHT, WIDTH, 1), np.uint8)
    rgb = grey + np.array([120, 60, 20], np.uint8)
    data = av.VideoFrame.from_ndarray(rgb, format="rgb24").to_ndarray(format="nv12")
    if encoding == "nv21":  # the two colours of a pixel change places
        data[HEIGHT:] = data[HEIGHT:].reshape(-1, 2)[:, ::-1].reshape(-1, WIDTH)
    image = decode_image(encoding, HEIGHT, WIDTH, WIDTH, False, data.ravel())
    np.testing.assert_allclose(image.astype(float), rgb, atol=4)
    padded = np.pad(data, ((0, 0), (0, 3)))
    np.testing.assert_array_equal(decode_image(encoding, HEIGHT, WIDTH, WIDTH + 3, False, padded.ravel()), image)
    with pytest.raises(ImageError, match="part of it got lost"):
        decode_image(encoding, HEIGHT, WIDTH, WIDTH, False, data.ravel()[: HEIGHT * WIDTH])
    with pytest.raises(ImageError, match="cannot be in"):
        decode_image(encoding, HEIGHT - 1, WIDTH, WIDTH, False, data.ravel())


def test_names_of_encodings_may_be_in_capitals() -> None:
    np.testing.assert_array_equal(decode("RGB8", noise("rgb8"), step=3 * WIDTH), decode("rgb8", noise("rgb8")))


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [("bayer_rggb8", "RGGB"), ("bayer_bggr8", "BGGR"), ("bayer_gbrg8", "GBRG"), ("bayer_grbg8", "GRBG")],
)
def test_bayer_patterns_start_with_the_colours_in_their_name(encoding: str, pixels: str) -> None:
    colour = {"R": 200, "G": 100, "B": 50}
    mosaic = np.array([colour[name] for name in pixels], np.uint8).reshape(2, 2)
    image = decode(encoding, np.tile(mosaic, (HEIGHT // 2, WIDTH // 2)))
    assert image[2:-2, 2:-2].reshape(-1, 3).tolist() == [[200, 100, 50]] * 8


@pytest.mark.parametrize("encoding", ["mono8", "bgr8", "mono16", "rgba8"])
def test_padding_at_the_end_of_rows_is_left_out(encoding: str) -> None:
    data, row = noise(encoding), WIDTH * pixel_bytes(encoding)
    padded = np.full((HEIGHT, row + 5), 255, np.uint8)
    padded[:, :row] = data.reshape(HEIGHT, row)
    np.testing.assert_array_equal(decode(encoding, padded.ravel(), step=row + 5), decode(encoding, data))
    # The padding of the last row may be missing.
    np.testing.assert_array_equal(decode(encoding, padded.ravel()[:-5], step=row + 5), decode(encoding, data))


@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bayer_rggb16"])
def test_byte_order_is_heeded(encoding: str) -> None:
    data = noise(encoding)
    swapped = data.reshape(-1, 2)[:, ::-1].ravel()
    np.testing.assert_array_equal(decode(encoding, swapped, bigendian=True), decode(encoding, data))


def test_mono16_spans_the_whole_range() -> None:
    values = np.array([0, 257, 32896, 65535] * 12, np.uint16)
    assert decode("mono16", values.view(np.uint8))[0, :4, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("jpeg9000", 6, 8, 8), "unknown encoding"),
        (("", 6, 8, 8), "unknown encoding"),
        (("32FC1", 6, 8, 32), "unknown encoding"),
        (("mono8", 0, 8, 8), "zero size"),
        (("mono8", 6, 0, 8), "zero size"),
        (("rgb8", 6, 8, 8), "size mismatch"),
        (("mono8", 6, 8, 0), "size mismatch"),
        (("mono8", 7, 8, 8), "truncated data"),
        (("mono8", 4_000_000_000, 4_000_000_000, 4_000_000_000), "truncated data"),
        (("yuyv", 6, 3, 6), "size mismatch"),
    ],
)
def test_faulty_images_are_refused_with_a_reason(arguments: tuple[str, int, int, int], reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(*arguments, False, np.zeros(48, np.uint8))
    assert caught.value.reason == reason
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images_are_rgb(suffix: str) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 250
    image = decode_compressed_image(cv2.imencode(suffix, red)[1])
    np.testing.assert_allclose(image.reshape(-1, 3).mean(axis=0), [250, 0, 0], atol=3)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0\x00"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="no readable JPEG or PNG"):
        decode_compressed_image(data)
