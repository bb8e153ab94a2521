"""The memory's unit as a source of scale: relative to the first submap, and silent where nothing is known of it."""

from dataclasses import replace

import pytest
from submap_views import submaps

from scal3r_ros.mapping.graph.observations import Source
from scal3r_ros.mapping.scale.config import ScaleConfig
from scal3r_ros.mapping.scale.estimator import ScaleEstimator
from scal3r_ros.mapping.scale.sources.memory import NEIGHBOURS, MemoryScale
from scal3r_ros.reconstruction.protocol import ChunkHealth
from scal3r_ros.simulation.drives.street import street_drive


@pytest.fixture(scope="module")
def views():
    return list(submaps(street_drive(120.0, seed=3), 7.3))


def of_sigma(view, sigma, health=ChunkHealth.OK):
    return replace(view, geometry=replace(view.geometry, unit_sigma=sigma, health=health))


def test_every_later_submap_is_compared_with_the_first_that_was_measured(views):
    source = MemoryScale()
    assert source.observe(of_sigma(views[0], 0.1, ChunkHealth.NO_PARALLAX)) == []
    assert source.observe(of_sigma(views[1], 0.1)) == []
    found = [source.observe(of_sigma(view, 0.1)) for view in views[2:]]
    assert [(o.submap, o.reference, o.log_scale, o.source) for (o,) in found] == [
        (view.index, views[1].index, 0.0, Source.MEMORY) for view in views[2:]
    ]
    assert all(o.sigma == pytest.approx(0.1 * NEIGHBOURS**0.5) for (o,) in found)
    source.clear()
    assert source.observe(of_sigma(views[5], 0.1)) == []


def test_a_reconstructor_that_does_not_carry_the_unit_is_silent(views):
    source = MemoryScale()
    assert [source.observe(view) for view in views] == [[]] * len(views)


def test_the_memory_is_counted_and_takes_no_part_in_what_is_known_of_metres(views):
    estimator = ScaleEstimator(ScaleConfig())
    for view in views:
        estimator.observe(of_sigma(view, 0.1))
    assert estimator.counters() == {"scale_memory": len(views) - 1}
    assert estimator.systematic_sigma() == 0.0
