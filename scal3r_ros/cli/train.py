"""`scal3r train`: trains a network on simulated worlds or recordings, or goes on with a run that was stopped."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scal3r_ros.configuration import read_settings
from scal3r_ros.training.config import TrainingConfig, read_training_config
from scal3r_ros.training.run import train_run
from scal3r_ros.training.trainer import LAST, StepReport

_LINE_EVERY_S = 60.0


def train(
    config: Annotated[Path, typer.Argument(help="A training configuration, as in config/training.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; one that holds a checkpoint goes on.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One parameter, as name=value; may be given several times.")
    ] = None,
    until: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps; the schedule stays.")] = None,
) -> None:
    """Train a network; stop it by Ctrl-C and start it again to go on.

    Several processes: torchrun --nproc-per-node 4 --module scal3r_ros.cli.main train CONFIG -o RUN

    Example: scal3r train config/training/tiny.yaml -o out/tiny
    """
    console = Console(stderr=True)
    chosen = read_training_config(config, read_settings(settings or []))
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[now]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        report = _Reporter(bar, console, chosen, until)
        trainer = train_run(chosen, out, report, lambda text: console.print(text, highlight=False), until)
    console.print(f"{trainer.progress.step} steps done; averaged weights in {out / LAST}", soft_wrap=True)


class _Reporter:
    """Shows steps on the bar, or as a line a minute where there is no terminal."""

    def __init__(self, bar: Progress, console: Console, config: TrainingConfig, until: int | None) -> None:
        self._bar, self._console = bar, console
        self._task = bar.add_task("training", total=until or config.optimiser.steps, now="")
        self._told = 0.0
        self._loss = self._rate = 0.0

    def __call__(self, report: StepReport) -> None:
        first = self._rate == 0.0
        self._loss = report.losses["total"] if first else 0.98 * self._loss + 0.02 * report.losses["total"]
        self._rate = report.frames_per_second if first else 0.95 * self._rate + 0.05 * report.frames_per_second
        now = f"loss {self._loss:.3f}, {self._rate:.0f} frames/s"
        self._bar.update(self._task, completed=report.step, now=now)
        if self._bar.disable and time.monotonic() - self._told > _LINE_EVERY_S:
            self._told = time.monotonic()
            self._console.print(f"step {report.step}: {now}", highlight=False)
