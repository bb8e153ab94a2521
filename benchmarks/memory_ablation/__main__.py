"""What the memory is worth: the same weights on held-out long drives, their memory learning by one rule or another.

    python -m benchmarks.memory_ablation --checkpoint tiny.safetensors
    python -m benchmarks.memory_ablation --drives 40 --frames 160 --rules running frozen --workers 1
    python -m benchmarks.memory_ablation --checkpoint 1x=tiny.safetensors 2x=wide.safetensors:2x 4x=wider.safetensors:4x

Every drive is mapped as `scal3r replay` maps a bag, in chunks of `--chunk` frames, with the cameras' true calibration
and without loops; `--set` changes any parameter. Prints tables and writes them with a CSV, a JSON and a picture into
`--out`. Drives and results are kept there, so that a run that was interrupted goes on, and only what depends on a
change is measured anew. See docs/memory_ablation.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import scal3r_ros
from benchmarks.memory_ablation.drives import DriveFolder, DriveSet, digest, digest_of_code
from benchmarks.memory_ablation.measure import Network, Row, Rule, measure
from benchmarks.memory_ablation.report import write_report
from scal3r_ros.assembly import CoreConfig, core_config
from scal3r_ros.configuration import to_parameters
from scal3r_ros.errors import ConfigurationError, Scal3rError
from scal3r_ros.model import weights_fingerprint

SHIPPED = Path(scal3r_ros.__file__).parent / "weights" / "tiny.safetensors"
RULES = ("running", "running:0.97", "running:0.9", "sequential", "frozen", "frozen:apart", "offline")
KINDS = ("street", "country", "corridor", "rooms")
_ROOMS = tuple(
    Path(scal3r_ros.__file__).parent / room
    for room in ("evaluation", "features", "geometry", "mapping", "model", "reconstruction")
)
_MEASURING = Path(__file__).with_name("measure.py")
"""With these rooms, the code whose changes make everything be measured anew."""


@dataclass(frozen=True)
class Plan:
    """All that decides what is measured; `settings` are parameters of the core by name."""

    out: Path
    drives: DriveSet
    settings: dict[str, object]
    networks: tuple[Network, ...]
    rules: tuple[Rule, ...]

    @property
    def config(self) -> CoreConfig:
        """The core's configuration.

        Raises:
            ConfigurationError: a parameter that is unknown, mistyped or out of range.
        """
        config, foreign = core_config(self.settings)
        if foreign:
            raise ConfigurationError(f"unknown parameter {foreign[0]}")
        return config

    @property
    def folder(self) -> DriveFolder:
        """Where the drives are."""
        return DriveFolder(self.out / "drives", self.drives, self.config)


@dataclass(frozen=True)
class Job:
    """One drive through one network: which rules, and the file that keeps the row of each."""

    network: Network
    drive: int
    files: dict[Rule, Path]

    def missing(self) -> list[Rule]:
        """Rules that are not measured yet."""
        return [rule for rule, file in self.files.items() if not file.exists()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is not yet known and reports all."""
    options = _parser().parse_args(arguments)
    try:
        print(run(plan_of(options), options.workers))
    except Scal3rError as error:
        sys.exit(f"memory_ablation: {error}")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the command line asks for; raises `ConfigurationError` where it can not be read."""
    networks = tuple(Network.parse(text) for text in options.checkpoint or [str(SHIPPED)])
    if len({network.label for network in networks}) < len(networks):
        raise ConfigurationError("two checkpoints have the same label: name them as label=path")
    missing = [network.path for network in networks if not network.path.expanduser().is_file()]
    if missing:
        raise ConfigurationError(f"checkpoint {missing[0]} does not exist; give one by --checkpoint")
    settings: dict[str, object] = {
        "reconstructor": "scal3r",
        "loops.enabled": False,
        "window.size": options.chunk,
        "window.overlap": options.overlap,
        "network.image_width": options.width,
    }
    for setting in options.set:
        name, separator, text = setting.partition("=")
        if not separator:
            raise ConfigurationError(f"--set {setting} has no '='; write --set name=value")
        settings[name] = yaml.safe_load(text)
    drives = DriveSet(
        options.drives, options.frames, options.width, options.height, tuple(options.kinds), options.seed,
        options.least_chunks,
    )  # fmt: skip
    rules = tuple(dict.fromkeys(Rule.parse(text) for text in options.rules))
    return Plan(options.out, drives, settings, networks, rules)


def run(plan: Plan, workers: int) -> str:
    """The report of a plan as Markdown, which is also written to `plan.out`; raises any `Scal3rError`."""
    (plan.out / "rows").mkdir(parents=True, exist_ok=True)
    about = {network.label: _about(network, plan.config) for network in plan.networks}
    common = (to_parameters(plan.config), plan.folder.key, digest_of_code(_MEASURING, *_ROOMS))

    def job(network: Network, drive: int) -> Job:
        keys = {rule: digest(about[network.label]["weights"], str(rule), drive, *common) for rule in plan.rules}
        return Job(network, drive, {rule: plan.out / "rows" / f"{key}.json" for rule, key in keys.items()})

    drives = range(plan.drives.drives)
    jobs = [job(network, drive) for network in plan.networks for drive in drives]
    _call("rendering", workers, _prepare, [(plan, drive) for drive in drives if drive not in plan.folder])
    _call("mapping", workers, _measure, [(plan, job) for job in jobs if job.missing()])
    rows = [_row(job, rule) for rule in plan.rules for job in jobs]
    return write_report(rows, _told(plan), about, plan.out)


def _about(network: Network, config: CoreConfig) -> dict[str, object]:
    model = network.load(config)
    return {
        "preset": model.preset.name,
        "weights": weights_fingerprint(model),
        "state": sum(w.numel() for _, unit in model.aggregator.units() for w in unit.initial),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _told(plan: Plan) -> dict[str, object]:
    chosen, config = plan.drives, plan.config
    return {
        "drives": f"{chosen.drives} of {chosen.frames} frames, {chosen.width} × {chosen.height}, seed {chosen.seed}",
        "worlds": ", ".join(chosen.kinds),
        "chunks": f"{config.window.size} frames, {config.window.overlap} shared",
        "calibration": "true" if config.network.use_camera_info else "the network's",
        "loops": "on" if config.loops.enabled else "off",
        "refinement": config.refine,
    }


def _prepare(plan: Plan, drive: int) -> None:
    plan.folder.prepare(drive)


def _measure(plan: Plan, job: Job) -> None:
    drive, model = plan.folder.load(job.drive), job.network.load(plan.config)
    for rule in job.missing():
        row = measure(drive, job.network.label, model, rule, plan.config)
        partial = job.files[rule].with_suffix(".partial")
        partial.write_text(json.dumps(asdict(row)), encoding="utf-8")
        partial.replace(job.files[rule])


def _row(job: Job, rule: Rule) -> Row:
    content = json.loads(job.files[rule].read_text(encoding="utf-8"))
    # Equal weights may have been measured under another label.
    return Row(**(content | {"network": job.network.label}))


def _call(what: str, workers: int, function: Callable[..., None], many: Sequence[tuple[object, ...]]) -> None:
    """Calls a function with many arguments, in so many processes, and shows how far it is."""
    if not many:
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=len(many))
        for done, _ in enumerate(_called(workers, function, many), start=1):
            bar.update(task, completed=done)
            if not console.is_terminal:
                console.print(f"{what}: {done} of {len(many)} drives", highlight=False)


def _called(workers: int, function: Callable[..., None], many: Sequence[tuple[object, ...]]) -> Iterator[None]:
    """Comes back whenever one more call has returned."""
    if workers == 1:
        torch.set_num_threads(1)
        for arguments in many:
            function(*arguments)
            yield
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        try:
            for future in as_completed([pool.submit(function, *arguments) for arguments in many]):
                future.result()
                yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", nargs="+", metavar="[LABEL=]PATH[:SHAPE]", help="weights, and the preset or 2x, 4x of tiny")
    add("--rules", nargs="+", default=RULES, help="running, running:DECAY, sequential, frozen, frozen:apart, offline")
    add("--drives", type=int, default=20)
    add("--frames", type=int, default=120, help="frames of a drive")
    add("--width", type=int, default=224)
    add("--height", type=int, default=112)
    add("--kinds", nargs="+", default=KINDS, help="kinds of worlds, one after the other")
    add("--seed", type=int, default=0, help="makes other drives")
    add("--least-chunks", type=int, default=6, help="a drive with fewer is made anew")
    add("--chunk", type=int, default=8, help="keyframes of a chunk")
    add("--overlap", type=int, default=2, help="keyframes a chunk shares with the one before")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the mapper or network")
    add("--workers", type=int, default=2, help="processes")
    add("--out", type=Path, default=Path("out/memory_ablation"))
    return parser


if __name__ == "__main__":
    main()
