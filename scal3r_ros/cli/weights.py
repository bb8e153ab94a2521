"""`scal3r weights`: which networks there are, where weights come from, what is here, and whether a file is whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError, safe_open

from scal3r_ros.model import (
    PRESETS,
    PUBLISHED,
    Preset,
    PublishedCheckpoint,
    Scal3R,
    load_checkpoint,
    plan_resize,
    preset_named,
    save_checkpoint,
    verify_checkpoint,
)
from scal3r_ros.reconstruction.network.bundled_weights import BUNDLED_LICENCE, all_bundled_weights, model_card
from scal3r_ros.reconstruction.network.plan import OVERHEAD, MemoryPlan, plan_memory

DEFAULT_PRESET = "full"
_WIDE = 200


def weights(
    file: Annotated[Path | None, typer.Argument(help="A checkpoint to verify; nothing: tell what there is.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"What it is for: {', '.join(PRESETS)}; by default as the file names it, or full."),
    ] = None,
    bfloat16: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write FILE's weights there, rounded: half the size of float32.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="How much GPU memory chunks of a preset take, and whether this box has it.")
    ] = False,
    image: Annotated[str, typer.Option(metavar="WxH", help="Size of the camera's images, for --plan.")] = "1280x720",
    frames: Annotated[
        list[int] | None, typer.Option(min=2, max=1024, help="Frames in a chunk, for --plan; may be repeated.")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=64,
            help="GPUs that share the frames of one chunk, for --plan; by default all of this box.",
        ),
    ] = None,
) -> None:
    """Tell which weights the network can use, where to get them and what is here; verify a file; plan GPU memory.

    Example: scal3r weights ~/Downloads/scal3r.pt
    Example: scal3r weights --plan --preset full --image 1280x720
    """
    console = Console(highlight=False)
    if plan:
        _plan(console, preset_named(preset or DEFAULT_PRESET), _size(image), frames or [8, 16, 32, 64], devices)
    elif file is None:
        if bfloat16 is not None:
            raise typer.BadParameter("name the FILE whose weights are to be written", param_hint="--bfloat16")
        _tell(console)
    else:
        chosen = preset_named(preset or _said_preset(file))
        _verify(console, file, chosen)
        if bfloat16 is not None:
            save_checkpoint(load_checkpoint(file, chosen).bfloat16(), bfloat16)
            line = f"{bfloat16}: {bfloat16.stat().st_size / 1e6:.1f} MB, sha256 {_sum_of(bfloat16)}"
            console.print(line, soft_wrap=True, markup=False)


def weights_folder() -> Path:
    """Where downloaded checkpoints are looked for: SCAL3R_WEIGHTS, or the user's data folder."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(os.environ.get("SCAL3R_WEIGHTS") or data / "scal3r_ros")


def place_of(published: PublishedCheckpoint) -> Path:
    """Where a published checkpoint is looked for: under its name, as several come in files named alike."""
    return weights_folder() / f"{published.name}{Path(published.file).suffix}"


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"{text!r} is no size: give it as in 1280x720", param_hint="--image")
    return int(width), int(height)


def _plan(
    console: Console, preset: Preset, image: tuple[int, int], frames: Sequence[int], split_over: int | None
) -> None:
    height, width = plan_resize(image[1], image[0], preset.image_width, preset.patch).target
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    console.print(
        f"preset {preset.name}, images of {image[0]} × {image[1]}, which the network sees as {width} × {height}; "
        "layers in bfloat16",
        soft_wrap=True,
    )
    split_over = split_over or max(2, len(devices))
    table = Table("frames", "weights", "memory", "most at once", "needs", f"split over {split_over}", box=None)
    for device in devices:
        table.add_column(f"{device.name}\n{device.total_memory / 1e9:.0f} GB", no_wrap=True)
    for number in frames:
        need = plan_memory(preset, number, width, height)
        share = plan_memory(preset, number, width, height, devices=split_over) if number >= split_over else need
        sizes = (need.weights, need.memory, need.peak, need.device, share.device)
        fits = [_fits(need, share, device.total_memory, len(devices) >= split_over) for device in devices]
        table.add_row(str(number), *(f"{size / 1e9:.2f} GB" for size in sizes), *fits)
    Console(highlight=False, width=_WIDE).print(table)  # a row that is cut shows nothing
    if not devices:
        console.print("There is no GPU here to compare with.")
    console.print(
        f"`split over {split_over}` is what each of {split_over} GPUs needs that share the frames of one chunk"
        " (network.split).\n"
        f"Both add {OVERHEAD / 1e9:.1f} GB for CUDA and its libraries, a guess: this was never measured on a GPU.",
        soft_wrap=True,
    )


