"""The reconstructor `scal3r` on untrained networks: right numbers, economies, memory, and what can go wrong."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scal3r_ros.errors import ConfigurationError, ModelError, ReconstructionError
from scal3r_ros.geometry import se3
from scal3r_ros.geometry.intrinsics import Intrinsics
from scal3r_ros.model import Scal3R, decode_pose, frozen, preset_named, random_model, save_checkpoint
from scal3r_ros.reconstruction.device import torch_device
from scal3r_ros.reconstruction.network.config import NetworkConfig, NetworkMemoryConfig
from scal3r_ros.reconstruction.network.reconstructor import NetworkReconstructor
from scal3r_ros.reconstruction.protocol import Chunk, ChunkGeometry, ChunkHealth, Frame, Previous

NANO = NetworkConfig(preset="nano", allow_random_weights=True, device="cpu", precision="fp32")
# Newton-Schulz steps in bfloat16 enlarge rounding, so what is to agree closely is compared without a memory.
FROZEN = replace(NANO, memory=NetworkMemoryConfig(rule="frozen"))
CAMERA = Intrinsics(100.0, 100.0, 63.5, 31.5, 128, 64)
SHARED = 3
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A smooth picture that drifts by, as a camera's would."""
    rng = np.random.default_rng(1)
    panorama = np.kron(rng.integers(0, 255, (16, 96, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    return [Frame(i, 10**9 + i, panorama[:, 8 * i : 8 * i + 128], CAMERA) for i in range(30)]


def chunks_of(frames: list[Frame], size: int = 8, count: int = 3) -> list[Chunk]:
    step = size - SHARED
    return [Chunk(i, tuple(frames[i * step : i * step + size]), SHARED if i else 0) for i in range(count)]


def run(reconstructor: NetworkReconstructor, chunks: list[Chunk]) -> list[ChunkGeometry]:
    geometries: list[ChunkGeometry] = []
    previous = None
    for chunk in chunks:
        geometries.append(reconstructor.reconstruct(chunk, previous))
        previous = Previous(chunk, geometries[-1])
    return geometries


def assert_same(ours: list[ChunkGeometry], theirs: list[ChunkGeometry], **tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.T_chunk_cam, b.T_chunk_cam, **tolerance)
        np.testing.assert_allclose(a.depth, b.depth, **tolerance)
        np.testing.assert_allclose(a.confidence, b.confidence, **tolerance)
        np.testing.assert_allclose(a.descriptors, b.descriptors, **tolerance)


def images_of(chunk: Chunk, model: Scal3R) -> torch.Tensor:
    """What the network is to see: 128 × 64 halved, no crop."""
    stacked = torch.from_numpy(np.stack([frame.image for frame in chunk.frames])).permute(0, 3, 1, 2)
    width = model.preset.image_width
    small = torch.nn.functional.interpolate(stacked, size=(width // 2, width), mode="bicubic", antialias=True)
    return small.float() / 255


# What comes out -----------------------------------------------------------------------------------------------------


def test_geometry_is_what_the_mapper_expects(frames: list[Frame]) -> None:
    for geometry, chunk in zip(run(NetworkReconstructor(NANO), chunks_of(frames)), chunks_of(frames), strict=True):
        assert geometry.health is ChunkHealth.OK
        assert geometry.note == ""
        assert geometry.depth.shape == geometry.confidence.shape == (8, 32, 64)
        assert geometry.depth.dtype == geometry.confidence.dtype == geometry.descriptors.dtype == np.float32
        assert all(se3.is_rotation(R) for R in geometry.T_chunk_cam[:, :3, :3])
        assert ((geometry.confidence >= 0) & (geometry.confidence < 1)).all()
        assert (geometry.depth[chunk.shared :] > 0).all()
        np.testing.assert_allclose(np.linalg.norm(geometry.descriptors, axis=1), 1, rtol=1e-6)
        assert all(item == CAMERA.scaled(64, 32) for item in geometry.intrinsics)
        assert set(geometry.timings) == {"encoder_s", "layers_s", "cameras_s", "depth_s"}


def test_it_is_the_network_with_the_middle_frame_as_reference(frames: list[Frame]) -> None:
    chunk = chunks_of(frames)[0]
    model = random_model(preset_named("nano"), 0).requires_grad_(False)
    model.camera_head.pose_mlp.fc2.bias[7:] = 0.5  # a field of view, which untrained networks hardly have
    geometry = NetworkReconstructor(replace(FROZEN, use_camera_info=False), model).reconstruct(chunk, None)
    order = [3, 0, 1, 2, 4, 5, 6, 7]  # of eight frames the released code takes the fourth first
    with torch.no_grad():
        prediction = model(images_of(chunk, model)[order], frozen)
    T_cam_chunk, K = decode_pose(prediction.pose_encoding.double(), 32, 64)
    for place, position in enumerate(order):
        ours = np.linalg.inv(geometry.T_chunk_cam[position])[:3]
        np.testing.assert_allclose(ours, T_cam_chunk[place], **ROUNDING)
        np.testing.assert_allclose(geometry.intrinsics[position].K, K[place], **ROUNDING)
        np.testing.assert_allclose(geometry.depth[position], prediction.depth.values[place], **ROUNDING)
        c = prediction.depth.confidence[place].numpy()
        np.testing.assert_allclose(geometry.confidence[position], (c - 1) / (c - 1 + 4), **ROUNDING)


def test_confidence_is_one_half_where_the_parameter_says(frames: list[Frame]) -> None:
    chunk = chunks_of(frames)[0]
    at_five = NetworkReconstructor(NANO).reconstruct(chunk, None).confidence
    c = 1 + 4 * at_five / (1 - at_five)
    middle = float(np.median(c))
    other = NetworkReconstructor(replace(NANO, confidence_half=middle)).reconstruct(chunk, None).confidence
    assert float(np.median(other)) == pytest.approx(0.5, abs=1e-3)
    assert (np.diff(other.ravel()[np.argsort(at_five, axis=None)]) > -1e-6).all()


def test_a_camera_without_calibration_gets_the_networks(frames: list[Frame]) -> None:
    chunk = chunks_of(frames)[0]
    blind = replace(chunk, frames=tuple(replace(frame, intrinsics=None) for frame in chunk.frames))
    ours = NetworkReconstructor(NANO).reconstruct(blind, None)
    theirs = NetworkReconstructor(replace(NANO, use_camera_info=False)).reconstruct(chunk, None)
    assert ours.intrinsics == theirs.intrinsics != NetworkReconstructor(NANO).reconstruct(chunk, None).intrinsics


def test_equal_calls_give_equal_bytes(frames: list[Frame]) -> None:
    ours, theirs = (run(NetworkReconstructor(NANO), chunks_of(frames)) for _ in range(2))
    assert_same(ours, theirs, rtol=0)


# Economies ----------------------------------------------------------------------------------------------------------


def test_kept_tokens_equal_recomputed_ones(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = Scal3R.encode

    def counting(model: Scal3R, images: torch.Tensor, frames_at_once: int = 16) -> Any:
        encoded.append(len(images))
        return encode(model, images, frames_at_once)

    monkeypatch.setattr(Scal3R, "encode", counting)
    kept = run(NetworkReconstructor(NANO), chunks_of(frames))
    assert encoded == [8, 5, 5]
    encoded.clear()
    recomputed = run(NetworkReconstructor(replace(NANO, keep_shared_tokens=False)), chunks_of(frames))
    assert encoded == [8, 8, 8]
    assert_same(kept, recomputed, **ROUNDING)


def test_tokens_are_not_kept_for_other_frames_of_the_same_number(frames: list[Frame]) -> None:
    reconstructor = NetworkReconstructor(FROZEN)
    first, second = chunks_of(frames)[0], chunks_of(frames)[2]
    renumbered = tuple(replace(f, index=i, stamp_ns=10**12 + i) for i, f in enumerate(second.frames))
    reconstructor.reconstruct(first, None)
    ours = reconstructor.reconstruct(Chunk(1, renumbered, 0), None)
    theirs = NetworkReconstructor(NANO).reconstruct(Chunk(0, second.frames, 0), None)
    np.testing.assert_allclose(ours.descriptors, theirs.descriptors, **ROUNDING)


@pytest.mark.parametrize("head_frames", [1, 3])
def test_batches_of_the_depth_head_equal_the_whole(frames: list[Frame], head_frames: int) -> None:
    whole = run(NetworkReconstructor(replace(NANO, head_frames=64)), chunks_of(frames))
    assert_same(run(NetworkReconstructor(replace(NANO, head_frames=head_frames)), chunks_of(frames)), whole, **ROUNDING)


@pytest.mark.parametrize(("of_shared", "with_depth"), [(0, []), (1, [1]), (2, [0, 2]), (3, [0, 1, 2]), (9, [0, 1, 2])])
def test_shared_frames_without_depth_change_nothing_else(
    frames: list[Frame], of_shared: int, with_depth: list[int]
) -> None:
    chunks = chunks_of(frames)
    full = run(NetworkReconstructor(replace(NANO, overlap_depth_frames=SHARED)), chunks)
    some = run(NetworkReconstructor(replace(NANO, overlap_depth_frames=of_shared)), chunks)
    for ours, theirs, chunk in zip(some, full, chunks, strict=True):
        kept = [*with_depth, *range(SHARED, 8)] if chunk.shared else list(range(8))
        left_out = sorted(set(range(8)) - set(kept))
        np.testing.assert_allclose(ours.depth[kept], theirs.depth[kept], **ROUNDING)
        np.testing.assert_allclose(ours.T_chunk_cam, theirs.T_chunk_cam, rtol=0)
        assert not ours.depth[left_out].any()
        assert not ours.confidence[left_out].any()


def test_bfloat16_stays_near_float32(frames: list[Frame]) -> None:
    exact = NetworkReconstructor(NANO).reconstruct(chunks_of(frames)[0], None)
    rough = NetworkReconstructor(replace(NANO, precision="bf16")).reconstruct(chunks_of(frames)[0], None)
    assert rough.depth.dtype == np.float32
    assert 0 < np.abs(rough.depth / exact.depth - 1).mean() < 0.02
    assert np.abs(rough.T_chunk_cam - exact.T_chunk_cam).max() < 0.1


def test_products_by_onednn_equal_those_of_torch(frames: list[Frame]) -> None:
    chunks = chunks_of(frames)[:2]
    plain = run(NetworkReconstructor(replace(FROZEN, onednn=False)), chunks)
    assert_same(run(NetworkReconstructor(FROZEN), chunks), plain, **ROUNDING)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("shapes", ["any", "fixed", "graphs"])
def test_compiled_layers_equal_plain_ones(frames: list[Frame], shapes: str) -> None:
    chunks = [*chunks_of(frames)[:2], Chunk(2, tuple(frames[10:15]), SHARED)]
    plain = run(NetworkReconstructor(FROZEN), chunks)
    assert_same(
        run(NetworkReconstructor(replace(FROZEN, compile=True, compile_shapes=shapes)), chunks), plain, **ROUNDING
    )


def test_cuda_graphs_are_asked_for_with_fixed_shapes_and_every_chunk_begins_them_anew(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    begun: list[int] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: asked.append(options))
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(len(asked)))
    with_graphs = NetworkReconstructor(replace(NANO, compile=True, compile_shapes="graphs"))
    run(with_graphs, chunks_of(frames)[:2])
    assert asked
    assert asked == [{"dynamic": False, "mode": "reduce-overhead"}] * len(asked)
    assert len(begun) == 2
    begun.clear()
    run(NetworkReconstructor(replace(NANO, compile=True, compile_shapes="fixed")), chunks_of(frames)[:2])
    assert begun == []


@pytest.mark.parametrize("preset", ["nano", "tiny"])
def test_the_encoder_goes_ahead_on_another_thread_and_changes_no_bit(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    config = replace(NANO, preset=preset)
    size = 5
    chunks = chunks_of(frames, size)
    plain = run(NetworkReconstructor(config), chunks)
    threads: list[tuple[str, int]] = []
    encode = Scal3R.encode

    def watched(self: Scal3R, images: torch.Tensor, *rest: Any, **named: Any) -> Any:
        threads.append((threading.current_thread().name.partition("_")[0], len(images)))
        return encode(self, images, *rest, **named)

    monkeypatch.setattr(Scal3R, "encode", watched)
    ahead = NetworkReconstructor(replace(config, encode_ahead=True))
    assert ahead.max_parallel_chunks == 2
    geometries, previous = [], None
    for index, chunk in enumerate(chunks):
        geometries.append(ahead.reconstruct(chunk, previous, chunks[index + 1 :]))
        assert index or ahead.recall(chunk) is not None
        previous = Previous(chunk, geometries[-1])
    ahead.close()
    for ours, theirs in zip(geometries, plain, strict=True):
        np.testing.assert_array_equal(ours.T_chunk_cam, theirs.T_chunk_cam)
        np.testing.assert_array_equal(ours.depth, theirs.depth)
        np.testing.assert_array_equal(ours.confidence, theirs.confidence)
    assert [name for name, _ in threads].count("encoder") == 2
    assert [count for name, count in threads if name == "MainThread"] == [size, size]


def test_frames_that_cannot_be_encoded_ahead_are_reported_by_their_own_chunk(frames: list[Frame]) -> None:
    good, other = chunks_of(frames, count=2)
    torn = replace(other.frames[-1], image=other.frames[-1].image[:-8])
    bad = replace(other, frames=(*other.frames[:-1], torn))
    reconstructor = NetworkReconstructor(replace(NANO, encode_ahead=True))
    plain = NetworkReconstructor(NANO)
    assert_same([reconstructor.reconstruct(good, None, [bad])], [plain.reconstruct(good, None)], rtol=0, atol=0)
    with pytest.raises(ReconstructionError, match="size changes"):
        reconstructor.reconstruct(bad, None)
    assert_same([reconstructor.reconstruct(other, None)], [plain.reconstruct(other, None)], **ROUNDING)
    reconstructor.close()


# The memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "carried"),
    [
        (NetworkMemoryConfig(), True),
        (NetworkMemoryConfig(rule="frozen"), False),
        (NetworkMemoryConfig(rule="sequential"), False),
        (NetworkMemoryConfig(decay=0.9), False),
    ],
)
def test_chunks_say_how_well_their_unit_is_that_of_the_first_where_it_was_measured_for_this_memory(
    frames: list[Frame], memory: NetworkMemoryConfig, carried: bool
) -> None:
    model = random_model(preset_named("nano"), 0).requires_grad_(False)
    config, chunks = replace(NANO, memory=memory), chunks_of(frames, count=2)
    assert [geometry.unit_sigma for geometry in run(NetworkReconstructor(config, model), chunks)] == [None, None]
    model.unit_sigma = 0.07
    said = [geometry.unit_sigma for geometry in run(NetworkReconstructor(config, model), chunks)]
    assert said == ([0.07, 0.07] if carried else [None, None])


def test_the_memory_learns_and_a_reset_forgets(frames: list[Frame]) -> None:
    chunks = chunks_of(frames)
    reconstructor = NetworkReconstructor(NANO)
    first = run(reconstructor, chunks)
    assert reconstructor.metrics()["memory_chunks"] == 3
    assert reconstructor.metrics()["memory_norm_1"] > 0
    assert reconstructor.metrics()["memory_change_3"] > 0
    again = run(reconstructor, chunks)
    assert np.abs(again[0].depth - first[0].depth).max() > 1e-4
    reconstructor.reset()
    assert reconstructor.metrics() == {}
    assert_same(run(reconstructor, chunks), first, rtol=0)


def test_a_frozen_memory_has_seen_nothing(frames: list[Frame]) -> None:
    chunks = chunks_of(frames)
    config = replace(FROZEN, keep_shared_tokens=False)
    for chunk, seen in zip(chunks, run(NetworkReconstructor(config), chunks), strict=True):
        assert_same([NetworkReconstructor(config).reconstruct(chunk, None)], [seen], rtol=0)


@pytest.mark.parametrize("rule", ["running", "sequential"])
def test_a_restored_memory_continues_bit_for_bit(frames: list[Frame], tmp_path: Path, rule: str) -> None:
    config = replace(NANO, keep_shared_tokens=False, memory=NetworkMemoryConfig(rule=rule))
    chunks = chunks_of(frames)
    one = NetworkReconstructor(config)
    run(one, chunks[:2])
    one.snapshot(tmp_path / "memory.safetensors")
    other = NetworkReconstructor(config)
    other.restore(tmp_path / "memory.safetensors")
    assert_same([other.reconstruct(chunks[2], None)], [one.reconstruct(chunks[2], None)], rtol=0)
    assert other.metrics()["memory_chunks"] == 3
    with pytest.raises(ModelError, match="another preset"):
        NetworkReconstructor(replace(config, preset="small")).restore(tmp_path / "memory.safetensors")


# What can go wrong --------------------------------------------------------------------------------------------------


def limited(monkeypatch: pytest.MonkeyPatch, method: str, most: int) -> None:
    """Makes a stage of the network run out of memory for more than `most` frames."""
    original = getattr(Scal3R, method)

    def stage(model: Scal3R, tensors: Any, *rest: Any) -> Any:
        count = len(tensors) if isinstance(tensors, torch.Tensor) else len(tensors[0])
        result = original(model, tensors, *rest)
        if count > most:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {count} GiB.\nmore lines")
        return result

    monkeypatch.setattr(Scal3R, method, stage)


def test_a_head_that_does_not_fit_takes_fewer_frames(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = chunks_of(frames)
    whole = run(NetworkReconstructor(NANO), chunks)
    limited(monkeypatch, "depth", 1)
    tight = run(NetworkReconstructor(NANO), chunks)
    assert_same(tight, whole, **ROUNDING)
    assert "the depth head now takes 2 frames" in tight[0].note
    assert "the depth head now takes 1 frames" in tight[0].note
    assert tight[1].note == ""


def test_a_chunk_that_does_not_fit_goes_in_parts(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = chunks_of(frames)
    limited(monkeypatch, "aggregate", 4)
    reconstructor = NetworkReconstructor(NANO)
    tight = run(reconstructor, chunks)
    assert "chunks now go in parts of 4 frames" in tight[0].note
    assert tight[1].note == ""
    for geometry in tight:
        assert geometry.health is ChunkHealth.OK
        assert geometry.depth.shape == (8, 32, 64)
        assert len(geometry.intrinsics) == len(geometry.T_chunk_cam) == len(geometry.descriptors) == 8
    # Three parts a chunk, each learnt once: the attempt that failed left nothing behind.
    assert reconstructor.metrics()["memory_chunks"] == 9


def test_a_gpu_too_small_for_two_frames_is_an_error(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, "aggregate", 1)
    reconstructor = NetworkReconstructor(NANO)
    with pytest.raises(
        ReconstructionError, match=r"does not fit on cpu even with 2 frames \(CUDA out of memory[^\n]*$"
    ):
        reconstructor.reconstruct(chunks_of(frames)[0], None)
    monkeypatch.undo()
    fresh = replace(NANO, keep_shared_tokens=False)
    assert reconstructor.reconstruct(chunks_of(frames)[0], None).health is ChunkHealth.OK
    assert NetworkReconstructor(fresh).reconstruct(chunks_of(frames)[0], None).health is ChunkHealth.OK


def test_numbers_that_are_none_teach_nothing_and_the_motion_goes_on(frames: list[Frame]) -> None:
    chunks = chunks_of(frames)
    reconstructor = NetworkReconstructor(NANO)
    first = reconstructor.reconstruct(chunks[0], None)
    norms = dict(reconstructor.metrics())
    sick = reconstructor._model.camera_head.pose_mlp.fc2.bias
    healthy = sick.clone()
    sick.fill_(torch.nan)
    lost = reconstructor.reconstruct(chunks[1], Previous(chunks[0], first))
    assert lost.health is ChunkHealth.NOT_FINITE
    assert "not finite" in lost.note
    assert not lost.depth.any()
    assert dict(reconstructor.metrics()) == norms
    np.testing.assert_array_equal(lost.T_chunk_cam[:SHARED], first.T_chunk_cam[-SHARED:])
    step = np.linalg.inv(lost.T_chunk_cam[1]) @ lost.T_chunk_cam[2]
    np.testing.assert_allclose(np.linalg.inv(lost.T_chunk_cam[6]) @ lost.T_chunk_cam[7], step, atol=1e-9)
    sick.copy_(healthy)
    assert reconstructor.reconstruct(chunks[2], Previous(chunks[1], lost)).health is ChunkHealth.OK


def test_images_that_change_size_are_an_error(frames: list[Frame]) -> None:
    cut = replace(frames[1], image=frames[1].image[:32])
    with pytest.raises(ReconstructionError, match="128 × 32 and 128 × 64"):
        NetworkReconstructor(NANO).reconstruct(Chunk(0, (frames[0], cut), 0), None)


# Setting up ---------------------------------------------------------------------------------------------------------


def test_no_checkpoint_says_where_to_get_one() -> None:
    with pytest.raises(ReconstructionError, match=r"scal3r\.pt from https://.*nano.*allow_random_weights"):
        NetworkReconstructor(NetworkConfig(device="cpu"))


def test_a_checkpoint_that_is_not_there_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ReconstructionError, match=r"gone\.pt does not exist; download"):
        NetworkReconstructor(NetworkConfig(checkpoint=str(tmp_path / "gone.pt"), device="cpu"))


def test_a_checkpoint_is_loaded(frames: list[Frame], tmp_path: Path) -> None:
    model = random_model(preset_named("nano"), 5)
    save_checkpoint(model, tmp_path / "nano.safetensors")
    chunk = chunks_of(frames)[0]
    config = replace(NANO, checkpoint=str(tmp_path / "nano.safetensors"), allow_random_weights=False, onednn=False)
    ours, theirs = NetworkReconstructor(config), NetworkReconstructor(config, model)
    assert_same([ours.reconstruct(chunk, None)], [theirs.reconstruct(chunk, None)], rtol=0)


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ReconstructionError, match="device 'nowhere' cannot be used here"):
        torch_device("nowhere")


@pytest.mark.parametrize("rule", ["running", "sequential", "frozen"])
def test_to_recall_a_chunk_leaves_no_trace(frames: list[Frame], rule: str) -> None:
    config = replace(NANO, memory=NetworkMemoryConfig(rule=rule))
    chunks = chunks_of(frames)
    disturbed, plain = NetworkReconstructor(config), NetworkReconstructor(config)
    again = Chunk(0, chunks[0].frames[:3] + chunks[1].frames[-3:], 0)
    ours, theirs, previous = [], run(plain, chunks), None
    for chunk in chunks:
        ours.append(disturbed.reconstruct(chunk, previous))
        previous = Previous(chunk, ours[-1])
        figures = disturbed.metrics()
        recalled = disturbed.recall(again)
        assert recalled is not None
        assert recalled.T_chunk_cam.shape == (6, 4, 4)
        assert (recalled.depth > 0).all(axis=(1, 2)).all()
        assert disturbed.metrics() == figures
    assert_same(ours, theirs, rtol=0, atol=0)


def test_a_chunk_that_does_not_fit_is_not_recalled(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    reconstructor = NetworkReconstructor(NANO)
    chunk = chunks_of(frames)[0]
    limited(monkeypatch, "aggregate", 4)
    assert reconstructor.recall(chunk) is None
    assert reconstructor.recall(Chunk(0, chunk.frames[:3], 0)) is not None


def test_what_counts_as_confident_is_the_presets_unless_it_is_said() -> None:
    assert NetworkConfig(preset="tiny").half_confident == preset_named("tiny").confidence_half
    assert NetworkConfig(preset="tiny", confidence_half=3.0).half_confident == 3.0
    with pytest.raises(ConfigurationError, match="no confidence is below 1"):
        NetworkConfig(confidence_half=0.5)
