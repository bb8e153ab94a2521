"""Checkpoints that others publish for these presets: address, licence and cost."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.model.weights.presets import FULL, Preset


@dataclass(frozen=True)
class PublishedCheckpoint:
    """`file` on the download `page`; `size_gb` on disk; `gpu_memory` and `licence` in words."""

    name: str
    preset: Preset
    file: str
    page: str
    licence: str
    size_gb: float
    gpu_memory: str
    note: str


_FULL_MEMORY = "estimated: 8 GB in bfloat16 for chunks of 16 frames, 0.2 GB for each frame more"

PUBLISHED = (
    PublishedCheckpoint(
        name="scal3r",
        preset=FULL,
        file="scal3r.pt",
        page="https://huggingface.co/xbillowy/Scal3R",
        licence="see the page; built on VGGT-1B, whose weights are for non-commercial use",
        size_gb=5.1,
        gpu_memory=_FULL_MEMORY,
        note="network and memory as published with the paper",
    ),
    PublishedCheckpoint(
        name="vggt",
        preset=FULL,
        file="model.pt",
        page="https://huggingface.co/facebook/VGGT-1B",
        licence="non-commercial (CC BY-NC 4.0)",
        size_gb=5.0,
        gpu_memory=_FULL_MEMORY,
        note="no memory units: chunks know nothing of each other",
    ),
    PublishedCheckpoint(
        name="vggt-commercial",
        preset=FULL,
        file="model.pt",
        page="https://huggingface.co/facebook/VGGT-1B-Commercial",
        licence="VGGT licence: commercial use allowed, military use not; access on request",
        size_gb=5.0,
        gpu_memory=_FULL_MEMORY,
        note="no memory units: chunks know nothing of each other",
    ),
)
