"""The whole core from one configuration."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from scal3r_ros.assembly import (
    CoreConfig,
    build_mapper,
    build_reconstructor,
    bundled_weights_used,
    core_config,
    spelt_out,
)
from scal3r_ros.configuration import from_parameters, parameters_of, read_parameter_file, to_parameters
from scal3r_ros.errors import ConfigurationError, MappingError, ReconstructionError
from scal3r_ros.mapping import OnlineMapper
from scal3r_ros.reconstruction.protocol import Chunk, Frame
from scal3r_ros.simulation.simulate import SimulatedFrame

ROOT = Path(__file__).resolve().parents[1]


def test_the_defaults_lie_in_their_own_ranges() -> None:
    for info in parameters_of(CoreConfig):
        assert info.check(info.default) == info.default
        assert info.doc


def test_the_defaults_build_a_mapper() -> None:
    config, foreign = core_config({})
    assert config == CoreConfig()
    assert foreign == []
    assert isinstance(build_mapper(config), OnlineMapper)


@pytest.mark.parametrize("name", ["default.yaml", "driving.yaml", "handheld.yaml"])
def test_every_file_of_the_package_configures_the_core(name: str) -> None:
    values = read_parameter_file(ROOT / "config" / name)
    config, foreign = core_config(values)
    assert isinstance(build_mapper(config), OnlineMapper)
    core = to_parameters(config)
    own = set(values) - set(foreign)
    assert own == set(core) if name == "default.yaml" else own < set(core)
    assert from_parameters(CoreConfig, core) == config


def test_what_belongs_to_others_is_told_and_not_refused() -> None:
    config, foreign = core_config({"window.size": 9, "base_frame": "base", "qos.image.depth": 3})
    assert config.window.size == 9
    assert foreign == ["base_frame", "qos.image.depth"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window.sice": 9}, "unknown parameter window.sice"),
        ({"window.size": 2}, "3 … 256"),
        ({"reconstructor": "magic"}, "one of geometric"),
        ({"geometric": 3}, "unknown parameter geometric"),
    ],
)
def test_a_mistake_in_the_cores_part_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        core_config(values)


@pytest.mark.parametrize("devices", [[""], ["cpu", "cpu"]])
def test_a_network_is_refined_where_asked(devices: list[str], street_frames: list[SimulatedFrame]) -> None:
    frames = tuple(Frame(i, view.stamp_ns, view.image, None) for i, view in enumerate(street_frames[:5]))
    network = {"reconstructor": "scal3r", "network.preset": "nano", "network.allow_random_weights": True}
    for refine in ("none", "bundle_adjustment"):
        values = {**network, "network.device": "cpu", "network.devices": devices, "refine": refine}
        with closing(build_reconstructor(core_config(values)[0])) as reconstructor:
            geometry = reconstructor.reconstruct(Chunk(0, frames, 0), None)
            assert reconstructor.recall is not None
            recalled = reconstructor.recall(Chunk(0, frames, 0))
            assert recalled is not None
        for one in (geometry, recalled):  # an untrained network: no track agrees with it
            assert ("too few tracks agree" in one.note) is (refine != "none")


def test_tiny_is_the_small_network_with_the_packages_weights_refined(ship: Callable[..., Path]) -> None:
    folder = ship("tiny")
    config = core_config({"reconstructor": "tiny", "network.device": "cpu", "network.memory.decay": 0.9})[0]
    assert build_reconstructor(config).name == "scal3r"
    meant = {"reconstructor": "scal3r", "network.preset": "tiny", "refine": "bundle_adjustment"}
    assert spelt_out(config) == core_config({**to_parameters(config), **meant})[0]
    assert bundled_weights_used(config) == folder / "tiny.safetensors"


def test_the_mapper_of_tiny_is_made_of_what_it_stands_for(
    ship: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ship("tiny")
    made: list[CoreConfig] = []
    monkeypatch.setattr("scal3r_ros.assembly.OnlineMapper", lambda config, _: made.append(config))
    build_mapper(core_config({"reconstructor": "tiny", "network.device": "cpu"})[0])
    assert made[0].reconstructor == "scal3r"


def test_only_tiny_stands_for_something_else() -> None:
    for name in ("geometric", "scal3r"):
        config = core_config({"reconstructor": name})[0]
        assert spelt_out(config) is config
        assert bundled_weights_used(config) is None
    with pytest.raises(ConfigurationError, match=r"network\.preset is nano: set reconstructor to scal3r"):
        build_reconstructor(core_config({"reconstructor": "tiny", "network.preset": "nano"})[0])


def test_weights_of_the_package_are_not_used_beside_a_checkpoint(ship: Callable[..., Path]) -> None:
    ship("tiny")
    config = core_config({"reconstructor": "tiny", "network.checkpoint": "mine.safetensors"})[0]
    assert bundled_weights_used(config) is None
    with pytest.raises(ReconstructionError, match=r"mine\.safetensors does not exist"):
        build_reconstructor(config)


def test_tiny_without_weights_is_refused(ship: Callable[..., Path]) -> None:
    ship()
    with pytest.raises(ReconstructionError, match="needs weights"):
        build_reconstructor(core_config({"reconstructor": "tiny"})[0])


def test_impossible_settings_are_refused_before_the_first_frame() -> None:
    with pytest.raises(MappingError, match="share 8"):
        build_mapper(core_config({"window.size": 6, "window.overlap": 8})[0])
    with pytest.raises(ReconstructionError, match="'nonsense'"):
        build_mapper(core_config({"geometric.device": "nonsense"})[0])
