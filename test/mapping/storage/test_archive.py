"""Arrays that leave the memory: read back as written, orphans removed, one sentence where the disk is full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scal3r_ros.errors import MappingError
from scal3r_ros.mapping.storage.archive import Archive

SCAN = {"points": np.arange(12.0).reshape(4, 3), "image": np.full((4, 5, 3), 7, np.uint8)}


def content(archive: Archive, name: str) -> dict[str, np.ndarray]:
    with np.load(archive.paths()[name]) as stored:
        return dict(stored)


def test_what_was_put_is_got_and_nothing_is_made_before(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert list(tmp_path.iterdir()) == []
    archive.put("scan_000001", SCAN)
    archive.put("scan_000002", {})
    got = content(archive, "scan_000001")
    assert set(got) == set(SCAN)
    for name, array in SCAN.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype
    assert content(archive, "scan_000002") == {}
    assert len(archive) == 2
    archive.clear()
    assert list(tmp_path.iterdir()) == []
    assert len(archive) == 0
    assert archive.paths() == {}
    archive.put("scan_000001", SCAN)
    assert len(archive) == 1


def test_a_name_put_again_leaves_links_to_what_it_was(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.put("scan", SCAN)
    link = tmp_path / "link.npz"
    link.hardlink_to(archive.paths()["scan"])
    archive.put("scan", {"points": np.zeros(1)})
    with np.load(link) as stored:
        np.testing.assert_array_equal(stored["points"], SCAN["points"])
    np.testing.assert_array_equal(content(archive, "scan")["points"], np.zeros(1))


def test_files_of_another_archive_are_adopted_and_outlive_it(tmp_path: Path) -> None:
    first, second = Archive(tmp_path), Archive(tmp_path / "other")
    first.put("scan", SCAN)
    second.adopt(first.paths())
    first.clear()
    np.testing.assert_array_equal(content(second, "scan")["points"], SCAN["points"])
    with pytest.raises(MappingError, match="cannot be copied into"):
        second.adopt({"gone": tmp_path / "gone.npz"})


def test_folders_of_killed_processes_are_removed_and_those_in_use_are_not(tmp_path: Path) -> None:
    in_use = Archive(tmp_path)
    in_use.put("scan", SCAN)
    script = (
        "import os, pathlib, sys\nfrom scal3r_ros.mapping.storage.archive import Archive\n"
        "archive = Archive(pathlib.Path(sys.argv[1]))\narchive.put('scan', {})\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, env=os.environ)
    assert len(list(tmp_path.iterdir())) == 2
    third = Archive(tmp_path)
    third.put("scan", SCAN)
    assert len(list(tmp_path.iterdir())) == 2
    assert content(in_use, "scan")
    assert content(third, "scan")


def test_the_folder_goes_with_the_archive(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.put("scan", SCAN)
    del archive
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_take_it_is_one_sentence_and_the_old_content_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    archive.put("scan", SCAN)

    def full(path: Path, content: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(MappingError, match=r"No space left on device.*offload_directory") as caught:
            archive.put("scan", {})
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(content(archive, "scan")["points"], SCAN["points"])
