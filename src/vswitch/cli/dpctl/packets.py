"""monitor, execute: single packets, out of the datapath and into it."""

from __future__ import annotations

import json
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vswitch import BusyError, Key, Match, Miss, format_match, parse_actions
from vswitch.cli.arguments import UsageError
from vswitch.cli.dpctl.common import controlling, names_for, reading
from vswitch.fields import FIELDS, Field
from vswitch.text.values import parse_port

__all__ = ["execute", "key_text", "monitor"]


def monitor(arguments: Namespace) -> None:
    """Every packet that comes up, until there were enough of them, the time is over, or the user stops it. If a process
    controls the datapath it goes on answering them; otherwise they come up for us, and we drop them."""
    for name, value in (("count", arguments.count), ("timeout", arguments.timeout)):
        if value is not None and not value > 0:  # nor a number that is none
            raise UsageError(f"{name} {value!r} is not above 0")
    try:
        opened = controlling(arguments.dp)
    except BusyError:
        _look_on(arguments)
        return
    with opened as datapath, _stopped_by_signals():
        names = names_for(datapath, arguments)
        datapath.start_upcalls()
        _say(f"listening to datapath {datapath.name}, and controlling it meanwhile")
        for count, miss in enumerate(datapath.misses(arguments.timeout), 1):
            _print(miss, arguments, names)
            miss.drop()
            if count == arguments.count:
                break


def _look_on(arguments: Namespace) -> None:
    """Beside the process that answers them."""
    with reading(arguments.dp) as datapath, _stopped_by_signals():
        names = names_for(datapath, arguments)
        packets = datapath.watch(arguments.timeout, lambda lost: _say(f"{lost} bytes came too fast to be shown"))
        _say(f"listening to datapath {datapath.name}, which another process controls")
        for count, miss in enumerate(packets, 1):
            _print(miss, arguments, names)
            if count == arguments.count:
                break


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ctrl-C, and the signal that timeout(1) sends, end the block, so that the kernel is told that nobody listens."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(miss: Miss, arguments: Namespace, names: dict[int, str] | None) -> None:
    key = key_text(miss.key, names)
    if arguments.json:
        described: dict[str, Any] = {"reason": miss.reason.name.lower(), "port": miss.port, "key_text": key}
        described |= {"length": miss.length, "userdata": miss.userdata.hex(), "packet": miss.packet.hex()}
        print(json.dumps(described))
    else:
        userdata = f", userdata:{miss.userdata.hex()}" if miss.userdata else ""
        print(f"{miss.reason.name.lower()}: {key}, length:{miss.length}{userdata}")
        if arguments.hex or arguments.more:
            print(f"  {miss.packet.hex()}")
    sys.stdout.flush()  # whoever reads it shall see it now


def key_text(key: Key, names: dict[int, str] | None = None) -> str:
    """A packet's key as the text of the match of it alone: all of a header, if some of it is not zero or the IP
    protocol says that it is there; of the rest what is not zero."""
    shown = {group for view in _VIEWS if view.take(key.value) and key.has(view.name) for group, _ in view.texts}
    mask = 0
    for view in _VIEWS:
        if key.has(view.name) and (view.name in _ALWAYS or _is_transport(view) or shown & {g for g, _ in view.texts}):
            mask |= view.mask
    return format_match(Match.from_ints(key.value, mask), names)


_VIEWS = tuple(view for view in FIELDS.values() if view.texts)
_ALWAYS = ("in_port", "eth_type")


def _is_transport(view: Field) -> bool:
    return any(need == "ip_proto" for need, _ in view.prerequisites)


def execute(arguments: Namespace) -> None:
    """Carry out actions on a packet, or look it up."""
    if arguments.in_port is not None and arguments.in_port_option is not None:
        raise UsageError("the input port is given twice")
    port = arguments.in_port_option or arguments.in_port or "0"
    try:
        packet = bytes.fromhex(arguments.packet.replace(":", ""))
    except ValueError:
        raise UsageError(f"packet {arguments.packet[:40]!r} is not hexadecimal") from None
    with controlling(arguments.dp) as datapath:
        ports = datapath.ports.numbers()
        actions = None if arguments.actions is None else parse_actions(arguments.actions, ports)
        datapath.execute(packet, actions, in_port=parse_port(port, ports))
