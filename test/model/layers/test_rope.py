"""A rotation says how far apart two tokens are, and nothing else."""

import torch

from scal3r_ros.model.layers.rope import Rotary, rotary_of, rotate, token_positions


def test_positions_run_row_by_row_from_one_and_special_tokens_sit_at_zero():
    positions = token_positions(2, 3, special=2, device=torch.device("cpu"))
    assert positions.tolist() == [[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]


def test_rotation_keeps_lengths():
    x = torch.randn(2, 20, 16)
    rotary = rotary_of(token_positions(4, 5, 0, x.device), 16, 100.0)
    torch.testing.assert_close(rotate(x, rotary).norm(dim=-1), x.norm(dim=-1))


def test_products_depend_on_relative_position_alone():
    q, k = torch.randn(1, 1, 32).double(), torch.randn(1, 1, 32).double()

    def product(at_q, at_k):
        tables = [rotary_of(torch.tensor([at]), 32, 100.0) for at in (at_q, at_k)]
        a, b = (rotate(t, Rotary(r.cos.double(), r.sin.double())) for t, r in zip((q, k), tables, strict=True))
        return (a * b).sum()

    torch.testing.assert_close(product((1, 2), (4, 7)), product((11, 5), (14, 10)), rtol=1e-5, atol=1e-5)
    assert (product((1, 2), (4, 7)) - product((1, 2), (7, 4))).abs() > 1e-3


def test_every_frame_of_a_chunk_is_turned_alike():
    x = torch.randn(2, 6, 8)
    rotary = rotary_of(token_positions(2, 3, 0, x.device), 8, 100.0)
    three_frames = rotate(x.repeat(1, 3, 1), rotary)
    torch.testing.assert_close(three_frames, rotate(x, rotary).repeat(1, 3, 1))


def test_narrow_types_are_turned_in_float32():
    x = torch.randn(1, 6, 8).bfloat16()
    rotary = rotary_of(token_positions(2, 3, 0, x.device), 8, 100.0)
    assert torch.equal(rotate(x, rotary), rotate(x.float(), rotary))
