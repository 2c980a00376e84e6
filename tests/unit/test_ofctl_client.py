"""The client of `vswitch ofctl` against a switch that a thread plays: versions, answers, errors, floods."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from argparse import Namespace
from collections.abc import Callable

import pytest

from vswitch.base.errors import ConfigError, MachineError, NotFoundError
from vswitch.cli.ofctl.client import Switch
from vswitch.cli.ofctl.options import formats_of, versions_of
from vswitch.cli.ofctl.target import connect, find_socket
from vswitch.messages.control import EchoReply, EchoRequest, Error, Hello
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.openflow.codec import decode, encode

ALL = frozenset(range(1, 7))


def read(peer: socket.socket) -> bytes:
    head = peer.recv(8, socket.MSG_WAITALL)
    if len(head) < 8:
        return b""
    (length,) = struct.unpack_from("!H", head, 2)
    return head + (peer.recv(length - 8, socket.MSG_WAITALL) if length > 8 else b"")


def talk(serve: Callable[[socket.socket], None], versions: frozenset[int] = frozenset({4})) -> Switch:
    """A client whose other end `serve` plays, in a thread that ends with the connection."""
    mine, theirs = socket.socketpair()

    def play() -> None:
        with theirs, contextlib.suppress(ConnectionError):
            serve(theirs)

    threading.Thread(target=play, daemon=True).start()
    return Switch(mine, "sw", versions)


def says(data: bytes) -> Callable[[socket.socket], None]:
    """Answers the hello with this, and ends."""

    def serve(peer: socket.socket) -> None:
        read(peer)
        peer.sendall(data)

    return serve


def hello(versions: frozenset[int], bitmap: bool = True) -> Callable[[socket.socket], None]:
    def serve(peer: socket.socket) -> None:
        peer.sendall(encode(Hello(versions, bitmap), max(versions), 1))
        while data := read(peer):
            if data[1] == 2:
                peer.sendall(encode(EchoReply(data[8:]), data[0], int.from_bytes(data[4:8], "big")))

    return serve


@pytest.mark.parametrize(
    ("ours", "theirs", "bitmap", "agreed"),
    [
        ({1}, ALL, True, 1),
        ({4, 5}, ALL, True, 5),
        ({4, 6}, {1, 4}, True, 4),
        ({1, 4}, {5}, False, 4),
        ({1}, {4}, False, 1),
    ],
)
def test_the_highest_common_version_is_spoken(ours: set[int], theirs: set[int], bitmap: bool, agreed: int) -> None:
    with talk(hello(frozenset(theirs), bitmap), frozenset(ours)) as switch:
        assert switch.version == agreed
        assert decode(switch.ask(EchoRequest(b"hi")))[0] == EchoReply(b"hi")


def test_without_a_common_version_both_sides_are_named() -> None:
    with pytest.raises(MachineError, match=r"OpenFlow13 here \(see -O\), OpenFlow10 there"):
        talk(hello(frozenset({1})))


def test_a_switch_that_refuses_or_is_none_is_told_of() -> None:
    with pytest.raises(MachineError, match="refuses every version of OpenFlow13"):
        talk(says(encode(Error("hello_failed.incompatible", b"no"), 1, 1)))
    with pytest.raises(MachineError, match="no hello"):
        talk(says(encode(EchoRequest(b""), 4, 1)))
    with pytest.raises(MachineError, match="connection"):
        talk(says(b""))


def test_echo_requests_are_answered_while_an_answer_is_waited_for() -> None:
    answered = threading.Event()

    def serve(peer: socket.socket) -> None:
        peer.sendall(encode(Hello(frozenset({4})), 4, 1))
        read(peer)
        asked = read(peer)
        peer.sendall(encode(EchoRequest(b"there?"), 4, 99))
        if decode(read(peer)) == (EchoReply(b"there?"), 99):
            answered.set()
        peer.sendall(encode(EchoReply(b""), 4, int.from_bytes(asked[4:8], "big")))

    with talk(serve) as switch:
        switch.ask(EchoRequest(b""))
    assert answered.is_set()


def test_a_bulk_gets_through_though_the_switch_answers_each_with_an_error_first() -> None:
    """Neither side reads while it writes: only a client that does both gets on."""
    count = 3000

    def serve(peer: socket.socket) -> None:
        peer.sendall(encode(Hello(frozenset({4})), 4, 1))
        read(peer)
        while data := read(peer):
            xid = int.from_bytes(data[4:8], "big")
            if data[1] == 20:
                peer.sendall(struct.pack("!BBHI", 4, 21, 8, xid))
            else:
                peer.sendall(encode(Error("flow_mod_failed.eperm", data), 4, xid) * 2)

    with talk(serve) as switch:
        errors = switch.send_all(FlowMod(FlowCommand.ADD, priority=number) for number in range(count))
    assert len(errors) == 2 * count


def options(**given: object) -> Namespace:
    return Namespace(**{"protocols": None, "flow_format": None, "bundle": False, "timeout": None, **given})


@pytest.mark.parametrize(
    ("given", "versions"),
    [
        ({}, {1}), ({"protocols": "OpenFlow13"}, {4}), ({"protocols": "openflow1.0, OpenFlow15"}, {1, 6}),
        ({"bundle": True}, {1, 5}), ({"bundle": True, "protocols": "OpenFlow13"}, {4}),
        ({"protocols": "OpenFlow10,OpenFlow13", "flow_format": "oxm"}, {4}),
    ],
)  # fmt: skip
def test_options_say_which_versions_may_be_spoken(given: dict[str, object], versions: set[int]) -> None:
    assert versions_of(options(**given)) == versions


def test_wrong_versions_and_formats_are_named() -> None:
    with pytest.raises(ConfigError, match="'OpenFlow19'"):
        versions_of(options(protocols="OpenFlow19"))
    with pytest.raises(ConfigError, match="'foo'"):
        formats_of(options(flow_format="foo"))
    with pytest.raises(ConfigError, match=r"OpenFlow13.*nxm"):
        versions_of(options(protocols="OpenFlow13", flow_format="nxm"))


@pytest.mark.parametrize("target", ["tcp:", "tcp:host:0", "tcp:[::1", "udp:host:1", "ssl:host:1"])
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(ConfigError):
        connect(target, options(private_key=None, certificate=None, ca_cert=None))


def test_a_bridge_that_is_not_there_is_named_with_where_it_was_looked_for() -> None:
    with pytest.raises(NotFoundError, match=r"no nosuch-br.mgmt in .*vswitch"):
        find_socket("nosuch-br")
