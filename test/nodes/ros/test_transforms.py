import numpy as np
import pytest

from scal3r_ros.geometry import se3

conversion = pytest.importorskip("scal3r_ros.nodes.ros.messages", reason="rclpy is not installed")
static_transforms = pytest.importorskip("scal3r_ros.nodes.ros.transforms")


def pose(seed: int) -> np.ndarray:
    return se3.exp(np.random.default_rng(seed).normal(size=6))


@pytest.fixture
def tree():
    """base ← mast ← camera ← optical, and base ← lidar."""
    tree = static_transforms.StaticTransforms()
    edges = {("base", "mast"): 1, ("mast", "camera"): 2, ("camera", "optical"): 3, ("base", "lidar"): 4}
    tree.add(conversion.transform_message(0, parent, child, pose(seed)) for (parent, child), seed in edges.items())
    return tree


def test_chains_compose_from_child_to_ancestor(tree):
    np.testing.assert_allclose(tree.lookup("base", "optical"), pose(1) @ pose(2) @ pose(3), atol=1e-12)


def test_opposite_lookups_are_inverse_and_siblings_meet_at_their_parent(tree):
    np.testing.assert_allclose(tree.lookup("optical", "base") @ tree.lookup("base", "optical"), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(tree.lookup("lidar", "mast"), se3.invert(pose(4)) @ pose(1), atol=1e-12)


def test_unknown_frames_give_none_and_the_same_frame_identity(tree):
    assert tree.lookup("base", "elsewhere") is None
    np.testing.assert_array_equal(tree.lookup("nowhere", "nowhere"), np.eye(4))


def test_leading_slashes_do_not_matter(tree):
    np.testing.assert_array_equal(tree.lookup("/base", "/mast"), tree.lookup("base", "mast"))


def test_a_child_heard_again_moves(tree):
    tree.add([conversion.transform_message(0, "base", "mast", pose(9))])
    np.testing.assert_allclose(tree.lookup("base", "mast"), pose(9), atol=1e-12)


def test_a_transform_without_rotation_is_left_out(tree):
    broken = conversion.transform_message(0, "base", "mast", pose(9))
    broken.transform.rotation.x = broken.transform.rotation.y = 0.0
    broken.transform.rotation.z = broken.transform.rotation.w = 0.0
    tree.add([broken])
    np.testing.assert_allclose(tree.lookup("base", "mast"), pose(1), atol=1e-12)
