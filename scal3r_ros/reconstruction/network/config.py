"""Parameters of the reconstructor `scal3r`."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import parameter, section
from scal3r_ros.errors import ConfigurationError
from scal3r_ros.model import PRESETS, MemoryRule, preset_named


@dataclass(frozen=True)
class NetworkMemoryConfig:
    """How the network's memory learns from chunk to chunk."""

    rule: str = parameter(
        "running",
        "how the memory learns from chunks: running sums the gradients of all, sequential takes a step from where the "
        "last chunk left it, frozen never learns",
        choices=tuple(rule.value for rule in MemoryRule),
    )
    decay: float = parameter(
        1.0, "share of the accumulated gradient that a chunk leaves (rule running): 1 remembers all, 0.97 about 32",
        minimum=0.01, maximum=1.0,
    )  # fmt: skip


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, its weights, and what it costs."""

    preset: str = parameter("full", "shape of the network; the published checkpoints are full", choices=tuple(PRESETS))
    checkpoint: str = parameter(
        "",
        "file with the network's weights; empty takes those bundled with the package for the preset, where there are "
        "any: `scal3r weights` lists them, and where to get others",
    )
    allow_random_weights: bool = parameter(
        False, "run untrained where there are no weights: the geometry is nonsense, everything else works"
    )
    device: str = parameter("auto", "torch device: auto takes a GPU where there is one")
    devices: tuple[str, ...] = parameter(
        ("",), "two or more torch devices, like cuda:0 and cuda:1: a worker process on each takes one of consecutive "
        "chunks in step with the others; auto takes all GPUs; empty names are ignored, and with none the parameter "
        "device applies",
    )  # fmt: skip
    split: str = parameter(
        "auto", "what several devices divide among themselves: chunks, of which each has one, or the frames of one "
        "chunk, which then needs less memory on each; auto takes frames where a chunk does not fit on one device",
        choices=("auto", "chunks", "frames"),
    )  # fmt: skip
    step_timeout_s: float = parameter(
        300.0, "how long the workers on several devices may give no sign of life before those that keep the others "
        "waiting are ended; must be longer than the slowest part of a chunk and than loading the network",
        unit="s", minimum=0.5, maximum=86400.0,
    )  # fmt: skip
    restart_workers: bool = parameter(
        True, "start a new worker on a device that has lost its own, beside the others; it joins with their memory"
    )
    precision: str = parameter(
        "auto",
        "type in which encoder and layers compute; memory, camera and depth head stay fp32; auto is bf16 where the "
        "device is fast in it",
        choices=("auto", "fp32", "bf16"),
    )
    image_width: int = parameter(
        0, "width to which images are resized; 0 is the width of the preset", unit="pixels", minimum=0,
        maximum=4096,
    )  # fmt: skip
    use_camera_info: bool = parameter(True, "use the camera's calibration, if any, instead of the network's guess")
    confidence_half: float = parameter(
        0.0, "the network's confidence (1 or more, higher is surer) that counts as 0.5; 1 counts as 0; 0 here takes "
        "the preset's", minimum=0.0, maximum=1000.0,
    )  # fmt: skip
    head_frames: int = parameter(
        4, "frames that go through the depth head at a time: it needs the most memory", unit="frames", minimum=1,
        maximum=256,
    )  # fmt: skip
    keep_shared_tokens: bool = parameter(
        True, "keep the encoder's tokens of frames that the next chunk shares, instead of computing them again"
    )
    overlap_depth_frames: int = parameter(
        2, "how many of the frames shared with the chunk before get depth, for the alignment", unit="frames",
        minimum=0, maximum=128,
    )  # fmt: skip
    onednn: bool = parameter(
        True,
        "multiply matrices by oneDNN on a CPU: faster than torch's default, equal up to rounding; not if compiled",
    )
    compile: bool = parameter(False, "compile the layers with torch.compile: a slow first chunk, faster later ones")
    compile_shapes: str = parameter(
        "any", "compiled once for chunks of any length and size; or anew and more closely for each shape; or so, and a "
        "GPU replays the operations of a layer as a CUDA graph",
        choices=("any", "fixed", "graphs"),
    )  # fmt: skip
    encode_ahead: bool = parameter(
        False, "encode the next chunk, where one waits, while the heads work on this one: equal numbers, and faster at "
        "most on a GPU; one device only"
    )  # fmt: skip
    memory: NetworkMemoryConfig = section(NetworkMemoryConfig)

    def __post_init__(self) -> None:
        if 0 < self.confidence_half <= 1:
            raise ConfigurationError(
                f"network.confidence_half is {self.confidence_half}, but no confidence is below 1: set more, or 0 for"
                " the value of the preset"
            )

    @property
    def half_confident(self) -> float:
        """The network's confidence that counts as 0.5."""
        return self.confidence_half or preset_named(self.preset).confidence_half