def _fits(whole: MemoryPlan, share: MemoryPlan, capacity: float, enough_devices: bool) -> str:
    if whole.device <= capacity:
        return "fits"
    return "fits split" if enough_devices and share.device <= capacity else "does not fit"


def _tell(console: Console) -> None:
    console.print("[bold]presets[/] (network.preset)")
    table = Table("", "parameters", "in fp32", "images", "memory", box=None)
    for preset in PRESETS.values():
        millions = _parameters(preset) / 1e6
        units = 0 if preset.memory is None else len(preset.memory.layers)
        size = f"{millions * 4e-3:.2f} GB"
        table.add_row(preset.name, f"{millions:,.0f} M", size, f"{preset.image_width} px wide", f"{units} units")
    console.print(table)
    _tell_shipped(console)
    console.print(f"\n[bold]published weights[/] (looked for in {weights_folder()})", soft_wrap=True)
    for published in PUBLISHED:
        place = place_of(published)
        here = place.is_file()
        todo = f"here: network.checkpoint={place}" if here else f"not here; save its {published.file} as {place}"
        lines = {
            "preset": published.preset.name,
            "page": published.page,
            "licence": published.licence,
            "size": f"{published.size_gb} GB",
            "GPU": published.gpu_memory,
            "note": published.note,
        }
        console.print(f"  [bold]{published.name}[/] [{'green' if here else 'yellow'}]{todo}[/]", soft_wrap=True)
        _print_lines(console, lines)
    console.print("\nscal3r weights FILE verifies a file.")


def _tell_shipped(console: Console) -> None:
    bundled = all_bundled_weights()
    console.print("\n[bold]weights of this package[/] (used where network.checkpoint is empty)")
    if not bundled:
        console.print("  none")
    for name, file in bundled.items():
        console.print(f"  [bold]{name}[/] [green]here: network.preset={name}[/]", soft_wrap=True)
        lines = {
            "file": str(file),
            "size": f"{file.stat().st_size / 1e6:.1f} MB",
            "sha256": _sum_of(file),
            "licence": BUNDLED_LICENCE,
        }
        card = model_card()
        _print_lines(console, lines if card is None else {**lines, "card": str(card)})


def _sum_of(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def _print_lines(console: Console, lines: Mapping[str, str]) -> None:
    for name, text in lines.items():
        console.print(f"    {name:8} {text}", soft_wrap=True, markup=False)


def _verify(console: Console, file: Path, preset: Preset) -> None:
    with console.status(f"reading {file}"):
        report = verify_checkpoint(file, preset)
    memory = (
        "with memory units" if report.has_memory else "without memory units: chunks will know nothing of each other"
    )
    console.print(
        f"{file} is whole: {report.source.value} weights for preset {preset.name}, {report.tensors:,} tensors, "
        f"{report.parameters / 1e6:,.1f} M values, {memory}.\n"
        f"Use it with --set reconstructor=scal3r --set network.preset={preset.name} --set network.checkpoint={file}",
        soft_wrap=True,
        markup=False,
    )


def _said_preset(file: Path) -> str:
    """The preset that a file of our own names; published checkpoints name none."""
    if file.suffix != ".safetensors":
        return DEFAULT_PRESET
    try:
        with safe_open(file, framework="pt") as opened:
            name = (opened.metadata() or {}).get("preset_name", DEFAULT_PRESET)
    except (OSError, SafetensorError):
        return DEFAULT_PRESET  # what is wrong with it is for the verification to say
    return name if name in PRESETS else DEFAULT_PRESET


def _parameters(preset: Preset) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Scal3R(preset).parameters())
