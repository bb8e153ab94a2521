"""The plan of a device's memory: what runs without data is what runs with it, and its bytes are those of a real run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scal3r_ros.model import PRESETS, MemoryRule, MemoryState, random_model
from scal3r_ros.reconstruction.network.plan import AttentionOfGpus, Meter, plan_memory, run_chunk


@pytest.mark.parametrize("name", ["nano", "small"])
def test_without_data_every_operation_gives_the_shapes_and_types_that_it_gives_on_the_cpu(name):
    preset = PRESETS[name]
    traces, peaks = [], []
    for device in (torch.device("cpu"), torch.device("meta")):
        model = random_model(preset, 0).to(device).set_precision(torch.bfloat16)
        meter = Meter(device, records=True)
        with torch.inference_mode(), device, meter, AttentionOfGpus():
            run_chunk(model, MemoryState(preset, MemoryRule.RUNNING), 5, 96, 64, 2)
        traces.append([entry for entry in meter.trace if entry[0] != "aten::lift_fresh"])
        peaks.append(meter.peak)
    assert len(traces[0]) > 100
    assert traces[0] == traces[1]
    assert peaks[0] == pytest.approx(peaks[1], rel=0.01)


def test_an_operation_that_mixes_devices_is_an_error():
    with Meter(), pytest.raises(RuntimeError, match="mixes"):
        torch.ones(3) + torch.ones(3, device="meta")


def test_the_meter_counts_a_tensor_once_and_no_longer_than_it_lives():
    with torch.inference_mode(), torch.device("meta"), Meter() as meter:
        a = torch.empty(1000)
        view = a[10:]
        assert meter.now == 4000
        b = nn.functional.relu(a)
        assert meter.now == meter.peak == 8000
        del b
        assert meter.now == 4000
        del a
        assert meter.now == 4000  # the view lives on it
        del view
    assert meter.now == 0
    assert meter.peak == 8000


def test_the_weights_are_those_of_the_preset_and_more_frames_take_more():
    preset = PRESETS["medium"]
    one, two = (plan_memory(preset, frames, 392, 294) for frames in (4, 8))
    heads = sum(p.nbytes for p in random_model(preset, 0).set_precision(torch.bfloat16).parameters())
    assert one.weights == two.weights == pytest.approx(heads, rel=0.01)
    assert one.memory == two.memory > 0
    assert two.peak > one.peak > one.weights + one.memory
    shared = plan_memory(preset, 4, 392, 294, shares=True)
    assert shared.peak == one.peak + one.memory


@pytest.mark.parametrize("name", ["nano", "tiny"])
def test_each_of_several_devices_needs_less_for_its_frames_of_a_chunk(name):
    preset = PRESETS[name]
    whole, half, third = (plan_memory(preset, 12, 128, 96, devices=devices) for devices in (1, 2, 3))
    assert whole.weights == half.weights
    assert whole.memory == half.memory
    assert whole.peak > half.peak > third.peak
    # A device with as many frames of its own has the keys and values of the others on top, if not where it needs most.
    assert half.peak >= plan_memory(preset, 6, 128, 96).peak
