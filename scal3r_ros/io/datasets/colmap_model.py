"""COLMAP models (https://colmap.github.io/format.html) with their images; ETH3D's multi-view sets are such
(https://www.eth3d.net/documentation).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import GeometryError, SequenceError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.calibration.colmap_camera import PARAMETERS, from_colmap
from scal3r_ros.io.datasets.sequence import ImageSequence
from scal3r_ros.io.images.folder import natural_key
from scal3r_ros.io.trajectories import even_stamps

RATE_HZ = 10.0
MODELS = ("sparse/0", "sparse", "dslr_calibration_undistorted", "dslr_calibration_jpg", "colmap/sparse/0", "")
ETH3D_MODELS = ("dslr_calibration_undistorted", "dslr_calibration_jpg")
IMAGES = ("images", "")


@dataclass(frozen=True)
class _Camera:
    model: str
    width: int
    height: int
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Image:
    name: str
    camera: int
    T_cam_world: NDArray[np.float64]


def is_colmap(folder: Path) -> bool:
    """Whether a folder has a COLMAP model, text or binary, and a folder of images."""
    return _model(folder) is not None and (folder / "images").is_dir()


def read_colmap(folder: Path) -> ImageSequence:
    """The registered images of the camera that took most, in the order of their names, at 10 Hz."""
    model = _model(folder)
    if model is None:
        raise SequenceError(f"{folder} has no COLMAP model")
    try:
        cameras, images = _read_text(model) if (model / "images.txt").is_file() else _read_binary(model)
    except (ValueError, IndexError, KeyError, struct.error, OSError, UnicodeDecodeError) as error:
        raise SequenceError(f"COLMAP model {model} is damaged ({error!r})") from error
    found = [(image, path) for image in images if (path := _file(folder, model, image.name)) is not None]
    if not found:
        raise SequenceError(f"none of the images of COLMAP model {model} is in {folder / 'images'}")
    numbers = [image.camera for image, _ in found]
    camera = max(sorted(set(numbers)), key=numbers.count)
    chosen = sorted((pair for pair in found if pair[0].camera == camera), key=lambda pair: natural_key(pair[0].name))
    stamps = even_stamps(len(chosen), RATE_HZ)
    T = se3.invert(np.stack([image.T_cam_world for image, _ in chosen]))
    kind = "ETH3D" if model.name in ETH3D_MODELS else "COLMAP"
    taken = cameras[camera]
    try:
        calibration = from_colmap(taken.model, taken.width, taken.height, taken.values)
    except GeometryError as error:
        raise SequenceError(f"COLMAP model {model} cannot be used: {error}") from error
    return ImageSequence(
        kind, folder.name, tuple(path for _, path in chosen), stamps, calibration, Trajectory(stamps, T)
    )


def _model(folder: Path) -> Path | None:
    for name in MODELS:
        for suffix in ("txt", "bin"):
            if all((folder / name / f"{part}.{suffix}").is_file() for part in ("cameras", "images")):
                return folder / name
    return None


def _file(folder: Path, model: Path, name: str) -> Path | None:
    return next((path for place in IMAGES if (path := folder / place / name).is_file()), None)


def _read_text(model: Path) -> tuple[dict[int, _Camera], list[_Image]]:
    cameras = {}
    for line in (model / "cameras.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            number, name, width, height, *values = line.split()
            cameras[int(number)] = _Camera(name, int(width), int(height), tuple(map(float, values)))
    lines = [line for line in (model / "images.txt").read_text().splitlines() if not line.startswith("#")]
    images = []
    for line in lines[::2]:  # each second line has the image points
        if not line.strip():
            break
        _, w, x, y, z, *t, camera, name = line.split(maxsplit=9)
        R = se3.rotation_from_quat_xyzw(np.array([x, y, z, w], np.float64))
        images.append(_Image(name.strip(), int(camera), se3.se3(R, np.array(t, np.float64))))
    return cameras, images


def _read_binary(model: Path) -> tuple[dict[int, _Camera], list[_Image]]:
    cameras, images = {}, []
    with (model / "cameras.bin").open("rb") as file:
        for _ in range(_unpack(file, "Q")[0]):
            number, kind, width, height = _unpack(file, "iiQQ")
            name = tuple(PARAMETERS)[kind]
            cameras[number] = _Camera(name, width, height, _unpack(file, f"{PARAMETERS[name]}d"))
    with (model / "images.bin").open("rb") as file:
        for _ in range(_unpack(file, "Q")[0]):
            _, w, x, y, z, *t, camera = _unpack(file, "i7di")
            text = bytearray()
            while (byte := file.read(1)) not in (b"\0", b""):
                text += byte
            file.seek(24 * _unpack(file, "Q")[0], 1)  # the image points
            R = se3.rotation_from_quat_xyzw(np.array([x, y, z, w]))
            images.append(_Image(text.decode(), camera, se3.se3(R, np.array(t))))
    return cameras, images


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    size = struct.calcsize("<" + layout)
    return struct.unpack("<" + layout, file.read(size))
