"""What memory_ablation measures: one drive, mapped by one network under one rule of its memory.

Shapes: S frames of a chunk, h × w pixels.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory_ablation.drives import Drive, chunks_of
from scal3r_ros.assembly import CoreConfig
from scal3r_ros.errors import ConfigurationError, EvaluationError, GeometryError
from scal3r_ros.evaluation.metrics.trajectories import compare_trajectories
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.alignment import align_sim3
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.mapping import MapUpdate, OnlineMapper
from scal3r_ros.mapping.submaps.alignment import AlignmentConfig, AlignmentMethod, ChunkAlignment, align_chunk
from scal3r_ros.model import MemoryRule, Preset, Scal3R, load_checkpoint, preset_named
from scal3r_ros.model.layers.cpu_kernels import ask_onednn, has_onednn
from scal3r_ros.reconstruction.device import torch_device
from scal3r_ros.reconstruction.network.config import NetworkMemoryConfig
from scal3r_ros.reconstruction.network.offline import OfflineReconstructor
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.network.setup import compute_type
from scal3r_ros.reconstruction.protocol import ChunkGeometry, ChunkHealth, Reconstructor
from scal3r_ros.reconstruction.refinement.adjustment import BundleRefinement

Array = NDArray[np.float64]

OFFLINE = "offline"
_EVERY = 2
"""Every so many rows and columns of a depth map are compared with the truth."""
_ROTATION_SIGMA = np.deg2rad(0.2)
_CENTRE_SIGMA = 0.005
"""Of shared cameras at a seam, the latter relative to the median depth: as the mapper's own alignment has them."""


@dataclass(frozen=True)
class Network:
    """Weights to measure: `shape` is a preset's name, or how many times larger the memory is than that of `tiny`."""

    label: str
    path: Path
    shape: str

    @classmethod
    def parse(cls, text: str) -> Network:
        """`[label=]path[:shape]`, the shape being `tiny` and the label the file's name where they are left out."""
        found = re.fullmatch(r"(?:([^=/]+)=)?(.+?)(?::(\w+))?", text)
        if found is None:
            raise ConfigurationError(f"--checkpoint {text!r} is not of the form [label=]path[:shape]")
        path = Path(found[2])
        return cls(found[1] or path.stem, path, found[3] or "tiny")

    def load(self, config: CoreConfig) -> Scal3R:
        """The network as `scal3r replay` runs it; `ModelError` where the weights are not of this shape."""
        network = config.network
        device = torch_device(network.device)
        model = load_checkpoint(self.path.expanduser(), preset_of(self.shape))
        if model.preset.memory is None:
            raise ConfigurationError(f"checkpoint {self.path} has no memory units, so there is nothing to measure")
        model.set_precision(compute_type(network, device)).to(device).requires_grad_(False)
        if network.onednn and device.type == "cpu" and has_onednn():
            ask_onednn(model)
        return model


def preset_of(shape: str) -> Preset:
    """A preset by name; `2x` is `tiny` with a memory of twice as many hidden channels."""
    times = re.fullmatch(r"(\d+)x", shape)
    if times is None:
        return preset_named(shape)
    tiny = preset_named("tiny")
    if tiny.memory is None:
        raise ConfigurationError("the preset tiny has no memory to make larger")
    larger = dataclasses.replace(tiny.memory, expansion=int(times[1]) * tiny.memory.expansion)
    return dataclasses.replace(tiny, name=f"tiny_{shape}", memory=larger)


@dataclass(frozen=True)
class Rule:
    """How the memory learns: one of the online rules, with what is left of earlier evidence, or `offline`.

    With `apart` each chunk is encoded by itself, as the offline pass does: online, frames that two chunks share keep
    the tokens of the earlier one, whose encoder has seen the frame before them.
    """

    name: str
    decay: float = 1.0
    apart: bool = False

    @classmethod
    def parse(cls, text: str) -> Rule:
        """`running`, `running:0.97`, `sequential`, `frozen`, `frozen:apart` or `offline`."""
        name, _, detail = text.partition(":")
        decays = re.fullmatch(r"0?\.\d+", detail) is not None
        known = [*(rule.value for rule in MemoryRule), OFFLINE]
        if name not in known or (detail not in ("", "apart") and not (name == "running" and decays)):
            raise ConfigurationError(f"--rules: {text!r} is none of {', '.join(known)}, running:DECAY or frozen:apart")
        return cls(name, float(detail) if decays else 1.0, detail == "apart")

    def __str__(self) -> str:
        return self.name + (" apart" if self.apart else "" if self.decay == 1.0 else f" {self.decay:g}")


