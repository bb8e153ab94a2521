"""The recorded sequences, mapped by the small network alone, by it with refinement, and by geometry: one table.

    python benchmarks/recorded.py                              with the weights that come with the package
    python benchmarks/recorded.py --checkpoint out/tiny/best.safetensors
    python benchmarks/recorded.py --only kitti06_51 --max-frames 30 --set network.memory.rule=frozen

The sequences are looked for in `--data`: folders of images with calibration and true poses, under the names below;
those that are missing are passed over. Each is mapped as `scal3r replay` maps a bag, one process after the other.
Bags (1 GB in all), results, `recorded.md` and `recorded.json` are written to `--out`; bags are kept for the next time.

ATE is the root mean square distance from the truth after alignment with scale. Yaw is the correlation of the turns
about the camera's vertical axis from frame to frame with the true ones. Depth is the median relative error of confident
pixels after one scale per frame. Drift is the standard deviation of the logarithm of the local scale along the path,
seams the root mean square of its step from one chunk to the next (in brackets how many): what one camera can not see,
and what a memory is for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scal3r_ros.cli.bag import bag as make_bag
from scal3r_ros.errors import Scal3rError
from scal3r_ros.evaluation.evaluator import evaluate_result
from scal3r_ros.evaluation.metrics.consistency import seam_scales, yaw_correlation
from scal3r_ros.reconstruction.network.bundled_weights import bundled_weights

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Sequence:
    """A recorded sequence: its folders and files, its camera's rate, and the parameter file made for its kind."""

    name: str
    images: str
    poses: str
    rate: float
    config: str
    times: str | None = None
    depth: str | None = None
    calibration: str = "calib.txt"


SEQUENCES = (
    Sequence("kitti00_160", "image_0", "poses_first160.txt", 10.0, "driving", times="times_first160.txt"),
    Sequence("kitti06_51", "image_0", "poses.txt", 10.0, "driving"),
    Sequence("kitti02_300", "image_0", "poses.txt", 10.0, "driving", times="times.txt"),
    Sequence("tum_fr1_xyz", "color", "poses.txt", 30.0, "handheld", times="times.txt", calibration="calib.yaml"),
    Sequence("tum_fr1_rpy", "color", "poses.txt", 30.0, "handheld", times="times.txt", calibration="calib.yaml"),
    Sequence("seven_scenes_1000", "color", "poses.txt", 30.0, "handheld", depth="depth"),
)

GEOMETRIC = "geometric"
REFINED = "tiny, refined"
VARIANTS = {
    "tiny": ("reconstructor=scal3r", "network.preset=tiny", "refine=none"),
    REFINED: ("reconstructor=tiny",),
    GEOMETRIC: ("reconstructor=geometric",),
}
"""The parameters of each variant; all but the last need weights."""


@dataclass(frozen=True)
class Row:
    """The result of one sequence and variant; numbers that there are not are None, `problem` says why none are there.

    `seam_step` is taken over `seams` steps from chunk to chunk.
    """

    sequence: str
    variant: str
    frames: int = 0
    posed: int = 0
    ate_m: float | None = None
    yaw_correlation: float | None = None
    depth_error: float | None = None
    scale_spread: float | None = None
    seam_step: float | None = None
    seams: int = 0
    images_per_second: float | None = None
    peak_mb: float | None = None
    problem: str = ""


