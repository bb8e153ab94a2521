"""The web server of the view: viser's, without its way out of this machine."""

from __future__ import annotations

import contextlib
import io
import socket

import viser

from scal3r_ros.errors import ViewError

LOOPBACK = "127.0.0.1"
"""Where a view is served unless another address is asked for: only this machine reaches it."""

TITLE = "scal3r"


class PrivateServer(viser.ViserServer):
    """A viser server that no browser can ask for a public address on the internet."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Gives none: the page would ask an outside service to publish the map."""
        return None


def open_server(host: str = LOOPBACK, port: int = 8080) -> PrivateServer:
    """A server at `host`; the next free port from `port` on, any where it is 0.

    Raises:
        ViewError: the machine has no such address.
    """
    _check(host)
    with contextlib.redirect_stdout(io.StringIO()):  # the command has a sentence of its own
        server = PrivateServer(host=host, port=port, label=TITLE, verbose=False)
    server.gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=True, control_width="medium")
    server.scene.set_up_direction("+z")
    server.scene.configure_default_lights(cast_shadow=False)
    return server


def stop(server: viser.ViserServer) -> None:
    """Takes the page off."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def next_free_port(host: str, port: int) -> int:
    """The first port from `port` on that nobody listens to; any where it is 0.

    Raises:
        ViewError: the machine has no such address.
    """
    _check(host)
    for candidate in range(port, 65536):
        with contextlib.suppress(OSError), _socket(host) as probe:
            probe.bind((host, candidate))
            return int(probe.getsockname()[1])
    raise ViewError(f"no port from {port} on is free at {host}")


def announcement(host: str, port: int) -> str:
    """One sentence: where the page is, and who can open it."""
    shown = LOOPBACK if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host
    alone = host in (LOOPBACK, "localhost", "::1")
    who = "only this machine can open it" if alone else f"everyone who reaches {host} can open it: there is no password"
    return f"view: http://{shown}:{port} ({who})"


def _check(host: str) -> None:
    try:
        with _socket(host) as probe:
            probe.bind((host, 0))  # viser itself would try all ports and then wait for ever
    except OSError as error:
        raise ViewError(f"the view cannot be served at {host}: {error.strerror}; 127.0.0.1 is this machine") from error


def _socket(host: str) -> socket.socket:
    opened = socket.socket(socket.getaddrinfo(host, None)[0][0], socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a page that was just closed does not block its port
    return opened
