"""Runs `scal3r replay` on each sequence in a process of its own; what is done is not done again."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from scal3r_ros.cli.benchmark.sets import Found
from scal3r_ros.io.atomic_write import write_atomically
from scal3r_ros.io.results.layout import TRAJECTORY_FILE

DONE_FILE = "benchmark.yaml"
LOG_FILE = "replay.log"
RAM_OF_A_RUN = 3 * 2**30
SAMPLED_EVERY_S = 0.5
MIB = 2**20


@dataclass(frozen=True)
class RunOutcome:
    """How the replay of a sequence ended: its exit `code`, `seconds`, and peak memory in MiB; `gpu_mib` None without a
    GPU.
    """

    code: int
    seconds: float
    ram_mib: float
    gpu_mib: float | None


def default_jobs() -> int:
    """Sequences at a time: one where there is a GPU, else as many as have two cores and 3 GB of free RAM each."""
    if shutil.which("nvidia-smi"):
        return 1
    by_ram = int(psutil.virtual_memory().available // RAM_OF_A_RUN)
    return max(1, min((psutil.cpu_count() or 1) // 2, by_ram))


def run_all(
    found: Sequence[Found],
    folder_of: Callable[[Found], Path],
    options: Sequence[str],
    jobs: int,
    report: Callable[[Found, RunOutcome, bool], None],
) -> list[RunOutcome]:
    """Replays the sequences into their folders, `jobs` at a time; `report` hears of each, and whether it was done
    before. A run counts as done where it ended by itself, with the same source and options.
    """

    def one(each: Found) -> RunOutcome:
        folder = folder_of(each)
        key = _key(each, options)
        before = _outcome_before(folder, key)
        outcome = before or _run(each.folder, folder, options)
        if before is None:
            content = {"key": key, **outcome.__dict__}
            write_atomically(folder / DONE_FILE, yaml.safe_dump(content, sort_keys=False).encode())
        report(each, outcome, before is not None)
        return outcome

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        return list(pool.map(one, found))


def _key(found: Found, options: Sequence[str]) -> str:
    """Changes with what is run: the source, the options, and the content of the files among them."""
    digest = hashlib.sha256()
    for word in (str(found.folder.resolve()), *options):
        digest.update(word.encode() + b"\0")
        if word.endswith((".yaml", ".safetensors", ".pt")) and Path(word).is_file():
            stat = Path(word).stat()
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _outcome_before(folder: Path, key: str) -> RunOutcome | None:
    try:
        content = yaml.safe_load((folder / DONE_FILE).read_text())
        if content.pop("key") != key or (content["code"] == 0 and not (folder / TRAJECTORY_FILE).is_file()):
            return None
        return RunOutcome(**content)
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None


def _run(source: Path, folder: Path, options: Sequence[str]) -> RunOutcome:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE_FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "scal3r_ros.cli.main", "replay", str(source), "-o", str(folder), *options]
    started, peak = time.perf_counter(), _Peak()
    with (folder / LOG_FILE).open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        watching = threading.Thread(target=peak.watch, args=(process.pid,), daemon=True)
        watching.start()
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    watching.join()
    return RunOutcome(code, round(time.perf_counter() - started, 2), round(peak.ram_mib, 1), peak.gpu_mib)


class _Peak:
    """The most memory that a process and its children had."""

    def __init__(self) -> None:
        self.ram_mib = 0.0
        self.gpu_mib: float | None = None

    def watch(self, pid: int) -> None:
        """Samples until the process ends."""
        has_gpu = shutil.which("nvidia-smi") is not None
        while True:
            try:
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                if family[0].status() == psutil.STATUS_ZOMBIE:
                    return
                self.ram_mib = max(self.ram_mib, sum(each.memory_info().rss for each in family) / MIB)
                if has_gpu:
                    self._sample_gpu({each.pid for each in family})
            except psutil.NoSuchProcess:
                return
            time.sleep(SAMPLED_EVERY_S)

    def _sample_gpu(self, pids: set[int]) -> None:
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        listed = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout
        rows = [line.split(",") for line in listed.splitlines() if line.count(",") == 1]
        used = sum(
            float(mib) for pid, mib in rows if pid.strip().isdigit() and int(pid) in pids and mib.strip()[0].isdigit()
        )
        self.gpu_mib = max(self.gpu_mib or 0.0, used)
