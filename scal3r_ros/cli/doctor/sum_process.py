"""One of several processes that sum numbers: python -m scal3r_ros.cli.doctor.sum_process BACKEND SIZE RANK FOLDER.

Rank 0 prints the seconds that a sum takes. A program by itself, so that little has to be imported.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

NUMBERS = 4_000_000
"""Of a sum: 16 MB, a third of a memory unit of the full network."""
_REPEATS = 5
_TIMEOUT_S = 60.0


def main(backend: str, size: int, rank: int, folder: Path) -> None:
    """Meets the others in `folder`, sums, checks the sum and prints how long it took."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = FileStore(str(folder / "meeting"), size)
    timeout = timedelta(seconds=_TIMEOUT_S)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    numbers = torch.full((NUMBERS,), float(rank + 1), device=device)
    total = numbers.clone()
    dist.all_reduce(total)
    if total[0].item() != size * (size + 1) / 2:
        sys.exit("a sum over all ranks is wrong")
    begin = time.perf_counter()
    for _ in range(_REPEATS):
        dist.all_reduce(numbers)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    if rank == 0:
        print((time.perf_counter() - begin) / _REPEATS)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
