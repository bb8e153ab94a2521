"""Maps on disk: whole after a round trip, and after a crash at any point, a full disk or a flipped bit told apart."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.storage.manifest import MANIFEST, PARTS, Manifest, manifest_bytes, read_manifest
from scal3r_ros.mapping.storage.map_store import MapWriter, StoredMap

SCANS = {number: np.random.default_rng(number).normal(size=(200, 3)) for number in range(3)}


def save(folder: Path, version: int, offloaded: Path | None = None) -> None:
    with MapWriter(folder) as writer:
        for number, scan in SCANS.items():
            writer.add_arrays(f"scan_{number}", {"points": scan + (version if number else 0)})
        memory = writer.scratch / "memory.bin"
        memory.write_bytes(bytes([version]) * 5000)
        writer.add_file("memory", memory)
        if offloaded is not None:
            writer.add_file("offloaded", offloaded)
        writer.commit({"version_of_test": version})


def assert_is(folder: Path, version: int) -> None:
    stored = StoredMap(folder)
    assert stored.facts == {"version_of_test": version}
    for number, scan in SCANS.items():
        np.testing.assert_array_equal(stored.arrays(f"scan_{number}")["points"], scan + (version if number else 0))
    assert stored.path("memory").read_bytes() == bytes([version]) * 5000


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "a" / "map", 1)
    assert_is(tmp_path / "a" / "map", 1)
    stored = StoredMap(tmp_path / "a" / "map")
    assert stored.names("scan_") == ["scan_0", "scan_1", "scan_2"]
    assert "memory" in stored
    assert "places" not in stored
    with pytest.raises(MappingError, match="has no places"):
        stored.arrays("places")


def test_saving_again_replaces_the_map_and_leaves_nothing_behind(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "notes.txt").write_text("mine")
    first = {path.name: path.stat().st_ino for path in (tmp_path / PARTS).glob("scan_0*")}
    save(tmp_path, 2)
    assert_is(tmp_path, 2)
    assert len(files(tmp_path)) == len(SCANS) + 1 + len((MANIFEST, "notes.txt", ".lock"))
    assert {path.name: path.stat().st_ino for path in (tmp_path / PARTS).glob("scan_0*")} == first  # unchanged: kept


def test_a_file_from_elsewhere_is_stored_and_stays_where_it_was(tmp_path: Path) -> None:
    offloaded = tmp_path / "offloaded.npz"
    offloaded.write_bytes(b"cloud")
    save(tmp_path / "map", 1, offloaded)
    offloaded.unlink()
    assert StoredMap(tmp_path / "map").path("offloaded").read_bytes() == b"cloud"


def test_an_attempt_without_commit_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = files(tmp_path)
    with MapWriter(tmp_path) as writer:
        writer.add_arrays("scan_0", {"points": np.zeros(9)})
    assert files(tmp_path) == before
    assert_is(tmp_path, 1)


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Runs `work` in a child process that is killed before its `step`-th change of the disk; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def deadly(change: Callable[..., object]) -> Callable[..., object]:
            def before(*arguments: object, **options: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return before

        for owner, name in [
            (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "hardlink_to"), (Path, "write_bytes"),
            (Path, "open"), (Path, "mkdir"), (np, "savez_compressed"), (fcntl, "flock"),
        ]:  # fmt: skip
            setattr(owner, name, deadly(getattr(owner, name)))
        try:
            work()
        except BaseException:
            os._exit(3)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_kill_9_at_any_point_leaves_one_whole_map(tmp_path: Path) -> None:
    offloaded = tmp_path / "offloaded.npz"
    offloaded.write_bytes(b"cloud" * 1000)
    folder = tmp_path / "map"
    save(folder, 1)
    step, seen = 0, []
    while killed_at(step, lambda: save(folder, 2, offloaded)):
        version = StoredMap(folder).facts["version_of_test"]
        assert_is(folder, int(str(version)))
        seen.append(version)
        step += 1
        if version == 2:
            save(folder, 1)  # start from the old one again
    assert_is(folder, 2)
    assert step > 25
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}
    save(folder, 3)
    assert len(files(folder)) == len(SCANS) + 1 + len((MANIFEST, ".lock"))


def test_kill_9_during_the_first_saving_leaves_no_map_and_no_obstacle(tmp_path: Path) -> None:
    for step in range(0, 20, 4):
        folder = tmp_path / str(step)
        assert killed_at(step, partial(save, folder, 1))
        with pytest.raises(MappingError, match="holds no map"):
            StoredMap(folder)
        save(folder, 2)
        assert_is(folder, 2)


def test_every_flipped_byte_is_found_and_the_file_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    rng = np.random.default_rng(0)
    for path in [tmp_path / MANIFEST, *sorted(p for p in (tmp_path / PARTS).iterdir() if p.name != ".lock")]:
        whole = path.read_bytes()
        for place in rng.integers(0, len(whole), 12):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(MappingError) as caught:
                StoredMap(tmp_path)
            assert path.name in str(caught.value) or "version" in str(caught.value)
            assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    assert_is(tmp_path, 1)


def test_a_missing_or_cut_off_file_is_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = StoredMap(tmp_path).path("memory")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(MappingError, match=path.name):
        StoredMap(tmp_path)
    path.unlink()
    with pytest.raises(MappingError, match=rf"lacks its memory.*{path.name}"):
        StoredMap(tmp_path)


def test_a_damaged_file_is_written_anew_when_the_map_is_saved_again(tmp_path: Path) -> None:
    save(tmp_path, 1)
    StoredMap(tmp_path).path("scan_1").write_bytes(b"damaged")
    save(tmp_path, 1)
    assert_is(tmp_path, 1)


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused_and_never_overwritten(tmp_path: Path, version: int) -> None:
    save(tmp_path, 1)
    body = json.loads((tmp_path / MANIFEST).read_bytes())
    (tmp_path / MANIFEST).write_text(json.dumps(body | {"version": version}))
    before = files(tmp_path)
    for attempt in (lambda: StoredMap(tmp_path), lambda: save(tmp_path, 2)):
        with pytest.raises(MappingError, match=f"is of version {version}.*reads version 1"):
            attempt()
    assert files(tmp_path) == before


def test_a_folder_without_a_map_and_a_foreign_manifest_are_told(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="holds no map"):
        StoredMap(tmp_path / "nowhere")
    (tmp_path / MANIFEST).write_text('{"format": "web app"}')
    with pytest.raises(MappingError, match="something else"):
        StoredMap(tmp_path)
    (tmp_path / MANIFEST).write_text("[]")
    with pytest.raises(MappingError, match="damaged"):
        save(tmp_path, 1)
    assert (tmp_path / MANIFEST).read_text() == "[]"


def test_a_manifest_can_not_point_outside_of_its_folder(tmp_path: Path) -> None:
    save(tmp_path, 1)
    manifest = read_manifest(tmp_path)
    entries = {"scan_0": replace(manifest.entries["scan_0"], stored_as="../../secret.npz")}
    (tmp_path / MANIFEST).write_bytes(manifest_bytes(Manifest(entries, {})))
    with pytest.raises(MappingError, match="damaged"):
        StoredMap(tmp_path)


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with MapWriter(tmp_path) as writer:
        with pytest.raises(MappingError, match="is being written"), MapWriter(tmp_path):
            pass
        writer.commit({})
    save(tmp_path, 2)
    assert_is(tmp_path, 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds one of the maps of these tests, but not two."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount on this system")
    if done.returncode:
        pytest.skip("needs the right to mount")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_full_disk_is_one_sentence_and_the_map_before_stays_whole(small_disk: Path) -> None:
    folder = small_disk / "map"
    save(folder, 1)
    before = files(folder)
    large = {"a": np.random.default_rng(0).normal(size=16_000)}
    with MapWriter(folder) as writer, pytest.raises(MappingError, match=r"No space left .* before is intact") as caught:
        writer.add_arrays("large", large)
    assert "\n" not in str(caught.value)
    assert_is(folder, 1)
    assert files(folder) == before  # so that the room is free again


def test_a_folder_that_can_not_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MappingError, match="no map can be written into"):
        save(tmp_path / "file" / "map", 1)