def main() -> None:
    """Maps every sequence that is here by every variant that has weights, and prints the table."""
    arguments = _arguments()
    checkpoint: Path | None = arguments.checkpoint or bundled_weights("tiny")
    if checkpoint is None:
        print("no --checkpoint, and no weights for tiny come with this package: geometric alone", flush=True)
    variants = {
        variant: settings_of(variant, checkpoint)
        for variant in VARIANTS
        if variant == GEOMETRIC or checkpoint is not None
    }
    rows = []
    for sequence in SEQUENCES:
        if arguments.only and sequence.name not in arguments.only:
            continue
        if not (arguments.data / sequence.name).is_dir():
            print(f"{sequence.name}: passed over, there is no {arguments.data / sequence.name}", flush=True)
            continue
        bag = bag_of(sequence, arguments.data, arguments.out / "bags", arguments.max_frames)
        for variant, settings in variants.items():
            out = arguments.out / f"{sequence.name}_{variant.replace(', ', '_')}"
            rows.append(measured(sequence, variant, bag, out, [*settings, *arguments.settings]))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    text = f"{table(rows)}\n{comparison(rows)}"
    print(f"\n{text}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "recorded.md").write_text(text, encoding="utf-8")
    content = {
        "weights": None if checkpoint is None else hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "settings": arguments.settings,
        "max_frames": arguments.max_frames,
        "rows": [asdict(row) for row in rows],
    }
    (arguments.out / "recorded.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.out / 'recorded.md'} and {arguments.out / 'recorded.json'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="weights of preset tiny; those of the package if not given")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sequences")
    parser.add_argument("--only", nargs="*", choices=[sequence.name for sequence in SEQUENCES])
    parser.add_argument("--max-frames", type=int, help="the first so many frames of each sequence")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a parameter, as name=value")
    parser.add_argument("--out", type=Path, default=Path("out/recorded"))
    return parser.parse_args()


def settings_of(variant: str, checkpoint: Path | None) -> list[str]:
    """The parameters of a variant, with the weights where it takes any."""
    weights = [] if variant == GEOMETRIC or checkpoint is None else [f"network.checkpoint={checkpoint.resolve()}"]
    return [*VARIANTS[variant], *weights]


def bag_of(sequence: Sequence, data: Path, folder: Path, max_frames: int | None) -> Path:
    """The sequence as a rosbag2 with its truth, made where it is not there yet."""
    source = data / sequence.name
    bag = folder / (sequence.name if max_frames is None else f"{sequence.name}_{max_frames}")
    if not (bag / "metadata.yaml").is_file():
        bag.parent.mkdir(parents=True, exist_ok=True)
        make_bag(
            source / sequence.images,
            source / sequence.calibration,
            bag,
            rate=None if sequence.times else sequence.rate,
            times=source / sequence.times if sequence.times else None,
            truth=source / sequence.poses,
            depth=source / sequence.depth if sequence.depth else None,
            max_frames=max_frames,
        )
    return bag


def measured(sequence: Sequence, variant: str, bag: Path, out: Path, settings: list[str]) -> Row:
    """Replays the bag in a process of its own and compares the result with the truth."""
    command = [sys.executable, "-m", "scal3r_ros.cli.main", "replay", str(bag), "-o", str(out)]
    command += [
        "--config",
        str(ROOT / "config" / f"{sequence.config}.yaml"),
        *(["--save-depth"] * bool(sequence.depth)),
    ]
    command += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return Row(sequence.name, variant, problem=(done.stderr.strip() or "no word").splitlines()[-1])
    try:
        return _row(sequence, variant, bag, out)
    except Scal3rError as error:
        return Row(sequence.name, variant, problem=str(error))


def _row(sequence: Sequence, variant: str, bag: Path, out: Path) -> Row:
    evaluation = evaluate_result(out, bag)
    result, comparison = evaluation.result, evaluation.trajectory
    if comparison is None or result.timings is None:
        return Row(sequence.name, variant, problem="nothing was mapped")
    spans_ns = np.stack([result.timings.first_stamp_ns, result.timings.last_stamp_ns], axis=1)
    seams = seam_scales(comparison.truth, comparison.aligned, spans_ns)
    return Row(
        sequence=sequence.name,
        variant=variant,
        frames=result.run["counts"]["frames_in"],
        posed=len(result.trajectory),
        ate_m=comparison.metrics.ate_sim3_rmse_m,
        yaw_correlation=yaw_correlation(comparison.truth, comparison.aligned),
        depth_error=None if evaluation.depth is None else evaluation.depth.metrics.median_relative_error,
        scale_spread=comparison.metrics.scale_spread,
        seam_step=float(np.sqrt(np.mean(np.square(seams)))) if len(seams) else None,
        seams=len(seams),
        images_per_second=result.run["images_per_second"],
        peak_mb=float(result.timings.rss_mb.max()),
    )


def table(rows: list[Row]) -> str:
    """The rows in Markdown; a row without numbers says why."""
    lines = [
        "| sequence | | posed | ATE | yaw | depth | drift | seams | images/s | peak |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.problem] + [""] * 7 if row.problem else _cells(row)
        lines.append(f"| {' | '.join([row.sequence, row.variant, *cells])} |")
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    return [
        f"{row.posed} of {row.frames}",
        _told(row.ate_m, "{:.3f} m"),
        _told(row.yaw_correlation, "{:.3f}"),
        _told(row.depth_error, "{:.1%}"),
        _told(row.scale_spread, "{:.3f}"),
        _told(row.seam_step, f"{{:.3f}} ({row.seams})"),
        _told(row.images_per_second, "{:.1f}"),
        _told(row.peak_mb, "{:.0f} MB"),
    ]


def _told(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def comparison(rows: list[Row]) -> str:
    """A sentence for each sequence: the refined network's errors as multiples of geometry's."""
    found = {(row.sequence, row.variant): row for row in rows if not row.problem}
    lines = []
    for sequence in dict.fromkeys(row.sequence for row in rows):
        refined, geometric = found.get((sequence, REFINED)), found.get((sequence, GEOMETRIC))
        if refined is None or geometric is None:
            continue
        kinds = {"ATE": "ate_m", "depth": "depth_error", "drift": "scale_spread", "seams": "seam_step"}
        pairs = {kind: (getattr(refined, name), getattr(geometric, name)) for kind, name in kinds.items()}
        ratios = [f"{kind} × {ours / theirs:.2f}" for kind, (ours, theirs) in pairs.items() if ours and theirs]
        lines.append(f"- {sequence}, {REFINED}, over {GEOMETRIC}: {', '.join(ratios)}")
    return "\n".join(lines) + "\n" if lines else ""


if __name__ == "__main__":
    main()
