"""`scal3r train` from nothing to weights, and on."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from scal3r_ros.cli.main import app
from scal3r_ros.errors import ConfigurationError
from scal3r_ros.model import preset_named, verify_checkpoint

SMALL = """
preset: nano
device: cpu
threads: 1
data: {sizes: ["32x16"], clip_frames: 8, first_clips: 2, validation_clips: 1, frames: ["2"], chunks: 2, shared: 1}
optimiser: {steps: 4, warmup_steps: 1}
"""


@pytest.mark.timeout(240)
def test_a_run_makes_weights_and_can_be_continued(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SMALL)
    for until in (2, 4):
        done = CliRunner().invoke(
            app, ["train", str(tmp_path / "run.yaml"), "-o", str(tmp_path / "out"), "--until", str(until)]
        )
        assert done.exit_code == 0, done.output
        assert f"{until} steps done" in done.output
    verify_checkpoint(tmp_path / "out" / "last.safetensors", preset_named("nano"))
    assert [line.split(",")[0] for line in (tmp_path / "out" / "train.csv").read_text().split()] == [
        "step", "1", "2", "3", "4",
    ]  # fmt: skip
    assert list((tmp_path / "out" / "board").glob("events*"))


def test_a_setting_without_value_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SMALL)
    done = CliRunner().invoke(app, ["train", str(tmp_path / "run.yaml"), "-o", str(tmp_path), "--set", "preset"])
    assert isinstance(done.exception, ConfigurationError)