@dataclass(frozen=True)
class Row:
    """Figures of one drive under one rule; None where nothing was mapped that could be compared.

    `ate_m` is of the whole mapped drive, `rigid_ate_m` of the keyframes of the network's chunks joined without any
    scale, both after one similarity for all; `…_share` of the path. `seams_truth` are log((truth / predicted) of a
    chunk over that of the one before), `seams_mapper` the logarithm of the scale that the mapper aligns them by,
    `…_spread` their standard deviations. `scale_spread` is that of log(truth / predicted) over all chunks. Depth errors
    are mean |predicted − true| / true, at each chunk's scale and at one for the whole drive.
    """

    network: str
    rule: str
    drive: str
    distance_travelled: float
    chunks: int
    posed: int
    ate_m: float | None
    ate_share: float | None
    rigid_ate_m: float | None
    rigid_ate_share: float | None
    seam_spread_truth: float | None
    seam_spread_mapper: float | None
    seams_by_points: float | None
    scale_spread: float | None
    depth_own: float | None
    depth_one: float | None
    seams_truth: list[float]
    seams_mapper: list[float]


@dataclass
class _Chunks:
    """What the network predicted for a drive's chunks, before the mapper aligned it."""

    truth: Drive
    alignment: AlignmentConfig
    T_world_cam: dict[int, Array] = field(default_factory=dict)
    log_ratios: list[Array] = field(default_factory=list)
    seams: list[ChunkAlignment] = field(default_factory=list)
    _last: Array | None = None
    _before: ChunkGeometry | None = None

    def take(self, update: MapUpdate) -> None:
        """Takes in one chunk that the mapper has mapped."""
        chunk, geometry = update.chunk, update.geometry
        if chunk is None or geometry is None or update.submap is None:
            return
        indices = [frame.index for frame in chunk.frames]
        ratios = [self._log_ratio(index, depth) for index, depth in zip(indices, geometry.depth, strict=True)]
        if geometry.health is ChunkHealth.OK:
            self.log_ratios.append(np.concatenate(ratios))
        if self._before is not None and chunk.shared:
            self.seams.append(align_chunk(self._before, geometry, chunk.shared, self.alignment))
        predicted = geometry.depth[geometry.depth > 0]
        unit = float(np.median(predicted)) if len(predicted) else 1.0
        T = self._joined(np.asarray(geometry.T_chunk_cam, np.float64), chunk.shared, unit)
        for index, pose in zip(indices, T, strict=True):
            self.T_world_cam.setdefault(index, pose)
        self._last, self._before = T, geometry

    def _log_ratio(self, index: int, predicted: NDArray[np.float32]) -> Array:
        """log(truth / predicted) of the pixels of a frame that both know."""
        true, depth = self.truth.depth_m(index)[::_EVERY, ::_EVERY], predicted[::_EVERY, ::_EVERY].astype(np.float64)
        both = (true > 0) & (depth > 0) & np.isfinite(depth)
        return np.asarray(np.log(true[both] / depth[both]))

    def _joined(self, T_chunk_cam: Array, shared: int, unit: float) -> Array:
        """A chunk's cameras laid rigidly, at its own scale, onto those of the chunk before that it shares."""
        if self._last is None:
            return T_chunk_cam
        if not shared:
            carried: Array = self._last[-1] @ se3.invert(T_chunk_cam[0]) @ T_chunk_cam
            return carried
        none = np.zeros((0, 3))
        fit = align_sim3(
            none, none, None, T_chunk_cam[:shared], self._last[-shared:], with_scale=False,
            pose_weight=1.0 / (_CENTRE_SIGMA * unit) ** 2, rotation_weight=1.0 / _ROTATION_SIGMA**2,
        )  # fmt: skip
        return fit.transform.apply_pose(T_chunk_cam)


