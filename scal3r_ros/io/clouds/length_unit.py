"""Whether coordinates are in metres, for the headers of files that other programs read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LengthUnit:
    """The metre, known from `sources`, or, where there are none, a unit of the map's own."""

    sources: tuple[str, ...] = ()

    @classmethod
    def metre(cls, sources: Iterable[str]) -> LengthUnit:
        """The metre, as the sources named have measured it."""
        return cls(tuple(sorted(set(sources))) or ("an earlier drive",))

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> LengthUnit:
        """That of a result with `run` as its `run.yaml`."""
        scale = run.get("scale")
        return cls.metre(scale.get("sources", ())) if isinstance(scale, Mapping) else cls()

    @property
    def is_metre(self) -> bool:
        """Whether the unit is the metre."""
        return bool(self.sources)

    def __str__(self) -> str:
        """One ASCII sentence, for comments in files."""
        if self.is_metre:
            return f"coordinates are in metres, by {', '.join(self.sources)}"
        return "coordinates are not in metres: nothing measured the scale of this map"


UNKNOWN_UNIT = LengthUnit()
