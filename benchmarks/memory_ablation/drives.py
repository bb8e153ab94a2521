"""The long drives of memory_ablation: through held-out worlds, rendered once and kept."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import scal3r_ros
from scal3r_ros.assembly import CoreConfig, chunks_seen
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.io.trajectories import even_stamps
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.reconstruction.geometric.reconstructor import GeometricReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, Frame
from scal3r_ros.simulation.worlds.clips import SequenceSpec, render_sequence
from scal3r_ros.training.data.clips import Clip, ClipFolder

RATE_HZ = 10.0
_FIRST_SEED = 1 << 40  # far from those that training validates with
_SEEDS_OF_A_DRIVE = 1000


@dataclass(frozen=True)
class DriveSet:
    """Which drives: so many of `frames` frames of `width` × `height` pixels, one kind of world after the other.

    The number of chunks depends on the images and the window alone. A drive that gives less than `least_chunks` is
    made anew from the next seed.
    """

    drives: int
    frames: int
    width: int
    height: int
    kinds: tuple[str, ...]
    seed: int
    least_chunks: int


@dataclass(frozen=True)
class Drive:
    """One drive with its truth; `name` tells its number, kind and seed."""

    number: int
    kind: str
    seed: int
    clip: Clip

    @property
    def name(self) -> str:
        """Number, kind and seed."""
        return f"{self.number:03d} {self.kind} {self.seed}"

    @property
    def truth(self) -> Trajectory:
        """Every frame's true pose."""
        return Trajectory(even_stamps(len(self.clip), RATE_HZ), self.clip.T_world_cam)

    @property
    def distance_travelled(self) -> float:
        """Length of the path."""
        return float(np.linalg.norm(np.diff(self.clip.T_world_cam[:, :3, 3], axis=0), axis=1).sum())

    def depth_m(self, frame: int) -> NDArray[np.float64]:
        """True z-depth (h, w) of a frame, 0 in the sky."""
        return np.asarray(self.clip.depth_m[frame], np.float64)

    def frames(self) -> Iterator[Frame]:
        """The frames as the mapper is shown them, with their true calibration."""
        K = self.clip.K
        height, width = self.clip.images.shape[1:3]
        camera = Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], width, height)
        for index, (stamp, image) in enumerate(zip(self.truth.stamps_ns, self.clip.images, strict=True)):
            yield Frame(index, int(stamp), np.array(image), camera)


class DriveFolder:
    """Drives of one set on disk, each rendered when it is first asked for; any number of processes may ask.

    `config` is that of the mapper, whose window decides what is long enough. `key` tells the set, its number of drives
    apart.
    """

    def __init__(self, folder: Path, chosen: DriveSet, config: CoreConfig) -> None:
        simulation = Path(scal3r_ros.__file__).parent / "simulation"
        self.key = digest(asdict(chosen) | {"drives": None}, asdict(config.window), digest_of_code(simulation))
        self._folder = folder / self.key
        self._clips = ClipFolder(self._folder)
        self._chosen, self._config = chosen, config

    def __contains__(self, number: int) -> bool:
        return self._notes(number).exists()

    def prepare(self, number: int) -> None:
        """Renders a drive if it is not there yet."""
        if number in self:
            return
        kind = self._chosen.kinds[number % len(self._chosen.kinds)]
        first = _FIRST_SEED + (self._chosen.seed * _SEEDS_OF_A_DRIVE + number) * _SEEDS_OF_A_DRIVE
        for seed in itertools.count(first):
            drive = self._rendered(number, kind, seed)
            if len(list(chunks_of(self._config, drive.frames()))) >= self._chosen.least_chunks:
                break
        self._clips.save(number, drive.clip)
        partial = self._notes(number).with_suffix(".partial")
        partial.write_text(json.dumps({"kind": kind, "seed": seed}), encoding="utf-8")
        partial.replace(self._notes(number))

    def load(self, number: int) -> Drive:
        """A drive that was prepared."""
        notes = json.loads(self._notes(number).read_text(encoding="utf-8"))
        return Drive(number, notes["kind"], notes["seed"], self._clips.load(number))

    def _rendered(self, number: int, kind: str, seed: int) -> Drive:
        chosen = self._chosen
        spec = SequenceSpec(seed, chosen.frames, chosen.width, chosen.height, "held_out", kind)
        clip = render_sequence(spec)
        camera = clip.intrinsics.K
        return Drive(number, kind, seed, Clip(clip.images, clip.depth_m, clip.T_world_cam, camera, zero_is_far=True))

    def _notes(self, number: int) -> Path:
        return self._folder / f"{number:07d}.json"


def chunks_of(config: CoreConfig, frames: Iterator[Frame]) -> Iterator[Chunk]:
    """The chunks that the mapper makes of `frames`: they depend on nothing that is reconstructed."""
    return chunks_seen(OnlineMapper(config, GeometricReconstructor(config.geometric, config.tracker.klt)), frames)


def digest_of_code(*paths: Path) -> str:
    """The source code in files and folders as one digest: what a kept result depends on."""
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return digest(*(file.read_text(encoding="utf-8") for file in files))


def digest(*parts: object) -> str:
    """Sixteen hex digits of what can be written as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
