"""Who may join: only who knows the key, and no message of one connection is good for another."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore
from wires import TRANSPORTS, both, connected

from scal3r_ros.errors import ConfigurationError
from scal3r_ros.sync.transport.connecting import address_key
from scal3r_ros.sync.transport.handshake import mac, opened, read_key, shake_hands, sign
from scal3r_ros.sync.transport.memory import memory_pair
from scal3r_ros.sync.transport.tcp import TcpWire
from scal3r_ros.sync.transport.wire import LinkError, RefusedError

KEY = b"a key of the robots of one team"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_both_ends_end_with_the_keys_of_the_other_and_every_connection_has_its_own(transport: str) -> None:
    seals = []
    for _ in range(2):
        (one, a), (two, b) = connected(transport)
        assert (a.sending, a.receiving) == (b.receiving, b.sending)
        assert a.sending != a.receiving
        seals += [a.sending, a.receiving]
        one.close()
        two.close()
    assert len(set(seals)) == 4


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("keys", [(KEY, b""), (b"", KEY), (KEY, KEY + b"!")], ids=["none", "no own", "another"])
def test_another_key_makes_no_connection(transport: str, keys: tuple[bytes, bytes]) -> None:
    refused: list[str] = []
    with pytest.raises(LinkError) as caught:
        connected(transport, keys, refused, timeout_s=1.5)
    assert isinstance(caught.value, RefusedError) or refused


def test_another_context_makes_no_connection() -> None:
    ends = memory_pair()
    with pytest.raises(LinkError):
        both(
            lambda: (ends[0], shake_hands(ends[0], 0, KEY, "a and b", 1.0)),
            lambda: (ends[1], shake_hands(ends[1], 1, KEY, "a and c", 1.0)),
        )


def test_an_answer_that_was_overheard_is_no_use_a_second_time() -> None:
    """The attacker knows all that went over an earlier connection, and gives the same answer."""
    answers: list[torch.Tensor] = []
    ends = memory_pair()

    def overheard(rank: int):
        return ends[rank], shake_hands(ends[rank], rank, KEY, "here", 2.0)

    kept = ends[1].send
    ends[1].send = lambda tensor, timeout_s: (answers.append(tensor.clone()), kept(tensor, timeout_s))[1]
    both(lambda: overheard(0), lambda: overheard(1))
    again = memory_pair()
    again[1].send(answers[0], 1.0)
    with pytest.raises(RefusedError, match="key"):
        shake_hands(again[0], 0, KEY, "here", 1.0)


def test_strangers_at_an_open_port_are_turned_away_and_the_peer_still_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from scal3r_ros.sync.transport import connecting

    monkeypatch.setattr(connecting, "_STRANGER_S", 0.3)
    store, refused = HashStore(), []
    noise = [b"GET / HTTP/1.1\r\n\r\n", os.urandom(4000), (2**62).to_bytes(8, "little") * 10, b""]

    def meet(rank: int):
        meeting = connecting.Meeting(store, "t", rank, "127.0.0.1", KEY, "here", 20.0, torch.device("cpu"))
        return connecting.connect("tcp", meeting, refused.append)

    result: list[object] = []
    host = threading.Thread(target=lambda: result.append(meet(0)))
    host.start()
    address = store.get(address_key("t", 0)).decode().split()
    strangers = [socket.create_connection((address[0], int(address[1]))) for _ in noise]
    for stranger, content in zip(strangers, noise, strict=True):
        stranger.sendall(content)
    wrong = socket.create_connection((address[0], int(address[1])))
    with pytest.raises(LinkError):
        shake_hands(TcpWire(wrong), 1, b"another key", "t\nhere", 10.0)
    wire, seal = meet(1)
    host.join(20.0)
    theirs, their_seal = result[0]
    assert seal.sending == their_seal.receiving
    wire.send(torch.arange(5), 5.0)
    got = torch.zeros(5, dtype=torch.int64)
    theirs.receive(got, 5.0)
    assert got.tolist() == [0, 1, 2, 3, 4]
    assert len(refused) >= 3
    for stranger in strangers:
        stranger.close()


def test_what_was_signed_opens_for_its_purpose_and_with_its_key_only() -> None:
    signed = sign(KEY, "member/a", '{"x": "ü"}').encode()
    assert opened(KEY, "member/a", signed) == '{"x": "ü"}'
    for key, purpose, text in (
        (KEY, "member/b", signed),
        (KEY + b"!", "member/a", signed),
        (b"", "member/a", signed),
        (KEY, "member/a", signed[:-1]),
        (KEY, "member/a", b"00" + signed),
        (KEY, "member/a", b""),
        (KEY, "member/a", b"\xff\xfe \xff"),
    ):
        assert opened(key, purpose, text) is None


def test_parts_are_not_moved_between_each_other() -> None:
    assert mac(KEY, b"ab", b"c") != mac(KEY, b"a", b"bc")


def test_a_key_file_is_read_and_a_bad_one_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert read_key("") == b""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_key(str(file))
    file.write_bytes(b"  0123456789abcdef\n")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_key(str(file))
    file.chmod(0o600)
    assert read_key(str(file)) == b"0123456789abcdef"
    for content in (b"short", b"", b"x" * 10_000):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="16 to 4096"):
            read_key(str(file))
