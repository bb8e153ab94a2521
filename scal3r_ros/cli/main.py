"""The command `scal3r`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from scal3r_ros.errors import Scal3rError

COMMANDS = {
    "demo": "Map live with the real node and the real player over DDS, and evaluate the result.",
    "bag": "Turn a folder of images into a rosbag2 with Image, CameraInfo and, where known, true poses and depth.",
    "simulate": (
        "Simulate a drive through a street and write it as a rosbag2 with images, CameraInfo, true poses and true"
        " depth."
    ),
    "replay": "Map a recording as fast as this machine can and write trajectory, map, timings and settings.",
    "evaluate": (
        "Compare a result with ground truth; write report.html, its pictures, a page of the map and metrics.json."
    ),
    "benchmark": (
        "Run a published benchmark on the sequences that are there and print its tables; go on where it was stopped."
    ),
    "view": "Walk around in the map of a finished run, in the browser, until Ctrl-C.",
    "export": (
        "Write what was mapped for CloudCompare, QGIS, Open3D, evo, RViz, Nav2, COLMAP, nerfstudio and other programs."
    ),
    "train": "Train a network; stop it by Ctrl-C and start it again to go on.",
    "weights": (
        "Tell which weights the network can use, where to get them and what is here; verify a file; plan GPU memory."
    ),
    "info": "Show versions, devices, the ROS 2 found, and what is missing.",
    "doctor": "Check GPUs, network and memory sharing on this machine: a table to read, and a JSON file to send.",
}
"""What `scal3r --help` shows of each command: here, so that no command is imported before it runs. Together they take
seconds."""


class _OnDemand(TyperGroup):
    """Knows the commands by name and imports the one that runs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and imported(str(command.name)), rest


def imported(name: str) -> Any:
    """The command of that name with its options, as click has it."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    alone.command(name)(_function(name))
    return typer.main.get_command(alone)


def _function(name: str) -> Callable[..., None]:
    match name:
        case "demo":
            from scal3r_ros.cli.demo import demo

            return demo
        case "bag":
            from scal3r_ros.cli.bag import bag

            return bag
        case "simulate":
            from scal3r_ros.cli.simulate import simulate

            return simulate
        case "replay":
            from scal3r_ros.cli.replay import replay

            return replay
        case "evaluate":
            from scal3r_ros.cli.evaluate import evaluate

            return evaluate
        case "benchmark":
            from scal3r_ros.cli.benchmark import benchmark

            return benchmark
        case "view":
            from scal3r_ros.cli.view import view

            return view
        case "export":
            from scal3r_ros.cli.export import export

            return export
        case "train":
            from scal3r_ros.cli.train import train

            return train
        case "weights":
            from scal3r_ros.cli.weights import weights

            return weights
        case "info":
            from scal3r_ros.cli.info import info

            return info
        case "doctor":
            from scal3r_ros.cli.doctor.command import doctor

            return doctor
    raise KeyError(name)


app = typer.Typer(
    cls=_OnDemand,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Map a city with one camera.

    [bold]A first look, on a street made up on the spot:[/]

      scal3r simulate --length 200 -o street.bag

      scal3r replay street.bag -o out/street

      scal3r evaluate out/street --truth street.bag

      scal3r view out/street

    [bold]Your own images:[/]

      scal3r bag IMAGES --calib calib.txt --rate 10 -o mine.bag
    """,
)
for command, summary in COMMANDS.items():
    app.command(command, help=summary)(lambda: None)


def main() -> int:
    """Runs the command; a `Scal3rError` becomes one line and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name, or a sign, that the terminal cannot show ends no command
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Scal3rError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