def measure(drive: Drive, label: str, model: Scal3R, rule: Rule, config: CoreConfig) -> Row:
    """Maps a drive as `scal3r replay` does and compares it with the truth; `label` names the network in the row."""
    with tempfile.TemporaryDirectory(prefix="memory_ablation_") as folder:
        return measure_mapped(drive, label, rule, _reconstructor(drive, model, rule, config, Path(folder)), config)


def measure_mapped(drive: Drive, label: str, rule: Rule, reconstructor: Reconstructor, config: CoreConfig) -> Row:
    """As `measure`, with any reconstructor, which is closed in the end."""
    chunks = _Chunks(drive, config.alignment)
    with closing(OnlineMapper(config, reconstructor)) as mapper:
        for frame in drive.frames():
            for update in mapper.push(frame):
                chunks.take(update)
        for update in mapper.flush():
            chunks.take(update)
        mapped = mapper.trajectory()
    ate_m, rigid_m = _ate(drive, mapped), _ate(drive, _trajectory(drive, chunks.T_world_cam))
    logs = [ratios for ratios in chunks.log_ratios if len(ratios)]
    scales = np.array([np.median(ratios) for ratios in logs])
    seams = np.diff(scales)
    by_mapper = [seam for seam in chunks.seams if seam.method is not AlignmentMethod.LAST_POSE]
    by_points = [seam.method is AlignmentMethod.POINTS for seam in chunks.seams]
    seams_mapper = np.log([seam.scale for seam in by_mapper])
    everything = np.concatenate(logs) if logs else np.zeros(0)
    return Row(
        network=label,
        rule=str(rule),
        drive=drive.name,
        distance_travelled=drive.distance_travelled,
        chunks=len(chunks.log_ratios),
        posed=len(mapped),
        ate_m=ate_m,
        ate_share=None if ate_m is None else ate_m / drive.distance_travelled,
        rigid_ate_m=rigid_m,
        rigid_ate_share=None if rigid_m is None else rigid_m / drive.distance_travelled,
        seam_spread_truth=_spread(seams),
        seam_spread_mapper=_spread(seams_mapper),
        seams_by_points=_mean(np.array(by_points, np.float64)),
        scale_spread=_spread(scales),
        depth_own=_mean(np.array([_depth_error(ratios) for ratios in logs])),
        depth_one=_depth_error(everything) if len(everything) else None,
        seams_truth=seams.tolist(),
        seams_mapper=seams_mapper.tolist(),
    )


def _reconstructor(drive: Drive, model: Scal3R, rule: Rule, config: CoreConfig, folder: Path) -> Reconstructor:
    refine = None if config.refine == "none" else BundleRefinement(config.refinement, config.tracker.klt)
    if rule.name == OFFLINE:
        offline = OfflineReconstructor(config.network, folder, model, refine=refine)
        offline.learn(chunks_of(config, drive.frames()))
        return offline
    memory = NetworkMemoryConfig(rule.name, rule.decay)
    kept = config.network.keep_shared_tokens and not rule.apart
    network = dataclasses.replace(config.network, memory=memory, keep_shared_tokens=kept)
    return NetworkReconstructor(network, model, refine=refine)


def _trajectory(drive: Drive, T_world_cam: dict[int, Array]) -> Trajectory:
    indices = sorted(T_world_cam)
    poses = [T_world_cam[index] for index in indices]
    return Trajectory(drive.truth.stamps_ns[indices], np.array(poses).reshape(-1, 4, 4))


def _ate(drive: Drive, estimate: Trajectory) -> float | None:
    try:
        return compare_trajectories(drive.truth, estimate).metrics.ate_sim3_rmse_m
    except (EvaluationError, GeometryError):
        return None


def _depth_error(log_ratios: Array) -> float:
    """Mean |predicted − true| / true at the scale of the median of log(true / predicted)."""
    return float(np.mean(np.abs(np.expm1(np.median(log_ratios) - log_ratios))))


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None


def _spread(values: Array) -> float | None:
    return float(values.std()) if len(values) > 1 else None
