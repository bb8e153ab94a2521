"""`scal3r replay` with the network, on an untrained preset: nonsense for geometry, but a whole and repeatable run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from scal3r_ros.cli.main import app
from scal3r_ros.cli.replay.offline import Memory, with_memory
from scal3r_ros.errors import ConfigurationError, ReconstructionError

NANO = ("network.preset=nano", "network.allow_random_weights=true", "network.device=cpu")
WINDOW = ("window.size=5", "window.overlap=2")


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "street.bag"
    arguments = ["simulate", "-o", str(path), "--length", "24", "--width", "240", "--height", "96"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return path


def replay(bag: Path, out: Path, *settings: str, memory: str | None = None) -> Result:
    arguments = ["replay", str(bag), "-o", str(out)]
    arguments += [word for setting in settings for word in ("--set", setting)]
    return CliRunner().invoke(app, [*arguments, *(["--memory", memory] if memory else [])])


def contents(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in ("trajectory.tum", "map.ply")]


def test_untrained_weights_are_survived_and_repeatable(bag: Path, tmp_path: Path) -> None:
    settings = ("reconstructor=scal3r", "network.confidence_half=1.5", *NANO, *WINDOW)
    for name in ("once", "twice"):
        done = replay(bag, tmp_path / name, *settings)
        assert done.exit_code == 0, done.exception
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")
    run = yaml.safe_load((tmp_path / "once" / "run.yaml").read_text())
    counts = run["counts"]
    assert counts["frames_posed"] == counts["frames_in"] > 20
    assert counts["map_points"] > 0
    assert counts["memory_chunks"] == counts["submaps"] > 2
    assert counts["memory_norm_1"] > 0
    header = (tmp_path / "once" / "timings.csv").read_text().splitlines()[0]
    assert "encoder_s,layers_s,cameras_s,depth_s" in header
    learnt = (tmp_path / "once" / "memory.csv").read_text().splitlines()
    assert learnt[0].startswith("chunk,memory_chunks,memory_norm_1,memory_change_1,")
    assert [int(row.split(",")[1]) for row in learnt[1:]] == list(range(1, counts["submaps"] + 1))


def test_a_network_that_is_sure_of_nothing_still_gives_poses(bag: Path, tmp_path: Path) -> None:
    done = replay(bag, tmp_path, "reconstructor=scal3r", "network.confidence_half=1000.0", *NANO, *WINDOW)
    assert done.exit_code == 0, done.exception
    assert len((tmp_path / "trajectory.tum").read_text().splitlines()) > 20


def test_offline_memory_maps_the_whole_bag_and_leaves_no_states(bag: Path, tmp_path: Path) -> None:
    settings = ("network.confidence_half=1.5", *NANO, *WINDOW)
    done = replay(bag, tmp_path / "offline", *settings, memory="offline")
    assert done.exit_code == 0, done.exception
    assert replay(bag, tmp_path / "frozen", *settings, memory="frozen").exit_code == 0
    assert contents(tmp_path / "offline") != contents(tmp_path / "frozen")
    assert not [path for path in (tmp_path / "offline").iterdir() if path.is_dir()]
    run = yaml.safe_load((tmp_path / "offline" / "run.yaml").read_text())
    assert run["memory"] == "offline"
    assert run["counts"]["frames_posed"] == run["counts"]["frames_in"]
    assert run["parameters"]["reconstructor"] == "scal3r"


def test_the_network_runs_on_the_weights_of_the_package_and_says_so(
    bag: Path, tmp_path: Path, ship: Callable[..., Path]
) -> None:
    file = ship("nano") / "nano.safetensors"
    own = ("network.preset=nano", "network.device=cpu", "network.confidence_half=1.5", *WINDOW)
    done = replay(bag, tmp_path / "shipped", "reconstructor=scal3r", *own)
    assert done.exit_code == 0, done.exception
    assert f"weights: {file}, which come with this package" in done.output
    named = replay(bag, tmp_path / "named", "reconstructor=scal3r", f"network.checkpoint={file}", *own)
    assert named.exit_code == 0, named.exception
    assert "come with this package" not in named.output
    assert contents(tmp_path / "shipped") == contents(tmp_path / "named")


def test_a_reconstructor_can_be_named_by_an_option(bag: Path, tmp_path: Path) -> None:
    for name in ("geometric", "magic"):
        done = CliRunner().invoke(app, ["replay", str(bag), "-o", str(tmp_path / name), "--reconstructor", name])
        if name == "geometric":
            assert done.exit_code == 0, done.exception
            run = yaml.safe_load((tmp_path / name / "run.yaml").read_text())
            assert run["parameters"]["reconstructor"] == name
        else:
            assert isinstance(done.exception, ConfigurationError)


@pytest.mark.parametrize(
    ("given", "in_file", "meant"),
    [(None, None, "scal3r"), (None, "geometric", "scal3r"), (None, "tiny", "tiny"), ("tiny", "scal3r", "tiny")],
)
def test_a_memory_is_that_of_a_network(given: str | None, in_file: str | None, meant: str) -> None:
    assert with_memory(given, in_file, Memory.FROZEN) == meant


def test_memory_and_another_reconstructor_contradict_each_other(bag: Path, tmp_path: Path) -> None:
    done = replay(bag, tmp_path, "reconstructor=geometric", memory="offline")
    assert isinstance(done.exception, ConfigurationError)


def test_without_weights_it_says_where_to_get_some(bag: Path, tmp_path: Path) -> None:
    done = replay(bag, tmp_path / "out", "reconstructor=scal3r")
    assert isinstance(done.exception, ReconstructionError)
    assert "download scal3r.pt from" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_an_offline_memory_is_saved_with_the_map_and_continues_from_a_loaded_one(bag: Path, tmp_path: Path) -> None:
    settings = [word for setting in ("reconstructor=scal3r", "network.confidence_half=1.5", *NANO, *WINDOW)
                for word in ("--set", setting)]  # fmt: skip
    arguments = ["replay", str(bag), "--memory", "offline", *settings]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "a"), "--save-map", str(tmp_path / "map")])
    assert done.exit_code == 0, done.exception
    again = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "b"), "--load-map", str(tmp_path / "map")])
    assert again.exit_code == 0, again.exception
    first, second = (yaml.safe_load((tmp_path / name / "run.yaml").read_text()) for name in "ab")
    assert second["loaded_map"] == "map"
    assert second["memory"] == "offline"
    assert second["counts"]["frames_posed"] == first["counts"]["frames_posed"]
    assert contents(tmp_path / "a") != contents(tmp_path / "b")  # the same images, but what was learnt first is known
