"""The node's health as messages on /diagnostics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from scal3r_ros.mapping.scale.estimator import EarthReference
from scal3r_ros.mapping.scale.stage import ScaleEstimate
from scal3r_ros.nodes.mapper.activity import ActivityReport


@dataclass(frozen=True)
class Health:
    """All that one diagnostics message says. `new_drops` and `new_faults` are those of the period.

    `no_grid` says why there is no occupancy grid, and is empty where there is one.
    """

    state: str
    paused: bool
    silent: bool
    uptime_s: float
    resident_mb: float
    images_waiting: int
    chunks_waiting: int
    activity: ActivityReport
    drops: Mapping[str, int]
    faults: Mapping[str, int]
    new_drops: int
    new_faults: int
    counters: Mapping[str, int | float]
    scale: ScaleEstimate | None
    earth: EarthReference | None
    no_grid: str


def diagnostics_message(stamp: Time, node_name: str, health: Health) -> DiagnosticArray:
    """The health of the node: WARN while images are missing or lost, a fault is new, or sources of scale disagree."""
    level, summary = _judge(health)
    status = DiagnosticStatus(level=level, name=f"{node_name}: mapping", message=summary, hardware_id=node_name)
    status.values = [KeyValue(key=key, value=value) for key, value in _values(health).items()]
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def _judge(health: Health) -> tuple[bytes, str]:
    complaints = []
    if health.silent:
        complaints.append("no images")
    if health.new_drops:
        complaints.append(f"{health.new_drops} images dropped in the last period")
    if health.new_faults:
        complaints.append(f"{health.new_faults} faults in the last period")
    if health.scale is not None and health.scale.conflicts:
        complaints.append("sources of scale contradict each other")
    if complaints:
        return DiagnosticStatus.WARN, ", ".join(complaints)
    return DiagnosticStatus.OK, "paused" if health.paused else health.state


def _values(health: Health) -> dict[str, str]:
    activity = health.activity
    values = {
        "state": health.state,
        "paused": str(health.paused).lower(),
        "uptime [s]": f"{health.uptime_s:.1f}",
        "memory resident [MB]": f"{health.resident_mb:.1f}",
        "lag [s]": _number(activity.lag_s),
        "rate in [Hz]": f"{activity.rate_in_hz:.2f}",
        "rate out [Hz]": f"{activity.rate_out_hz:.2f}",
        "images received": str(activity.images),
        "images while paused": str(activity.images_paused),
        "images waiting": str(health.images_waiting),
        "chunks waiting": str(health.chunks_waiting),
        "poses published": str(activity.poses),
        "last chunk [s]": _number(activity.chunk_s),
        "last chunk": activity.note or "mapped",
        "last loop": "none"
        if activity.loop_ago_s is None
        else f"{activity.loop_ago_s:.0f} s ago, took {_number(activity.loop_s)} s",
        "dropped": str(sum(health.drops.values())),
    }
    values |= {f"dropped: {kind}": str(number) for kind, number in sorted(health.drops.items())}
    values |= {f"fault: {kind}": str(number) for kind, number in sorted(health.faults.items())}
    values |= {f"samples: {topic}": str(number) for topic, number in sorted(activity.samples.items())}
    values |= _metres(health)
    values["occupancy"] = f"none: {health.no_grid}" if health.no_grid else "published"
    values |= {f"mapper: {name}": _count(number) for name, number in sorted(health.counters.items())}
    for submap in activity.submaps:
        note = f", {submap.note}" if submap.note else ""
        values[f"submap {submap.index}"] = (
            f"{submap.health.value}, scale {submap.scale_to_previous:.4f}, {submap.keyframes} keyframes{note}"
        )
    return values


def _metres(health: Health) -> dict[str, str]:
    """What is known of scale and of the place on earth."""
    scale, earth = health.scale, health.earth
    if scale is None:
        return {"scale [m/unit]": "unknown"}
    values = {
        "scale [m/unit]": f"{scale.metres_per_unit:.5f}",
        "scale sigma [%]": f"{100.0 * scale.sigma:.2f}",
        "scale sources": ", ".join(source.value for source in scale.sources),
    }
    for conflict in scale.conflicts:
        percent = 100.0 * math.expm1(conflict.log_ratio)
        values[f"scale conflict: {conflict.source.value}"] = f"{percent:+.1f} % ({conflict.sigmas:.1f} sigma)"
    if earth is not None:
        origin = f"{earth.latitude_deg:.8f}, {earth.longitude_deg:.8f}, {earth.altitude_m:.2f} m"
        values["earth origin"] = origin
    return values


def _count(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
