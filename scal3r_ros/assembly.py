"""Builds an online mapper from one configuration, for the node and for `scal3r replay`."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from scal3r_ros.configuration import from_parameters, parameter, section
from scal3r_ros.errors import ConfigurationError
from scal3r_ros.mapping import MapperConfig, OnlineMapper
from scal3r_ros.mapping.storage.map_store import StoredMap
from scal3r_ros.reconstruction.device import named_devices
from scal3r_ros.reconstruction.geometric.reconstructor import GeometricConfig, GeometricReconstructor
from scal3r_ros.reconstruction.network.bundled_weights import bundled_weights
from scal3r_ros.reconstruction.network.config import NetworkConfig
from scal3r_ros.reconstruction.network.offline import OfflineReconstructor
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.network.setup import build_network
from scal3r_ros.reconstruction.process.reconstructor import SeparateReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkStep, Frame, Reconstructor
from scal3r_ros.reconstruction.refinement.adjustment import BundleRefinement, RefinementConfig
from scal3r_ros.sync.devices.chunk_parallel import ChunkParallelReconstructor
from scal3r_ros.sync.exchange.layout import SharedNetwork
from scal3r_ros.sync.peers.config import MemoryPeersConfig
from scal3r_ros.sync.peers.peers import MemoryPeers

TINY = "tiny"


@dataclass(frozen=True)
class CoreConfig(MapperConfig):
    """All parameters of the core: those of the mapper, the name of the reconstructor, and the parameters of that."""

    reconstructor: str = parameter(
        "geometric",
        "what turns chunks of frames into geometry: geometric needs no weights; tiny is short for scal3r with "
        "network.preset tiny, its bundled weights, and refine bundle_adjustment; scal3r is the network that the "
        "parameters below describe",
        choices=("geometric", TINY, "scal3r"),
    )
    geometric: GeometricConfig = section(GeometricConfig)
    network: NetworkConfig = section(NetworkConfig)
    memory_peers: MemoryPeersConfig = section(MemoryPeersConfig)
    refine: str = parameter(
        "none", "what improves the network's chunks: nothing, or bundle adjustment of the tracked features",
        choices=("none", "bundle_adjustment"),
    )  # fmt: skip
    refinement: RefinementConfig = section(RefinementConfig)


def core_config(values: Mapping[str, object]) -> tuple[CoreConfig, list[str]]:
    """The core's part of a parameter file, and the names of the parameters that belong to others (the node's).

    Raises:
        ConfigurationError: a parameter of the core is mistyped, out of range, or unknown inside one of its sections.
    """
    ours = {item.name for item in fields(CoreConfig)}
    foreign = sorted(name for name in values if name.split(".")[0] not in ours)
    return from_parameters(CoreConfig, {name: values[name] for name in values if name not in foreign}), foreign


def spelt_out(config: CoreConfig) -> CoreConfig:
    """`config` with the reconstructor `tiny` replaced by what it is short for; any other as it is.

    Raises:
        ConfigurationError: `network.preset` names another one.
    """
    if config.reconstructor != TINY:
        return config
    if config.network.preset not in (NetworkConfig.preset, TINY):
        raise ConfigurationError(
            f"the reconstructor tiny is the network of preset tiny, but network.preset is {config.network.preset}: set "
            "reconstructor to scal3r for that one, or leave network.preset out"
        )
    network = replace(config.network, preset=TINY)
    return replace(config, reconstructor="scal3r", refine="bundle_adjustment", network=network)


def bundled_weights_used(config: CoreConfig) -> Path | None:
    """The file of bundled weights that the network of `config` loads; None where it loads none of those.

    Raises:
        ConfigurationError: as `spelt_out`.
    """
    config = spelt_out(config)
    if config.reconstructor != "scal3r" or config.network.checkpoint:
        return None
    return bundled_weights(config.network.preset)


def build_mapper(config: CoreConfig, name: str = "mapper", separate_process: bool = False) -> OnlineMapper:
    """An online mapper with the reconstructor that `config` names, which works in a `separate_process` where asked.

    Nodes that share their memory call this one by its machine and `name`, where `memory_peers.name` is empty.

    Raises:
        ReconstructionError: the reconstructor cannot be had as asked.
        ModelError: a checkpoint that does not fit the preset of the network.
        MappingError: the window's sizes contradict each other.
        ConfigurationError: the memory cannot be shared as asked.
    """
    config = spelt_out(config)
    with ExitStack() as undo:
        build = partial(build_reconstructor, config, name)
        reconstructor = SeparateReconstructor(build) if separate_process else build()
        undo.callback(reconstructor.close)
        mapper = OnlineMapper(config, reconstructor)
        undo.pop_all()
    return mapper


def build_reconstructor(config: CoreConfig, name: str = "mapper") -> Reconstructor:
    """The reconstructor that `config` names; raises as `build_mapper` does."""
    config = spelt_out(config)
    if config.memory_peers.rendezvous:
        return _sharing(config, name)
    if config.reconstructor == "scal3r":
        return _network(config)
    if config.reconstructor == "geometric":
        return GeometricReconstructor(config.geometric, config.tracker.klt)
    raise ConfigurationError(f"reconstructor is {config.reconstructor!r}, which nothing builds")


def _network(config: CoreConfig) -> Reconstructor:
    devices = named_devices(config.network.devices)
    if len(devices) > 1:
        return ChunkParallelReconstructor(replace(config.network, devices=devices), _refinement(config))
    return NetworkReconstructor(_on_one_device(config.network), refine=_refinement(config))


def _on_one_device(config: NetworkConfig) -> NetworkConfig:
    devices = named_devices(config.devices)
    return replace(config, device=devices[0]) if devices else config


def _sharing(config: CoreConfig, name: str) -> Reconstructor:
    _check_sharing(config)
    devices = named_devices(config.network.devices)

    def peers(network: SharedNetwork, sums_on: str | None = None) -> MemoryPeers:
        if not network.layout.shapes:
            raise ConfigurationError(
                f"memory_peers.rendezvous is set, but {config.network.checkpoint or 'the network'} has no memory units "
                "to share: use a checkpoint with memory, or leave it empty"
            )
        return MemoryPeers(config.memory_peers, f"{platform.node()}/{name.strip('/')}", network, sums_on)

    if len(devices) > 1:
        network = replace(config.network, devices=devices)
        return ChunkParallelReconstructor(network, _refinement(config), lambda shared: peers(shared, "cpu"))
    network = _on_one_device(config.network)
    model = build_network(network)
    return NetworkReconstructor(network, model, peers=peers(SharedNetwork.of(model)), refine=_refinement(config))


def _check_sharing(config: CoreConfig) -> None:
    reason = None
    if config.reconstructor != "scal3r":
        reason = f"the reconstructor {config.reconstructor} has no memory: set reconstructor to scal3r"
    elif config.network.memory.rule != "running":
        reason = f"memories of the rule {config.network.memory.rule} do not add up: set network.memory.rule to running"
    if reason is not None:
        raise ConfigurationError(f"memory_peers.rendezvous is set, but {reason}, or leave it empty")


def _refinement(config: CoreConfig) -> ChunkStep | None:
    return None if config.refine == "none" else BundleRefinement(config.refinement, config.tracker.klt)


def build_offline_mapper(
    config: CoreConfig, frames: Iterable[Frame], folder: Path, stored: StoredMap | None = None
) -> OnlineMapper:
    """A mapper for a finished recording: its network has learned from all `frames` before it answers for the first.

    It needs the same frames again. `folder` must be empty and stay until then, see `OfflineReconstructor`. The map and
    the memory continue from `stored`.

    Raises:
        ReconstructionError, ModelError, MappingError: as `build_mapper`; or the states do not fit into `folder`.
        ConfigurationError: the memory is to be shared, which an offline one cannot be.
    """
    if config.memory_peers.rendezvous:
        raise ConfigurationError("memory_peers.rendezvous is set, but an offline memory cannot be shared: empty it")
    config = spelt_out(config)
    reconstructor = OfflineReconstructor(config.network, folder, refine=_refinement(config))
    mapper = OnlineMapper(config, reconstructor)
    if stored is not None:
        mapper.load(stored)
    reconstructor.learn(chunks_seen(OnlineMapper(config, reconstructor), frames))
    return mapper


def chunks_seen(scout: OnlineMapper, frames: Iterable[Frame]) -> Iterator[Chunk]:
    """The chunks into which a mapper cuts `frames`: they do not depend on what is reconstructed."""
    for frame in frames:
        chunk = scout.observe(frame).chunk
        if chunk is not None:
            yield chunk
    while (last := scout.close_window()) is not None:
        yield last
