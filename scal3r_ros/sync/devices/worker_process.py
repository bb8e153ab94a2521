"""The main process's handle of one worker process; no method but `wait` waits for the worker."""

from __future__ import annotations

import pickle
import queue
import socket
import subprocess
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import psutil

from scal3r_ros.reconstruction.process.child import fate, start_child
from scal3r_ros.sync.devices.messages import Gone, Loaded, Message, Reply, Written

_END_S = 5.0
"""How long a worker may take to end after it has closed its socket."""


class WorkerHandle(Protocol):
    """What the main process needs of a worker; no method but `wait` waits for it."""

    device: str
    sums: int
    loaded: int
    timed_out: bool

    @property
    def pid(self) -> int:
        """Id of its process."""

    @property
    def stopped(self) -> bool:
        """Whether a signal has stopped it."""

    def send(self, message: Message) -> None:
        """Sends a message."""

    def report_loss(self) -> None:
        """Tells it, while it carries out a message, that the group has lost a member."""

    def kill(self) -> None:
        """Ends it at once."""

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended before `timeout_s` was over."""

    def fate(self, timeout_s: float) -> str:
        """How it ended, to follow its name in a sentence; `timeout_s` is how long it was allowed."""


Inbox = queue.SimpleQueue[tuple[WorkerHandle, Reply]]
"""Where the replies of workers go."""


Launch = Callable[[int, str, Inbox, Callable[[Path], None]], WorkerHandle]
"""Starts worker `number` for a device, with an inbox for its replies and one who hears of files it has written."""


class WorkerProcess:
    """A new process with worker `number` for `device`; its replies go into `inbox`.

    Its process group is another one than that of the main process: signals of a terminal reach only the main process,
    which finishes its work.
    """

    def __init__(
        self,
        number: int,
        device: str,
        inbox: Inbox,
        on_written: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self._on_written = on_written
        self.number = number
        self.device = device
        self.sums = 0
        """Sums it has reached in the current step."""
        self.loaded = 0
        """Version of the newest sum of peers that it can use."""
        self.timed_out = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = start_child("scal3r_ros.sync.devices.worker", [theirs.fileno()])
        self._connection = Connection(ours.detach())
        self._inbox = inbox
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name=f"to worker {number}", daemon=True)
        self._reader = threading.Thread(target=self._read, name=f"from worker {number}", daemon=True)
        self._writer.start()
        self._reader.start()

    def __str__(self) -> str:
        return f"worker {self.number} on {self.device}"

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def stopped(self) -> bool:
        """Whether a signal has stopped the process."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def send(self, message: Message) -> None:
        """Sends a message."""
        self._outbox.put(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def report_loss(self) -> None:
        """Tells the worker, while it carries out a message, that the group has lost a member."""
        self._outbox.put(b"")

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def wait(self, timeout_s: float) -> bool:
        """Whether the process has ended before `timeout_s` was over."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def fate(self, timeout_s: float) -> str:
        """How the process ended, to follow its name in a sentence; `timeout_s` is how long it was allowed."""
        if self.timed_out:
            return f"gave no sign of life for {timeout_s:g} s (network.step_timeout_s) and was ended"
        return fate(self._process)

    def _write(self) -> None:
        try:
            while (message := self._outbox.get()) is not None:
                self._connection.send_bytes(message)
        except OSError:
            pass  # the reader sees the same end, and reports it

    def _receive(self, reply: Reply) -> None:
        if isinstance(reply, Loaded):
            self.loaded = reply.version
        elif isinstance(reply, Written):
            self._on_written(reply.path)
        else:
            self._inbox.put((self, reply))

    def _read(self) -> None:
        try:
            while True:
                self._receive(pickle.loads(self._connection.recv_bytes()))
        except (EOFError, OSError, pickle.UnpicklingError):
            if not self.wait(_END_S):
                self.kill()
                self._process.wait()
            self._inbox.put((self, Gone()))
        self._outbox.put(None)
        self._writer.join()
        self._connection.close()
