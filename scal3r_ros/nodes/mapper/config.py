"""All parameters of the node `mapper` in one dataclass."""

from __future__ import annotations

from dataclasses import dataclass

from scal3r_ros.assembly import CoreConfig
from scal3r_ros.nodes.ros.parameters import NodeConfig


@dataclass(frozen=True)
class MapperNodeConfig(CoreConfig, NodeConfig):
    """The node's own parameters and those of the core, under the names that `scal3r replay` knows."""
