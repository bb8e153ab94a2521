"""Clips as an oracle of themselves: what depth and poses say has to agree from one frame to the next."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from scal3r_ros.errors import SequenceError, SimulationError
from scal3r_ros.geometry.se3 import is_rotation
from scal3r_ros.simulation.worlds.clips import KINDS, NEAREST_SEEN_M, Clip, SequenceSpec, render_sequence


def small(seed: int, kind: str | None = None, frames: int = 4, split: str = "train") -> SequenceSpec:
    return SequenceSpec(seed, frames, 112, 56, split, kind)


def digest(clip: Clip) -> bytes:
    return b"".join(part.tobytes() for part in (clip.images, clip.depth_m, clip.T_world_cam, clip.moving))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_renders_something_to_see(kind: str) -> None:
    for seed in range(3):
        clip = render_sequence(small(seed, kind))
        assert clip.images.shape == (4, 56, 112, 3)
        assert clip.images.dtype == np.uint8
        assert clip.depth_m.shape == clip.moving.shape == (4, 56, 112)
        assert clip.depth_m.dtype == np.float32
        assert clip.moving.dtype == np.bool_
        seen = clip.depth_m > 0
        assert seen.mean() > 0.3
        assert clip.depth_m[seen].min() >= NEAREST_SEEN_M
        assert clip.images.std() > 8
        assert is_rotation(clip.T_world_cam[:, :3, :3])
        if not kind.endswith(("street", "country")):
            assert seen.all(), "there is no sky in a house"


def test_equal_specs_give_equal_bytes_in_any_thread_and_others_differ() -> None:
    specs = [small(1), small(2), small(1), small(1, split="held_out")]
    with ThreadPoolExecutor(2) as pool:
        made = [digest(clip) for clip in pool.map(render_sequence, specs)]
    assert made[0] == made[2]
    assert len(set(made)) == 3


@pytest.mark.parametrize("kind", ["street", "country", "corridor", "handheld_rooms"])
def test_depth_and_pose_carry_one_frame_onto_another(kind: str) -> None:
    agreements, differences = [], []
    for seed in range(4):
        clip = render_sequence(SequenceSpec(seed, 3, kind=kind), clean=True)
        a, b, camera = 0, 1, clip.intrinsics
        v, u = np.nonzero((clip.depth_m[a] > 0) & ~clip.moving[a])
        rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(len(u))])
        T_b_a = np.linalg.inv(clip.T_world_cam[b]) @ clip.T_world_cam[a]
        x, y, z = T_b_a[:3, :3] @ (rays * clip.depth_m[a][v, u]) + T_b_a[:3, 3:]
        ub, vb = x / z * camera.fx + camera.cx, y / z * camera.fy + camera.cy
        inside = (z > 0.2) & (ub > 1) & (ub < camera.width - 2) & (vb > 1) & (vb < camera.height - 2)
        count = inside.sum() - inside.sum() % 64
        ub, vb, z, u, v = (values[inside][:count] for values in (ub, vb, z, u, v))
        at = [values.astype(np.float32).reshape(-1, 64) for values in (ub, vb)]
        # Inverse depth is linear in the image on planes, so that it may be interpolated.
        inverse = 1.0 / np.where(clip.depth_m[b] > 0, clip.depth_m[b], 1e9)
        there = 1.0 / cv2.remap(inverse, *at, cv2.INTER_LINEAR).ravel()
        agrees = np.abs(there / z - 1.0) < 0.01
        agreements.append(agrees.mean())
        colour = cv2.remap(clip.images[b], *at, cv2.INTER_LINEAR).reshape(-1, 3).astype(float)
        differences.append(np.median(np.abs(colour - clip.images[a][v, u])[agrees]))
    assert np.median(agreements) > (0.9 if kind in ("corridor", "handheld_rooms") else 0.75)
    assert np.median(differences) < 6.0


def test_intrinsics_are_those_of_the_lens_that_was_drawn() -> None:
    angles = []
    for seed in range(8):
        camera = render_sequence(small(seed, "rooms", frames=1)).intrinsics
        assert (camera.width, camera.height) == (112, 56)
        assert (camera.cx, camera.cy) == (55.5, 27.5)
        assert camera.fx == camera.fy
        angles.append(2 * np.degrees(np.arctan(56 / camera.fx)))
    assert min(angles) >= 50
    assert max(angles) <= 110
    assert np.ptp(angles) > 10


def test_motions_are_those_of_a_camera() -> None:
    steps, turns = [], []
    for seed in range(12):
        T = render_sequence(SequenceSpec(seed, 8, 32, 16)).T_world_cam
        between = np.linalg.inv(T[:-1]) @ T[1:]
        steps.append(np.linalg.norm(between[:, :3, 3], axis=1).max())
        turns.append(
            np.degrees(np.arccos(np.clip((np.trace(between[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))).max()
        )
    assert max(steps) < 2.2
    assert max(turns) < 14.0
    assert np.ptp(steps) > 0.1


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="split 'test' is unknown"):
        render_sequence(small(0, split="test"))
    with pytest.raises(SimulationError, match="kind of clip 'moon' is unknown"):
        render_sequence(small(0, "moon"))
    with pytest.raises(SimulationError, match="0 frames"):
        render_sequence(small(0, frames=0))
    with pytest.raises(SequenceError, match="holds no images"):
        render_sequence(small(0), images=tmp_path)


def test_images_of_a_folder_become_textures(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60, 3), (0, 0, 255), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((40, 60), 200, np.uint8))
    with_images, without = (render_sequence(small(3, "rooms"), images, clean=True) for images in (tmp_path, None))
    assert (with_images.images != without.images).any()
