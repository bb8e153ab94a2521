"""The command `scal3r`."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from scal3r_ros.cli.bag import bag
from scal3r_ros.cli.benchmark import benchmark
from scal3r_ros.cli.demo import demo
from scal3r_ros.cli.doctor.command import doctor
from scal3r_ros.cli.evaluate import evaluate
from scal3r_ros.cli.export import export
from scal3r_ros.cli.info import info
from scal3r_ros.cli.replay import replay
from scal3r_ros.cli.simulate import simulate
from scal3r_ros.cli.train import train
from scal3r_ros.cli.view import view
from scal3r_ros.cli.weights import weights
from scal3r_ros.errors import Scal3rError

app = typer.Typer(
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
for command in (demo, bag, simulate, replay, evaluate, benchmark, view, export, train, weights, info, doctor):
    app.command()(command)


def main() -> int:
    """Runs the command; a `Scal3rError` becomes one line and exit code 1."""
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
