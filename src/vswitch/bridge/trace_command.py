"""The words of `ofproto/trace` and `ofproto/trace-packet-out`, as `ovs-appctl` takes them.

    [OPTION...] BRIDGE FLOW [-generate | PACKET] [ACTIONS]
    [OPTION...] [BRIDGE] DATAPATH_FLOW [-generate | PACKET] [ACTIONS]

FLOW is that of ovs-ofctl, each field with one value; DATAPATH_FLOW that of ovs-dpctl, which has parentheses. PACKET is
a frame in hexadecimal digits, of which FLOW then says but what is not in its bytes. ACTIONS end the words of
trace-packet-out, as what a packet-out does instead of looking the packet up. Options stand anywhere before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vswitch.base.errors import ConfigError, TextError
from vswitch.bridge.packet_trace import MIN_FRAME, key_of_packet
from vswitch.bridge.ports import datapath_number, openflow_number
from vswitch.control.commands import CommandError
from vswitch.fields import SLOTS
from vswitch.messages.actions import FlowAction
from vswitch.messages.match import FlowMatch
from vswitch.packet.compose import compose
from vswitch.text.flow_actions import parse_flow_actions
from vswitch.text.flow_match import parse_flow_match
from vswitch.text.match import parse_match

__all__ = ["TraceRequest", "read_trace"]

PAYLOAD_BYTES = 64
"""Of a packet that is generated, unless --l7 or --l7-len says otherwise: as Open vSwitch has it."""
MAX_PAYLOAD_BYTES = 65000
"""So that headers fit into an IP packet beside it."""

_IN_PORT = SLOTS["in_port"]
_FLAGS = {"generate": "generate", "-generate": "generate", "consistent": "consistent", "-consistent": "consistent",
          "-names": "names"}  # fmt: skip
_VALUES = ("-l7", "-l7-len", "-ct-next")


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """`key`: of the flow; `frame`: None if only fields are given; `actions`: None for a packet that comes in by a port.
    `names`: ports are to be shown by theirs. `consistent`: refuse actions that do not fit the packet."""

    key: int
    frame: bytes | None = None
    actions: tuple[FlowAction, ...] | None = None
    names: bool = False
    consistent: bool = False


@dataclass(slots=True)
class _Words:
    plain: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)


def read_trace(words: Sequence[str], bridge: str, ports: Mapping[str, int], *, packet_out: bool) -> TraceRequest:
    """What the words ask for. `ports`: OpenFlow's numbers by name. CommandError: they make no sense."""
    actions = None
    if packet_out:
        *words, text = words
        try:
            actions = parse_flow_actions(text, ports=ports)
        except ConfigError as problem:
            raise CommandError(str(problem)) from None
    found = _sort(words, packet_out)
    generate = "generate" in found.flags
    match, packet = _flow(found.plain, bridge, ports)
    if generate and packet is not None:
        raise CommandError("Syntax error: a packet is given, and one is to be generated")
    frame = None if packet is None else _frame(packet)
    try:
        key = key_of_packet(match, frame)
        if generate:
            frame = compose(key, _payload(found.values))
        elif found.values:
            raise CommandError(f"{'-' + next(iter(found.values))} is of use only with -generate")
    except ConfigError as problem:
        raise CommandError(str(problem)) from None
    return TraceRequest(key, frame, actions, "names" in found.flags, "consistent" in found.flags)


def _sort(words: Sequence[str], packet_out: bool) -> _Words:
    found = _Words()
    rest = iter(words)
    for word in rest:
        name = word[1:]
        if not word.startswith("-"):
            found.plain.append(word)
        elif name in _VALUES:
            value = next(rest, None)
            if value is None:
                raise CommandError(f"Missing argument for option {word}")
            if name == "-ct-next":
                raise CommandError(f"{word}: there is no connection tracking")
            found.values[name] = value
        elif name in _FLAGS and (packet_out or _FLAGS[name] != "consistent"):
            found.flags.add(_FLAGS[name])
        else:
            raise CommandError(f"{word}: unknown option")
    return found


def _flow(plain: list[str], bridge: str, ports: Mapping[str, int]) -> tuple[FlowMatch, str | None]:
    """What is said of the packet, and its bytes as text."""
    if len(plain) > 3:
        raise CommandError("too many arguments")
    if plain and "(" in plain[0]:
        return _datapath_flow(plain[0], ports), plain[1] if len(plain) > 1 else None
    if len(plain) < 2:
        raise CommandError(f"syntax error at {plain[0] if plain else 'the end'} (or the bridge name was omitted)")
    name, text, *packet = plain
    if "(" in text and "=" not in text.partition("(")[0]:
        if name != bridge:
            raise CommandError("Cannot find the datapath")
        return _datapath_flow(text, ports), packet[0] if packet else None
    if name != bridge:
        raise CommandError(f"{name}: unknown bridge")
    try:
        return parse_flow_match(text, ports=ports), packet[0] if packet else None
    except ConfigError as problem:
        reason = problem.problem if isinstance(problem, TextError) else problem
        raise CommandError(f"Bad openflow flow syntax: {text}: {reason}") from None


def _datapath_flow(text: str, ports: Mapping[str, int]) -> FlowMatch:
    numbers = {name: datapath_number(number) for name, number in ports.items()}
    try:
        match = parse_match(text, numbers)
    except ConfigError as problem:
        raise CommandError(f"syntax error at {text}: {problem}") from None
    number = _IN_PORT.take(match.value)
    named = bool(match.mask & _IN_PORT.mask)
    if named and openflow_number(number) not in ports.values():
        raise CommandError(f"no OpenFlow port for datapath port {number}")
    value = match.value & ~_IN_PORT.mask
    if named:
        value |= _IN_PORT.place(openflow_number(number))
    return FlowMatch.from_ints(value, match.mask)


def _frame(text: str) -> bytes:
    try:
        frame = bytes.fromhex(text)
    except ValueError:
        raise CommandError("Trailing garbage in packet data") from None
    if len(frame) < MIN_FRAME:
        raise CommandError("Packet data too short for Ethernet")
    return frame


def _payload(values: Mapping[str, str]) -> bytes:
    """CommandError: it is no payload, or too long."""
    if "-l7" in values:
        try:
            payload = bytes.fromhex(values["-l7"])
        except ValueError:
            raise CommandError("Trailing garbage in packet data") from None
    else:
        text = values.get("-l7-len", str(PAYLOAD_BYTES))
        if not (text.isascii() and text.isdecimal()):
            raise CommandError(f"--l7-len {text}: not a number of bytes")
        payload = bytes(number & 0xFF for number in range(min(int(text), MAX_PAYLOAD_BYTES + 1)))
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise CommandError(f"a payload of more than {MAX_PAYLOAD_BYTES} bytes")
    return payload
