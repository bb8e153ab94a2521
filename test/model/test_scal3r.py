"""The network as a whole: precision, determinism and training through its memory."""

import pytest
import torch

from scal3r_ros.model import MemoryState, random_model
from scal3r_ros.model.weights.presets import NANO


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def test_equal_seeds_give_equal_networks_and_leave_the_global_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second, third = (random_model(NANO, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not torch.equal(first["aggregator.memory_units.1.w0"], third["aggregator.memory_units.1.w0"])


def test_bfloat16_stays_near_float32(images):
    with torch.no_grad():
        wide = random_model(NANO, 0)(images, MemoryState(NANO))
        for heads in (torch.float32, torch.bfloat16):
            narrow = random_model(NANO, 0).set_precision(torch.bfloat16, heads)(images, MemoryState(NANO))
            for a, b in (
                (narrow.depth.values, wide.depth.values),
                (narrow.points.values, wide.points.values),
                (narrow.pose_encoding, wide.pose_encoding),
            ):
                assert a.dtype == torch.float32
                assert (a - b).norm() < 0.05 * b.norm()


def test_bfloat16_leaves_memory_norms_tokens_and_camera_head_in_float32():
    model = random_model(NANO, 0).set_precision(torch.bfloat16, torch.bfloat16)
    narrow = {name for name, parameter in model.named_parameters() if parameter.dtype == torch.bfloat16}
    assert any(name.startswith("aggregator.global_blocks.0.attn.qkv") for name in narrow)
    assert any(name.startswith("depth_head.fuse.0") for name in narrow)
    for kept in ("memory_units", "norm", "token", "camera_head", "head.out", "head.hidden", ".ls1."):
        assert not [name for name in narrow if kept in name]
    model.set_precision(torch.float32)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_accumulated_gradient_is_float32_whatever_the_network_computes_in(images):
    memory = MemoryState(NANO)
    with torch.no_grad():
        random_model(NANO, 0).set_precision(torch.bfloat16)(images, memory)
    assert {w.dtype for G in memory.accumulated_gradient().values() for w in G} == {torch.float32}


def test_a_loss_on_the_second_chunk_reaches_what_the_first_one_taught(images):
    model, memory = random_model(NANO, 0), MemoryState(NANO)
    first = images.clone().requires_grad_()
    model(first, memory)
    prediction = model(images.flip(0), memory)
    (prediction.depth.values.log().square().mean() + prediction.pose_encoding.square().mean()).backward()
    assert first.grad.norm() > 0
    last = NANO.memory.layers[-1]
    assert model.aggregator.unit(last).w0.grad.norm() > 0
