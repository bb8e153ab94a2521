"""What the stages of the node count together, for its diagnostics and its result."""

from __future__ import annotations

from collections.abc import Callable

from scal3r_ros.errors import Scal3rError
from scal3r_ros.nodes.mapper.activity import Activity
from scal3r_ros.nodes.mapper.faults import FaultLog


class Statistics:
    """`drops` counts images that were lost, `faults` all else that failed; `activity` is what was done.

    `error` logs the first drop or fault of each kind, `warn` what the user should know besides.
    """

    def __init__(self, error: Callable[[str], object], warn: Callable[[str], object]) -> None:
        self.drops = FaultLog(error)
        self.faults = FaultLog(error)
        self.activity = Activity()
        self.warn = warn


def describe(error: BaseException) -> str:
    """The sentence of an expected error; of a defect its type as well."""
    return str(error) if isinstance(error, Scal3rError) else f"{type(error).__name__}: {error}"
