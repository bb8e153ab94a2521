"""Scale along a drive: a row a submap by odometry and one in `map`, and a row for what each source observed of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scal3r_ros.errors import EvaluationError
from scal3r_ros.io.results.tables import read_table
from scal3r_ros.mapping.values import ScaleHistory

COLUMNS = ("submap", "stamp_ns", "distance_travelled", "source", "log_scale", "sigma")
ODOMETRY, MAP = "odometry", "map"

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScaleCurves:
    """By submap: `distance_travelled` (n,) in the unit of `map`, log scale by `odometry` (n,) alone and in `map` (n,).

    `observed` gives of each source the distance travelled (k,), the log scale (k,) and its standard deviation (k,).
    """

    distance_travelled: Array
    odometry: Array
    map: Array
    observed: Mapping[str, tuple[Array, Array, Array]]

    def metrics(self) -> dict[str, object]:
        """For `metrics.json`: observations by source, and how far odometry alone drifts from the map's scale."""
        drift = self.odometry - self.map
        return {
            "observations": {source: len(values[0]) for source, values in self.observed.items()},
            "odometry_drift": float(np.ptp(drift)) if len(drift) else None,
        }


def scale_csv(history: ScaleHistory) -> bytes:
    """The file of a history."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    places = {}
    rows = zip(
        history.submaps,
        history.stamps_ns,
        history.distance_travelled,
        history.log_odometry,
        history.log_map,
        strict=True,
    )
    for submap, stamp_ns, distance, by_odometry, in_map in rows:
        places[int(submap)] = (int(submap), int(stamp_ns), f"{distance:.4f}")
        writer.writerow([*places[int(submap)], ODOMETRY, f"{by_odometry:.6f}", ""])
        writer.writerow([*places[int(submap)], MAP, f"{in_map:.6f}", ""])
    for o in history.observations:
        writer.writerow([*places[o.submap], o.source.value, f"{o.log_scale:.6f}", f"{o.sigma:.6f}"])
    return text.getvalue().encode()


def read_scale(path: Path) -> ScaleCurves | None:
    """The curves in `path`; None where there is no such file: the run had no source of scale.

    Raises:
        EvaluationError: the file is damaged.
    """
    found = read_table(path, "scale", _by_source)
    if found is None:
        return None
    if ODOMETRY not in found or MAP not in found or len(found[ODOMETRY]) != len(found[MAP]):
        raise EvaluationError(f"scale file {path} is cut off; run `scal3r replay` again")
    observed = {source: (v[:, 0], v[:, 1], v[:, 2]) for source, v in found.items() if source not in (ODOMETRY, MAP)}
    return ScaleCurves(found[MAP][:, 0], found[ODOMETRY][:, 1], found[MAP][:, 1], observed)


def _by_source(rows: list[dict[str, str]]) -> dict[str, Array]:
    """Distance travelled, logarithm of the scale and sigma (n, 3) by source."""
    columns: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        values = (float(row["distance_travelled"]), float(row["log_scale"]), float(row["sigma"] or "nan"))
        columns.setdefault(row["source"], []).append(values)
    return {source: np.array(values) for source, values in columns.items()}
