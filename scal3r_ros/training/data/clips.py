"""Posed RGB-D clips, the form of all training data, simulated or recorded, and their storage.

Shapes: n frames of h × w pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import TrainingError


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one drive with ground truth.

    `images` (n, h, w, 3) uint8 RGB; `depth_m` (n, h, w) float16 or wider, z-depth in metres, 0 where there is none;
    `T_world_cam` (n, 4, 4) float64; `K` (3, 3) float64, pixel centres at whole numbers; `zero_is_far`: depth 0 means
    sky, not unmeasured. Where `place_frames` is given, so many consecutive frames each show a place
    of their own, anywhere along the drive.
    """

    images: NDArray[np.uint8]
    depth_m: NDArray[np.floating]
    T_world_cam: NDArray[np.float64]
    K: NDArray[np.float64]
    zero_is_far: bool
    place_frames: int | None = None

    def __len__(self) -> int:
        return len(self.images)


class ClipFolder:
    """Numbered clips as uncompressed `.npy` files in a folder, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, number: int) -> bool:
        return self._path(number, "cameras").exists()

    def save(self, number: int, clip: Clip) -> None:
        """Writes a clip; it exists only once it is complete. `TrainingError` where the disk does not take it."""
        flat = (clip.T_world_cam.ravel(), clip.K.ravel(), [clip.zero_is_far, clip.place_frames or 0])
        cameras = np.concatenate(flat)
        # The cameras are written last: a clip that has them is complete.
        parts: dict[str, NDArray[np.generic]] = {
            "images": clip.images,
            "depth": clip.depth_m.astype(np.float16),
            "cameras": cameras,
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, array in parts.items():
                path = self._path(number, name)
                partial = path.with_suffix(f".{os.getpid()}.partial")
                with partial.open("wb") as file:
                    np.save(file, array)
                partial.replace(path)
        except OSError as error:
            raise TrainingError(f"clip {number} cannot be written to {self._folder}: {error}") from error

    def load(self, number: int) -> Clip:
        """A clip whose pixels stay on disk until they are used; `TrainingError` where it is damaged or missing."""
        try:
            images, depth = (np.load(self._path(number, name), mmap_mode="r") for name in ("images", "depth"))
            cameras = np.load(self._path(number, "cameras"))
        except (OSError, ValueError, EOFError) as error:
            raise TrainingError(
                f"clip {number} of {self._folder} cannot be read: {error}; delete the folder"
            ) from error
        n = len(images)
        return Clip(
            images,
            depth,
            cameras[: 16 * n].reshape(n, 4, 4),
            cameras[16 * n : 16 * n + 9].reshape(3, 3),
            cameras[16 * n + 9] > 0,
            int(cameras[16 * n + 10]) or None,
        )

    def remove(self, number: int) -> None:
        """Deletes a clip, or does nothing where there is none."""
        for name in ("cameras", "depth", "images"):
            self._path(number, name).unlink(missing_ok=True)

    def _path(self, number: int, name: str) -> Path:
        return self._folder / f"{number:07d}.{name}.npy"
