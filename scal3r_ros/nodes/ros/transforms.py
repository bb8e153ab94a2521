"""The fixed frames of the robot, from /tf_static: where the camera sits on the base."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray

from scal3r_ros.geometry import se3
from scal3r_ros.nodes.ros.messages import matrix_of

Array = NDArray[np.float64]


class StaticTransforms:
    """The tree of static transforms heard so far. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._parents: dict[str, tuple[str, Array]] = {}

    def add(self, transforms: Iterable[TransformStamped]) -> None:
        """Takes in transforms; a child heard again gets its new parent. Ones without a valid rotation are left out."""
        for item in transforms:
            rotation = item.transform.rotation
            if np.linalg.norm([rotation.x, rotation.y, rotation.z, rotation.w]) < 1e-6:
                continue
            with self._changed:
                child, parent = item.child_frame_id.lstrip("/"), item.header.frame_id.lstrip("/")
                self._parents[child] = (parent, matrix_of(item.transform))
                self._changed.notify_all()

    def lookup(self, target: str, source: str, timeout_s: float = 0.0) -> Array | None:
        """T_target_source (4, 4) along whatever chain connects the two frames; None where none does in time."""
        deadline_s = time.monotonic() + timeout_s
        while (found := self._find(target.lstrip("/"), source.lstrip("/"))) is None:
            with self._changed:
                left = deadline_s - time.monotonic()
                if left <= 0.0 or not self._changed.wait(left):
                    return None
        return found

    def _find(self, target: str, source: str) -> Array | None:
        with self._changed:
            edges: dict[str, list[tuple[str, Array]]] = {}
            for child, (parent, T_parent_child) in self._parents.items():
                edges.setdefault(parent, []).append((child, T_parent_child))
                edges.setdefault(child, []).append((parent, se3.invert(T_parent_child)))
        reached = {target: np.eye(4)}
        frontier = deque([target])
        while frontier and source not in reached:
            frame = frontier.popleft()
            for neighbour, T_frame_neighbour in edges.get(frame, ()):
                if neighbour not in reached:
                    reached[neighbour] = reached[frame] @ T_frame_neighbour
                    frontier.append(neighbour)
        return reached.get(source)
