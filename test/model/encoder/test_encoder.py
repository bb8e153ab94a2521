"""Encoders see each frame on its own, or with the one before it."""

import pytest
import torch

from scal3r_ros.errors import ModelError
from scal3r_ros.model import random_model
from scal3r_ros.model.encoder.build import build_encoder
from scal3r_ros.model.encoder.encoder import StemConfig, VitConfig, VitEncoder
from scal3r_ros.model.weights.presets import NANO

VIT = VitConfig(channels=32, depth=2, heads=2, patch=4, trained_size=24)


@pytest.mark.parametrize("config", [VIT, StemConfig(channels=32, patch=4)], ids=["vit", "stem"])
def test_frames_do_not_see_each_other(config):
    torch.manual_seed(0)
    encoder = build_encoder(config)
    images = torch.rand(3, 3, 8, 12)
    with torch.no_grad():
        together = encoder(images)
        alone = encoder(images[1:2])
    assert together.patches.shape == (3, 6, 32)
    assert together.descriptor.shape == (3, 32)
    torch.testing.assert_close(together.patches[1:2], alone.patches)
    torch.testing.assert_close(together.descriptor[1:2], alone.descriptor)


def test_encoding_does_not_depend_on_how_many_frames_are_worked_on_at_once():
    model, images = random_model(NANO, 0), torch.rand(5, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(images, 2).patches, model.encode(images, 16).patches)


def test_position_embedding_is_as_learnt_at_the_size_it_was_learnt_at_and_in_between_elsewhere():
    encoder = VitEncoder(VIT)
    ramp = torch.linspace(0, 1, 6)
    with torch.no_grad():
        encoder.pos_embed[0, 1:] = ramp.repeat(6)[:, None]  # grows with the column
    as_learnt = encoder._positions(6, 6)[1]
    assert torch.equal(as_learnt, encoder.pos_embed[0, 1:])
    wider = encoder._positions(6, 12)[1].reshape(6, 12, -1)
    torch.testing.assert_close(wider[:, 3:-3], wider[:1, 3:-3].expand(6, -1, -1))
    assert (wider[0, 1:, 0] > wider[0, :-1, 0]).all()


def test_stem_with_odd_patches_is_refused():
    with pytest.raises(ModelError, match="power of two"):
        build_encoder(StemConfig(channels=32, patch=14))


def test_a_stem_that_sees_the_frame_before_needs_two_finer_levels():
    with pytest.raises(ModelError, match="8 pixels or more"):
        build_encoder(StemConfig(channels=32, patch=4, sees_previous=True))


def test_a_stem_that_sees_the_frame_before_sees_no_other():
    torch.manual_seed(0)
    encoder = build_encoder(StemConfig(channels=32, patch=8, sees_previous=True, refinements=1))
    images = torch.rand(4, 3, 32, 48)
    other = images.clone()
    other[1] = torch.rand(3, 32, 48)
    with torch.no_grad():
        tokens, changed = encoder(images).patches, encoder(other).patches
        backwards = encoder(images.flip(0), previous=[1, 2, 3, 3]).patches
    assert encoder(images).descriptor.shape == (4, 0)  # such tokens do not tell places apart
    moved = (tokens - changed).abs().amax((1, 2)) > 1e-4
    assert moved.tolist() == [False, True, True, False]
    torch.testing.assert_close(backwards.flip(0), tokens, atol=1e-4, rtol=1e-4)
