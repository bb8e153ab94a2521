"""This process's end of the way to the process of a reconstructor."""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import socket
import subprocess
import threading
from multiprocessing.connection import Connection

from scal3r_ros.reconstruction.process.arrays import ArrayFile, anonymous_file
from scal3r_ros.reconstruction.process.child import fate, start_child
from scal3r_ros.reconstruction.process.messages import Answer, Failed, Gone, Logged, Measured, Message, Ready, Reply

_END_S = 5.0
"""How long a process may take to end after it has closed its socket."""


class ReconstructorProcess:
    """A new process that waits for `Start`. `ask` is called by one thread at a time, `end` by any."""

    def __init__(self) -> None:
        self._requests, self._replies = ArrayFile(anonymous_file()), ArrayFile(anonymous_file())
        ours, theirs = socket.socketpair()
        with theirs:
            handles = (theirs.fileno(), self._requests.handle, self._replies.handle)
            self._process = start_child("scal3r_ros.reconstruction.process.worker", handles)
        self._connection = Connection(ours.detach())
        self._inbox: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self.measured: Measured | None = None
        """What the process has measured last."""
        threading.Thread(target=self._read, name="from the reconstructor", daemon=True).start()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def fate(self) -> str:
        """How it ended, to follow its name in a sentence."""
        return fate(self._process)

    def send(self, message: Message) -> None:
        """Sends a message; the reply to the one before must be there."""
        with contextlib.suppress(OSError):  # the reader sees the same end, and reports it
            self._connection.send_bytes(self._requests.pack(message))

    def receive(self) -> Reply:
        """Waits for the reply to a message; `Gone`, again and again, once the process has ended."""
        reply = self._inbox.get()
        if isinstance(reply, Gone):
            self._inbox.put(reply)
        return reply

    def end(self, message: Message | None, timeout_s: float) -> None:
        """Ends the process: by `message` where there is one, and by force after `timeout_s`."""
        if message is not None:
            self.send(message)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        try:
            while True:
                reply = self._replies.unpack(self._connection.recv_bytes())
                if isinstance(reply, Logged):
                    logging.getLogger(reply.logger).log(reply.level, "%s", reply.sentence)
                elif isinstance(reply, Measured):
                    self.measured = reply
                elif isinstance(reply, Ready | Failed | Answer):
                    if isinstance(reply, Answer):
                        self.measured = reply.measured
                    self._inbox.put(reply)
        except (EOFError, OSError, pickle.UnpicklingError):
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._inbox.put(Gone())
