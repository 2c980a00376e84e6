"""Commands that send packets, listen, and ask whether somebody is there."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from dataclasses import replace

from vswitch.base.errors import ConfigError, MachineError
from vswitch.cli.arguments import UsageError
from vswitch.cli.ofctl.client import Switch, is_error
from vswitch.cli.ofctl.common import Session, changing, fail, finish, session
from vswitch.cli.ofctl.options import PACKET_IN_FORMATS, versions_of
from vswitch.cli.ofctl.sending import change
from vswitch.cli.ofctl.target import connect
from vswitch.messages.control import (
    EchoReply,
    EchoRequest,
    GetConfigReply,
    GetConfigRequest,
    SetConfig,
    SetPacketInFormat,
)
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import PacketIn, PacketOut, Resume
from vswitch.messages.match import FlowMatch
from vswitch.openflow.codec import decode

__all__ = ["benchmark", "monitor", "packet_out", "ping", "probe", "snoop"]

ECHO_REQUEST = 2
_PINGS = 10
_OPENFLOW_1_4 = 5
_OWN, _ONLY_OWN = 32, 64
"""Flags of monitors: what OpenFlow 1.4 calls the latter, ovs-ofctl sends for the former there."""


def packet_out(arguments: Namespace) -> None:
    """Has the switch send a packet; or, as it was written once, several: IN_PORT ACTIONS PACKET..."""
    with changing(arguments) as found:
        change(found, _packets(found, arguments.words))


def _packets(found: Session, words: list[str]) -> list[PacketOut]:
    from vswitch.text.flow_actions import parse_flow_actions
    from vswitch.text.flow_files import parse_packet_out

    if len(words) == 1:
        text = words[0]
        return [found.read(lambda ports, tables: parse_packet_out(text, ports=ports, tables=tables))]
    if len(words) < 3:
        raise UsageError("in_port=PORT,packet=HEX,actions=ACTIONS, or IN_PORT ACTIONS PACKET..., is needed")
    port = 0xFFFFFFFF if words[0].lower() in ("none", "any") else found.port(words[0])
    actions = found.read(lambda ports, tables: parse_flow_actions(words[1], ports=ports, tables=tables))
    return [PacketOut(_frame(word), actions, FlowMatch(in_port=port)) for word in words[2:]]


def _frame(word: str) -> bytes:
    try:
        return bytes.fromhex(word)
    except ValueError:
        raise UsageError(f"packet {word!r} is not hexadecimal") from None


# ---- listening


def monitor(arguments: Namespace) -> None:
    """Prints what the switch tells."""
    with session(arguments) as found:
        resumes = False
        _choose_packet_ins(found)  # first, as what the switch tells while it is asked would be passed over
        for word in arguments.words:
            if word.isdigit():
                _send_misses(found, int(word), "invalid_ttl" in arguments.words)
            elif word.startswith("watch:"):
                _watch(found, word.removeprefix("watch:"))
            elif word == "resume":
                resumes = True
            elif word != "invalid_ttl":
                raise UsageError(f"{word!r} is none of MISS_LEN, invalid_ttl, resume, watch:...")
        _listen(found, resumes)


def _send_misses(found: Session, length: int, invalid_ttl: bool) -> None:
    switch = found.switch
    data = switch.ask(GetConfigRequest())
    if is_error(data):
        fail([data])
    now, _ = decode(data)
    assert isinstance(now, GetConfigReply)
    finish(found, switch.send_all([SetConfig(now.fragments, length, invalid_ttl or now.invalid_ttl)]))


def _watch(found: Session, text: str) -> None:
    """Has the switch tell of changes of flows; what there is at first is printed at once."""
    from vswitch.text.flow import parse_flow_monitor

    number = int.from_bytes(os.urandom(4), "big")
    request = found.read(lambda ports, tables: parse_flow_monitor(text, number, ports=ports, tables=tables))
    if found.switch.version >= _OPENFLOW_1_4 and request.flags & _OWN:
        request = replace(request, flags=request.flags ^ (_OWN | _ONLY_OWN))
    for data in found.switch.ask_all(request):
        if is_error(data):
            fail([data])
        sys.stdout.write(found.text(data, 2))
        sys.stdout.flush()


def _choose_packet_ins(found: Session) -> None:
    """The format that was asked for, or the best that the switch has."""
    switch, wanted = found.switch, found.arguments.packet_in_format
    if wanted is not None:
        if wanted not in PACKET_IN_FORMATS:
            raise UsageError(f"no format of packet-ins is called {wanted!r}: one of {', '.join(PACKET_IN_FORMATS)}")
        if switch.send_all([SetPacketInFormat(PACKET_IN_FORMATS[wanted])]):
            raise MachineError(f"{switch.target}: the switch does not have the format of packet-ins {wanted}")
        return
    if switch.send_all([SetPacketInFormat(2)]) and switch.version == 1:
        switch.send_all([SetPacketInFormat(1)])


def _listen(found: Session, resumes: bool) -> None:
    while True:
        data = found.switch.receive_all()
        _print(found, data)
        if data[1] == ECHO_REQUEST:
            found.switch.send_reply(EchoReply(data[8:]), data)
        elif resumes:
            _resume(found, data)


def _resume(found: Session, data: bytes) -> None:
    """Lets a packet that was paused go on."""
    try:
        message, _ = decode(data)
    except OpenFlowError:
        return
    if isinstance(message, PacketIn) and message.continuation:
        found.switch.send(Resume(message))


def _print(found: Session, data: bytes) -> None:
    now = time.time()
    stamp = ""
    if found.arguments.timestamp:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}: "
    sys.stderr.write(stamp + found.text(data, 2))
    sys.stderr.flush()


def snoop(arguments: Namespace) -> None:
    """Prints what the switch and its controller say to each other."""
    versions = versions_of(arguments)
    plain = Namespace(**{**vars(arguments), "names": False})
    with Session(Switch(connect(arguments.switch, arguments, "snoop"), arguments.switch, versions), plain) as found:
        while True:
            _print(found, found.switch.receive_all())


# ---- whether somebody is there


def probe(arguments: Namespace) -> None:
    """Sends an echo request and waits for the answer."""
    with session(arguments) as found:
        data = found.switch.ask(EchoRequest())
        if is_error(data):
            fail([data])


def ping(arguments: Namespace) -> None:
    """Times ten echoes."""
    with session(arguments) as found:
        for _ in range(_PINGS):
            content = os.urandom(_bounded("size", arguments.size))
            begin = time.perf_counter()
            data = found.switch.ask(EchoRequest(content))
            elapsed_ms = 1000 * (time.perf_counter() - begin)
            answer, xid = decode(data)
            wrong = "" if answer == EchoReply(content) else " (***not what was sent***)"
            size = len(data) - 8
            print(f"{size} bytes from {arguments.switch}: xid={xid:08x} time={elapsed_ms:.1f} ms{wrong}", flush=True)


_MOST_BYTES = 0xFFFF - 8


def _bounded(what: str, value: int, most: int = _MOST_BYTES) -> int:
    if not 0 <= value <= most:
        raise ConfigError(f"{what} {value} is outside 0..{most}")
    return value


def benchmark(arguments: Namespace) -> None:
    """How many echoes, one after the other, are answered in a second."""
    size, count = _bounded("size", arguments.size), _bounded("count", arguments.count, 1 << 31)
    total = size + 8
    with session(arguments) as found:
        print(f"Sending {count} packets * {total} bytes (with header) = {count * total} bytes total")
        request = EchoRequest(bytes(size))
        begin = time.perf_counter()
        for _ in range(count):
            found.switch.ask(request)
        elapsed = max(time.perf_counter() - begin, 1e-9)
        print(f"Finished in {1000 * elapsed:.1f} ms ({count / elapsed:.0f} packets/s) "
              f"({count * total / elapsed:.0f} bytes/s)")  # fmt: skip
