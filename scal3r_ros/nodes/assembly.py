"""All parameters of the node `mapper` in one dataclass, and the mapper they describe."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.configuration import section
from scal3r_ros.mapping import MapperConfig, OnlineMapper
from scal3r_ros.nodes.parameters import NodeConfig
from scal3r_ros.reconstruction.geometric import GeometricConfig, GeometricReconstructor
from scal3r_ros.reconstruction.protocol import Reconstructor


@dataclass(frozen=True)
class MapperNodeConfig(NodeConfig):
    """The node's own parameters, the mapper's under `mapping.` and a reconstructor's under its name."""

    mapping: MapperConfig = section(MapperConfig)
    geometric: GeometricConfig = section(GeometricConfig)


def build_mapper(config: MapperNodeConfig) -> OnlineMapper:
    """The mapper with the reconstructor that the parameter `reconstructor` names.

    Raises:
        MappingError: the mapper's parameters contradict each other.
        ReconstructionError: the reconstructor can not run here as asked.
    """
    return OnlineMapper(config.mapping, _reconstructor(config))


def _reconstructor(config: MapperNodeConfig) -> Reconstructor:
    makers = {"geometric": lambda: GeometricReconstructor(config.geometric, config.mapping.tracker.klt)}
    return makers[config.reconstructor]()
