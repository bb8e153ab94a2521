"""Products by oneDNN against torch's own, in double precision where an oracle is needed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from scal3r_ros.model.layers.blocks import Block
from scal3r_ros.model.layers.cpu_kernels import DotProductAttention, Linear, ask_onednn, has_onednn

pytestmark = pytest.mark.skipif(not has_onednn(), reason="this build of torch has no oneDNN")


def by_onednn(module: nn.Module) -> nn.Module:
    ask_onednn(module)
    return module


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (2, 3, 700, 48)])
def test_a_linear_layer_gives_the_same_by_onednn(shape, bias):
    torch.manual_seed(0)
    layer = Linear(48, 96, bias=bias)
    x = torch.randn(shape)
    with torch.inference_mode():
        expected = layer(x)
        torch.testing.assert_close(by_onednn(layer)(x), expected, rtol=1e-5, atol=1e-6)


def test_a_linear_layer_takes_rows_that_do_not_lie_in_a_row():
    torch.manual_seed(0)
    layer = Linear(48, 32)
    x = torch.randn(10, 48, 20).mT[:, ::2]
    with torch.inference_mode():
        expected = layer(x)
        torch.testing.assert_close(by_onednn(layer)(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("keys", "dtype", "error"), [
    (40, torch.float32, 1e-6), (1300, torch.float32, 1e-6), (40, torch.bfloat16, 8e-3), (1300, torch.bfloat16, 8e-3),
])  # fmt: skip
def test_attention_is_that_of_the_definition(keys, dtype, error):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, keys, 16).to(dtype) for _ in range(3))
    # As they come from one projection: not contiguous.
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v))
    expected = torch.softmax(q.double() @ k.double().mT / 4, dim=-1) @ v.double()
    with torch.inference_mode():
        answer = by_onednn(DotProductAttention())(q, k, v)
    assert answer.dtype == dtype
    assert (answer - expected).norm() / expected.norm() < error


def test_attention_keeps_queries_and_keys_of_different_number_apart():
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 2, 3, 16), torch.randn(1, 2, 600, 16), torch.randn(1, 2, 600, 16)
    with torch.inference_mode():
        expected = functional.scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(by_onednn(DotProductAttention())(q, k, v), expected, rtol=1e-5, atol=1e-6)


def test_a_block_keeps_its_tensors_names_and_its_gradient_until_it_is_asked():
    block = Block(32, 4, qk_norm=True)
    names = set(block.state_dict())
    block(torch.randn(2, 9, 32)).sum().backward()
    assert block.mlp.fc1.weight.grad is not None
    assert set(by_onednn(block).state_dict()) == names
