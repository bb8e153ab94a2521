"""Starts Python processes that work for this one, and tells how they ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence

# Not multiprocessing's spawn: that would import the main program, whatever it is, once more in every worker.
_PROGRAM = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[2])
from {module} import main
main(*json.loads(sys.argv[1]))
"""


def start_child(module: str, handles: Sequence[int]) -> subprocess.Popen[bytes]:
    """A new process that calls `main` of `module` with open `handles`.

    Its process group is another one than that of this process: signals of a terminal reach only this one, which
    finishes its work.
    """
    program = _PROGRAM.format(module=module)
    return subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(list(handles)), json.dumps(sys.path), "scal3r worker"],
        pass_fds=tuple(handles),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,
    )


def fate(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, to follow its name in a sentence."""
    code = process.returncode
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
