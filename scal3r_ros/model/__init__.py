"""The Scal3R network: layers, a memory that learns while it runs, heads, presets and checkpoints."""

from scal3r_ros.model.heads.pose_encoding import decode_pose, encode_pose
from scal3r_ros.model.memory.state import MemoryMark, MemoryRule, MemoryState, Peers, Synchronizer, frozen
from scal3r_ros.model.memory.unit import FastWeights
from scal3r_ros.model.offline import InMemory, OnDisk, reconstruct_offline
from scal3r_ros.model.preprocessing import ResizeAndCrop, plan_resize
from scal3r_ros.model.scal3r import DenseMaps, Prediction, Scal3R, random_model
from scal3r_ros.model.weights.checkpoint import (
    CheckpointReport,
    CheckpointSource,
    load_backbone,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
    weights_fingerprint,
)
from scal3r_ros.model.weights.model_zoo import PUBLISHED, PublishedCheckpoint
from scal3r_ros.model.weights.presets import PRESETS, Preset, preset_named

__all__ = [
    "PRESETS",
    "PUBLISHED",
    "CheckpointReport",
    "CheckpointSource",
    "DenseMaps",
    "FastWeights",
    "InMemory",
    "MemoryMark",
    "MemoryRule",
    "MemoryState",
    "OnDisk",
    "Peers",
    "Prediction",
    "Preset",
    "PublishedCheckpoint",
    "ResizeAndCrop",
    "Scal3R",
    "Synchronizer",
    "decode_pose",
    "encode_pose",
    "frozen",
    "load_backbone",
    "load_checkpoint",
    "plan_resize",
    "preset_named",
    "random_model",
    "reconstruct_offline",
    "save_checkpoint",
    "verify_checkpoint",
    "weights_fingerprint",
]
