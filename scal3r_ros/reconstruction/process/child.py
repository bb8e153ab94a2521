"""Starts Python processes that work for this one, and tells how they ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence

SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter from one that somebody waits for, be it the camera or a chunk: Python's
5 ms, once for each library call of that thread, would add up to more than the work itself."""

# Not multiprocessing's spawn: that would import the main program, whatever it is, once more in every worker.
_PROGRAM = """
import json, signal, sys
sys.setswitchinterval({interval})
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[2])
from {module} import main
main(*json.loads(sys.argv[1]))
"""


def start_child(module: str, handles: Sequence[int]) -> subprocess.Popen[bytes]:
    """A new process that calls `main` of `module` with open `handles`.

    Its process group is another one than that of this process: signals of a terminal reach only this one, which
    finishes its work. It hands the interpreter from thread to thread as `SWITCH_INTERVAL_S` says.
    """
    program = _PROGRAM.format(module=module, interval=SWITCH_INTERVAL_S)
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
