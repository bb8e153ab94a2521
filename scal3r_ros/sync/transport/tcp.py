"""A connection over a TCP socket: the default between machines, because it survives whatever the other end sends.

Gloo ends the process when a message is larger than the buffer that waits for it; here every message begins with its
size, and one of a wrong size is refused before it is read.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time

from torch import Tensor

from scal3r_ros.sync.transport.wire import LinkError, as_bytes, wrong_size

_SIZE = struct.Struct("<Q")


class TcpWire:
    """A `Wire` over a connected socket, which it owns."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._connection = connection

    def send(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`."""
        until_s = time.monotonic() + timeout_s
        self._send(memoryview(_SIZE.pack(tensor.nbytes)), until_s)
        self._send(as_bytes(tensor), until_s)

    def receive(self, tensor: Tensor, timeout_s: float) -> None:
        """See `Wire`."""
        until_s = time.monotonic() + timeout_s
        size = bytearray(_SIZE.size)
        self._receive(memoryview(size), until_s)
        (received,) = _SIZE.unpack(size)
        if received != tensor.nbytes:
            raise wrong_size(received, tensor.nbytes)
        self._receive(as_bytes(tensor), until_s)

    def close(self) -> None:
        """See `Wire`."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _send(self, content: memoryview, until_s: float) -> None:
        while content:
            try:
                content = content[self._connection.send(content) :]
            except BlockingIOError:
                self._wait(until_s, writing=True)
            except OSError as error:
                raise LinkError("closed the connection") from error

    def _receive(self, buffer: memoryview, until_s: float) -> None:
        while buffer:
            try:
                count = self._connection.recv_into(buffer)
            except BlockingIOError:
                self._wait(until_s, writing=False)
                continue
            except OSError as error:
                raise LinkError("closed the connection") from error
            if not count:
                raise LinkError("closed the connection")
            buffer = buffer[count:]

    def _wait(self, until_s: float, writing: bool) -> None:
        try:
            poll = select.poll()
            poll.register(self._connection, select.POLLOUT if writing else select.POLLIN)
            ready = poll.poll(max(0.0, until_s - time.monotonic()) * 1e3)
        except (OSError, ValueError) as error:  # closed by another thread
            raise LinkError("closed the connection") from error
        if not ready:
            raise LinkError("does not answer")


class TcpListener:
    """Waits for connections to an address of this machine, on a port that the system chooses."""

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, 0), family=family)
        except OSError as error:
            raise LinkError(f"cannot be waited for on {host} ({error.strerror})") from error
        self.port: int = self._socket.getsockname()[1]

    def accept(self, timeout_s: float) -> TcpWire:
        """The next connection; raises `LinkError` after `timeout_s`."""
        self._socket.settimeout(max(0.0, timeout_s))
        try:
            return TcpWire(self._socket.accept()[0])
        except OSError as error:
            raise LinkError("does not answer") from error

    def close(self) -> None:
        """Waits no longer."""
        self._socket.close()


def dial(host: str, port: int, source: str, timeout_s: float) -> TcpWire:
    """A connection from the address `source` of this machine to a `TcpListener`; raises `LinkError`."""
    try:
        return TcpWire(socket.create_connection((host, port), timeout_s, source_address=(source, 0)))
    except OSError as error:
        raise LinkError(f"cannot be connected with ({error})") from error
