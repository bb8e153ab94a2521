"""Shows the mapper what no camera should send, for minutes: does anything leave it but answers, and does RAM stay?

    python benchmarks/fuzz.py --minutes 5 --seed 1
    python benchmarks/fuzz.py --frames 2000 --seed 7 --out out/fuzz

Random spans of a made-up camera follow each other: smooth and wild motions over layers of texture, repeated, black,
white, grey, noisy, blurred, dark and torn images, other sizes, calibrations that are wrong or change on the way, stamps
that are repeated, run backwards or jump; in between the map is flushed, saved, loaded and reset. Every answer is
checked: poses and covariances are finite, rotations are rotations. At the end the result is written as `scal3r replay`
writes it, and read again. Equal seeds show equal images. Ends with code 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from scal3r_ros.assembly import build_mapper, core_config
from scal3r_ros.configuration import to_parameters
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.io.results.writer import ResultWriter, RunTotals
from scal3r_ros.io.trajectories import read_trajectory
from scal3r_ros.mapping import MapUpdate, OnlineMapper
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.reconstruction.protocol import Frame

WIDTH, HEIGHT = 160, 120
STEP_NS = 100_000_000
START_NS = 1_700_000_000 * 10**9
Image = NDArray[np.uint8]
Settings = dict[str, object]

SMALL: Settings = {
    "geometric.sweep.width": 64, "geometric.sweep.planes": 12, "geometric.threads": 1, "window.size": 8,
    "window.overlap": 4, "tracker.klt.max_features": 200, "geometric.lag.keyframes": 16, "geometric.lag.fixed": 4,
}  # fmt: skip
"""A mapper that does everything, quickly."""


@dataclass
class Camera:
    """A camera before two layers of texture; `drift` (4,) is its motion a frame: pixels right, down, log zoom, rad."""

    rng: np.random.Generator
    layers: list[Image] = field(default_factory=list)
    place: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    drift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))

    def new_scene(self) -> None:
        """Other textures, from coarse to fine."""
        self.layers = []
        for _ in range(2):
            texture = np.zeros((512, 512), np.float32)
            for size in (8, 32, 128, 512):
                coarse = self.rng.normal(0, 1, (size, size)).astype(np.float32)
                texture += cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_CUBIC)
            self.layers.append(np.clip(128 + 30 * texture, 0, 255).astype(np.uint8))

    def shot(self) -> Image:
        """The next image (h, w, 3) along the motion; the near layer, with holes, moves twice as fast."""
        self.place += self.drift
        image = np.zeros((HEIGHT, WIDTH), np.uint8)
        for nearness, texture in zip((1.0, 2.0), self.layers, strict=True):
            x, y, zoom, turn = self.place * [nearness, nearness, nearness, 1.0]
            scale = float(np.exp(np.clip(zoom, -1.0, 1.0)))
            c, s = scale * np.cos(turn), scale * np.sin(turn)
            M = np.array([[c, -s, x - 40.0 * nearness], [s, c, y]])
            seen = np.asarray(
                cv2.warpAffine(texture, M, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), np.uint8
            )  # fmt: skip
            image = np.where(seen > 140, seen, image) if nearness > 1 else seen
        return np.repeat(image[:, :, None], 3, axis=2)


def _noise(rng: np.random.Generator, image: Image) -> Image:
    return rng.integers(0, 256, image.shape).astype(np.uint8)


def _torn(rng: np.random.Generator, image: Image) -> Image:
    row = int(rng.integers(1, len(image)))
    return np.concatenate([image[:row], np.roll(image, int(rng.integers(5, 100)), axis=1)[row:]])


SPOILED: dict[str, Callable[[np.random.Generator, Image], Image]] = {
    "black": lambda rng, image: np.zeros_like(image),
    "white": lambda rng, image: np.full_like(image, 255),
    "grey": lambda rng, image: np.full_like(image, int(rng.integers(1, 255))),
    "noise": _noise,
    "torn": _torn,
    "blurred": lambda rng, image: np.asarray(cv2.blur(image, (int(rng.integers(3, 40)), 3)), np.uint8),
    "dark": lambda rng, image: (image // int(rng.integers(8, 60))).astype(np.uint8),
    "mirrored": lambda rng, image: np.ascontiguousarray(image[:, ::-1]),
}
MOTIONS = ("smooth", "spin", "still", "zoom", "wild", "cut")


def frames(seed: int) -> Iterator[tuple[str, Frame]]:
    """Frames without end, each with the name of what is wrong with it."""
    rng = np.random.default_rng(seed)
    camera, stamp = Camera(rng), START_NS
    camera.new_scene()
    lens, index = Intrinsics(130.0, 130.0, 79.5, 59.5, WIDTH, HEIGHT), 0
    while True:
        motion, length = str(rng.choice(MOTIONS)), int(rng.integers(2, 30))
        spoiled = str(rng.choice([*SPOILED])) if rng.random() < 0.4 else ""
        calibration = float(rng.random())
        intrinsics = _wrong(rng, lens) if calibration < 0.25 else lens
        camera.drift = _drift(rng, motion)
        if motion == "cut":
            camera.new_scene()
        for _ in range(length):
            image = camera.shot()
            if motion == "wild":
                camera.drift = _drift(rng, motion)
            if spoiled and rng.random() < 0.8:
                image = SPOILED[spoiled](rng, image)
            seen = _wrong(rng, lens) if calibration < 0.03 else intrinsics
            if rng.random() < 0.01:
                size = int(rng.integers(20, 200)), int(rng.integers(20, 200))
                image = np.asarray(cv2.resize(image, size), np.uint8)
                seen = replace(lens, width=size[0], height=size[1])
            stamp += STEP_NS if rng.random() < 0.98 else int(rng.integers(1, 3 * 10**9))
            given = stamp if rng.random() < 0.95 else int(rng.choice([0, -5, stamp - STEP_NS, stamp - 10**12, 2**62]))
            yield f"{motion} {spoiled}".strip(), Frame(index, given, image, seen)
            index += 1


def _drift(rng: np.random.Generator, motion: str) -> NDArray[np.float64]:
    scale = {
        "smooth": [3, 1, 0.005, 0.005],
        "spin": [30, 10, 0, 0.1],
        "still": [0, 0, 0, 0],
        "zoom": [0.5, 0.5, 0.03, 0],
    }
    return rng.normal(0, scale.get(motion, [40, 40, 0.2, 0.5]))


def _wrong(rng: np.random.Generator, lens: Intrinsics) -> Intrinsics:
    """A calibration that does not belong to the camera, from a little wrong to no camera at all."""
    factor = float(np.exp(rng.normal(0, 1.5)))
    numbers = {
        "focal": replace(lens, fx=lens.fx * factor, fy=lens.fy * factor),
        "stretched": replace(lens, fx=lens.fx * factor),
        "centre": replace(lens, cx=float(rng.normal(80, 500)), cy=float(rng.normal(60, 500))),
        "radial": replace(lens, radial=float(rng.normal(0, 1.0))),
        "tiny": replace(lens, fx=1e-3, fy=1e-3),
        "huge": replace(lens, fx=1e9, fy=1e9),
        "zero": replace(lens, fx=0.0, fy=0.0),
        "negative": replace(lens, fx=-lens.fx),
        "nan": replace(lens, fx=float("nan")),
    }
    return numbers[str(rng.choice([*numbers]))]


@dataclass
class Findings:
    """What was wrong, how often, and how much RAM was in use along the way (MB)."""

    faults: Counter[str] = field(default_factory=Counter)
    healths: Counter[str] = field(default_factory=Counter)
    rss_mb: list[float] = field(default_factory=list)
    frames: int = 0

    def growth_mb(self) -> float:
        """RAM at the end over that after the first half: medians of a tenth each."""
        count = max(1, len(self.rss_mb) // 10)
        half = len(self.rss_mb) // 2
        return float(np.median(self.rss_mb[-count:]) - np.median(self.rss_mb[half : half + count]))


def checked(update: MapUpdate) -> list[str]:
    """What of an update is no answer."""
    faults = []
    for name, T in [("map_odom", update.T_map_odom), *(("pose", pose.T_odom_cam) for pose in update.poses)]:
        if not np.isfinite(T).all():
            faults.append(f"{name} is not finite")
        elif np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max() > 1e-6:
            faults.append(f"{name} has no rotation")
    for pose in update.poses:
        if not np.isfinite(pose.covariance).all() or np.linalg.eigvalsh(pose.covariance).min() < 0:
            faults.append("a covariance is none")
    if update.submap is not None and not np.isfinite(update.submap.S_map_submap.matrix).all():
        faults.append("a submap is nowhere")
    return faults


def fuzz(seed: int, out: Path, most_frames: int | None = None, seconds: float | None = None) -> Findings:
    """Shows a small mapper `most_frames`, or frames for so many `seconds`, and writes the result to `out`."""
    config, _ = core_config(SMALL)
    rng, found, started = np.random.default_rng(seed + 1), Findings(), time.monotonic()
    process, writer = psutil.Process(), ResultWriter(out / "result")
    with closing(build_mapper(config, "fuzz")) as mapper:
        for what, frame in frames(seed):
            if found.frames == most_frames or (seconds is not None and time.monotonic() - started > seconds):
                break
            found.frames += 1
            try:
                _take(mapper.push(frame), found, writer)
                if rng.random() < 0.004:
                    what = _interruption(mapper, rng, out, found, writer)
            except Exception as error:
                found.faults[f"{type(error).__name__}: {str(error)[:90]} ({what})"] += 1
            if found.frames % 20 == 0:
                found.rss_mb.append(process.memory_info().rss / 2**20)
        try:
            _take(mapper.flush(), found, writer)
            trajectory = mapper.trajectory()
            totals = RunTotals(
                found.frames,
                {},
                found.frames,
                dict(mapper.counters()),
                1.0,
                1.0,
                to_parameters(config),
                {"bag": "fuzz"},
            )
            writer.finish(trajectory, mapper.cloud(), totals, mapper.scale.history())
            written = out / "result" / "trajectory.tum"
            if len(trajectory) != (len(read_trajectory(written)) if written.stat().st_size else 0):
                found.faults["the trajectory is not what was written"] += 1
        except Exception as error:
            found.faults[f"{type(error).__name__}: {error} (at the end)"] += 1
    return found


def _take(updates: Sequence[MapUpdate], found: Findings, writer: ResultWriter) -> None:
    for update in updates:
        writer.add(update)
        found.faults.update(checked(update))
        if update.geometry is not None:
            found.healths[update.geometry.health.value] += 1


def _interruption(
    mapper: OnlineMapper, rng: np.random.Generator, out: Path, found: Findings, writer: ResultWriter
) -> str:
    """What a user may do meanwhile."""
    what = str(rng.choice(["flush", "save", "load", "reset"]))
    saved = out / "map"
    if what == "flush":
        _take(mapper.flush(), found, writer)
    elif what == "save" and mapper.counters()["submaps"] and not mapper.counters()["submaps_unlocalized"]:
        mapper.save(saved)
    elif what == "load" and saved.is_dir():
        mapper.load(StoredMap(saved))
    elif what == "reset":
        mapper.reset()
    return what


def main() -> int:
    """Runs as asked, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--frames", type=int, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep result and map there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = None if arguments.frames else 60.0 * arguments.minutes
        found = fuzz(arguments.seed, arguments.out or Path(folder), arguments.frames, seconds)
    print(f"{found.frames} frames, chunks {dict(found.healths)}")
    if len(found.rss_mb) > 1:
        first, last = found.rss_mb[0], found.rss_mb[-1]
        print(f"RAM {first:.0f} MB at first, {last:.0f} MB at last, second half {found.growth_mb():+.0f} MB")
    for fault, count in found.faults.most_common():
        print(f"{count} × {fault}")
    return int(bool(found.faults))


if __name__ == "__main__":
    raise SystemExit(main())
