"""Closed drives through a town on a grid, with real loops, for those without recorded trajectories.

A circuit is written as the turns and the streets between them; each street is as many blocks of `BLOCK_M` long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import SimulationError
from scal3r_ros.geometry.trajectory import Trajectory
from scal3r_ros.simulation.drives.street import STEP_M, TURN_M, drive_of, turn_of_90_degrees

BLOCK_M = 80.0

CIRCUITS: dict[str, str] = {
    # Twice around two blocks.
    "block": "2L1L2L1L 2L1L2L1L 1",
    # Around one block to the left and one to the right, over one crossing from all sides, then the first half again.
    "eight": "1L1L1L 2R1R1R 2L1L1L 1",
    # Out, around, across the outbound street, around the other side, and along the outbound street once more.
    "delivery": "2L1L1L 2R1R1R 2L1L1L2L1L 2",
}
"""Circuits by name: blocks straight on, then L or R for a turn of 90°."""


def circuit_drive(name: str, speed_mps: float = 8.0, rate_hz: float = 10.0, seed: int = 0) -> Trajectory:
    """A drive along the circuit of that name, as `drives.street_drive` drives.

    Raises:
        SimulationError: there is no such circuit.
    """
    if name not in CIRCUITS:
        raise SimulationError(f"there is no circuit {name!r}; choose one of {', '.join(CIRCUITS)}")
    return drive_of(curvature_of(CIRCUITS[name]), speed_mps, rate_hz, np.random.default_rng(seed))


def curvature_of(way: str) -> NDArray[np.float64]:
    """Curvature (1/m) every `STEP_M` along the circuit; the turns cut its corners."""
    turn = turn_of_90_degrees(np.arange(round(TURN_M / STEP_M), dtype=np.float64) * STEP_M)
    # How much a turn shortens the street before it and the one after it.
    heading = np.cumsum(turn) * STEP_M
    cut_m = float(np.sin(heading).sum()) * STEP_M
    parts: list[NDArray[np.float64]] = []
    cut_before_m = 0.0
    for step in way.replace(" ", ""):
        if step in "LR":
            parts.append(turn if step == "L" else -turn)
            cut_before_m = cut_m
            continue
        straight_m = int(step) * BLOCK_M - cut_before_m - cut_m
        parts.append(np.zeros(round(straight_m / STEP_M)))
    return np.concatenate(parts)
