"""Configurations of runs: those of the repository hold, and mistakes are named."""

from pathlib import Path

import pytest

from scal3r_ros.errors import ConfigurationError
from scal3r_ros.training.config import TrainingConfig, read_training_config
from scal3r_ros.training.data.sampling import ChunkShape
from scal3r_ros.training.run import parse_size, validation_shape

CONFIGS = sorted((Path(__file__).parents[2] / "config" / "training").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_of_the_repository_can_be_run(path):
    config = read_training_config(path)
    assert all(parse_size(size) for size in config.data.sizes)
    assert validation_shape(config.data).span <= config.data.clip_frames


def test_nested_names_and_changes(tmp_path):
    (tmp_path / "run.yaml").write_text("preset: nano\ndata: {chunks: 2}\noptimiser:\n  lr: 0.001\n")
    config = read_training_config(tmp_path / "run.yaml", {"data.chunks": 4})
    assert (config.preset, config.data.chunks, config.optimiser.lr) == ("nano", 4, 0.001)
    (tmp_path / "empty.yaml").write_text("")
    assert read_training_config(tmp_path / "empty.yaml") == TrainingConfig()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("optimizer: {lr: 1}", "unknown parameter optimizer"), ("preset: huge", "one of"), ("- 1", "no parameters")],
)
def test_mistakes_are_named(tmp_path, text, complaint):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        read_training_config(tmp_path / "run.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_training_config(tmp_path / "absent.yaml")


def test_sizes_are_width_times_height():
    assert parse_size("224x112") == (224, 112)
    with pytest.raises(ConfigurationError, match="'224'"):
        parse_size("224")


def test_validation_is_as_long_as_clips_allow():
    config = read_training_config(CONFIGS[-1]).data
    assert validation_shape(config).frames == max(int(f) for f in config.frames)
    assert ChunkShape(2, 4, 2).span == 6
