"""Which frames and tokens the aggregator tells apart, and which not."""

import pytest
import torch

from scal3r_ros.errors import ModelError
from scal3r_ros.model import MemoryState, frozen, random_model
from scal3r_ros.model.weights.presets import NANO


@pytest.fixture(scope="module")
def model():
    model = random_model(NANO, seed=2)
    with torch.no_grad():  # tokens large enough to matter
        model.aggregator.camera_token.normal_(generator=torch.Generator().manual_seed(0))
    return model


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def features(model, images, memory=frozen):
    with torch.no_grad():
        return model.aggregate(model.encode(images).patches, model.grid(images), memory)


def test_frames_after_the_first_may_come_in_any_order(model, images):
    order = [0, 3, 1, 2]
    # A memory's Newton-Schulz steps are bfloat16: they enlarge the rounding of a sum in another order.
    for memory, tolerance in ((lambda: frozen, 1e-5), (lambda: MemoryState(NANO), 1e-2)):
        straight, shuffled = features(model, images, memory()), features(model, images[order], memory())
        for a, b in zip(straight, shuffled, strict=True):
            assert (a[order] - b).norm() < tolerance * b.norm()


def test_the_first_frame_is_told_apart(model, images):
    straight, turned = features(model, images)[-1], features(model, images[[1, 0, 2, 3]])[-1]
    assert (straight[[1, 0, 2, 3]] - turned).norm() > 1e-3 * straight.norm()


def test_memory_adds_to_patches_only(model, images):
    aggregator = model.aggregator
    layer, unit = next(aggregator.units())
    x = torch.randn(2, aggregator.special + 6, NANO.aggregator.channels)
    tables = aggregator.tables(model.grid(images), x.device)
    with torch.no_grad():
        projections = aggregator.project(unit, x, tables)
        after = aggregator.remember(unit, x, projections.q, unit.initial)
    special = aggregator.special
    assert layer == NANO.memory.layers[0]
    assert projections.k.shape[1] == 2 * 6
    assert torch.equal(after[:, :special], x[:, :special])
    assert not torch.equal(after[:, special:], x[:, special:])


def test_images_that_are_no_whole_patches_are_refused(model):
    with pytest.raises(ModelError, match="20 × 16 pixels"):
        model.encode(torch.zeros(1, 3, 16, 20))
