"""add-if, set-if, del-if: ports, written as `veth1,port_no=1,type=system,peer_redirect=true`."""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack
from dataclasses import dataclass

from vswitch import ConfigError, Datapath, NotFoundError, Port, PortKind
from vswitch.cli.arguments import UsageError
from vswitch.cli.dpctl.common import controlling

__all__ = ["Interface", "add_if", "del_if", "read_interface", "set_if"]

_OPTIONS = "port_no=N, type=system|internal|tap, peer_redirect=true|false"
_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Interface:
    """What a command line says of a port; None where it says nothing."""

    name: str
    number: int | None = None
    kind: PortKind | None = None
    peer_redirect: bool | None = None

    def add_to(self, datapath: Datapath) -> Port:
        """Make it a port."""
        return datapath.ports.add(
            self.name, self.number, kind=self.kind or PortKind.SYSTEM, peer_redirect=bool(self.peer_redirect)
        )


def read_interface(text: str) -> Interface:
    """UsageError for what is no option of a port, or given twice."""
    name, *options = text.split(",")
    given: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if key not in ("port_no", "type", "peer_redirect") or not equals:
            raise UsageError(f"{text}: {option!r} is none of {_OPTIONS}")
        if key in given:
            raise UsageError(f"{text}: {key} is given twice")
        given[key] = value
    number, kind, peer = given.get("port_no"), given.get("type"), given.get("peer_redirect")
    if number is not None and not (number.isascii() and number.isdecimal()):
        raise UsageError(f"{text}: port_no {number!r} is not a number")
    if kind is not None and kind not in [each.value for each in PortKind]:
        raise UsageError(f"{text}: type {kind!r} is none of {', '.join(each.value for each in PortKind)}")
    if peer is not None and peer not in _TRUTHS:
        raise UsageError(f"{text}: peer_redirect {peer!r} is neither true nor false")
    return Interface(
        name, None if number is None else int(number), None if kind is None else PortKind(kind),
        None if peer is None else _TRUTHS[peer],
    )  # fmt: skip


def add_if(arguments: Namespace) -> None:
    """All of them or none."""
    interfaces = [read_interface(text) for text in arguments.interfaces]
    with controlling(arguments.dp) as datapath, ExitStack() as undo:
        for interface in interfaces:
            undo.callback(datapath.ports.remove, interface.add_to(datapath).number)
        undo.pop_all()


def del_if(arguments: Namespace) -> None:
    """All of them or none."""
    with controlling(arguments.dp) as datapath:
        for number in dict.fromkeys(_port(datapath, text).number for text in arguments.interfaces):
            datapath.ports.remove(number)


def set_if(arguments: Namespace) -> None:
    """Whatever is to stay must be as it is; what can change is peer_redirect."""
    interfaces = [read_interface(text) for text in arguments.interfaces]
    with controlling(arguments.dp) as datapath:
        ports = [_checked(datapath, interface) for interface in interfaces]
        for port, interface in zip(ports, interfaces, strict=True):
            if interface.peer_redirect is not None:
                _set_peer_redirect(datapath, port, interface.peer_redirect)


def _checked(datapath: Datapath, interface: Interface) -> Port:
    port = _port(datapath, interface.name)
    if interface.number not in (None, port.number):
        raise ConfigError(f"port {port.name} has number {port.number}, which cannot be changed")
    if interface.kind not in (None, port.kind):
        raise ConfigError(f"port {port.name} is of type {port.kind.value}, which cannot be changed")
    if interface.peer_redirect and port.kind is not PortKind.SYSTEM:
        raise ConfigError(f"port {port.name} is of type {port.kind.value}, so it has no end elsewhere")
    if interface.peer_redirect is not None and port.ifindex is None:
        raise NotFoundError(f"the device of port {port.name} is away, so peer_redirect cannot be changed")
    return port


def _set_peer_redirect(datapath: Datapath, port: Port, peer_redirect: bool) -> None:
    if port.kind is not PortKind.SYSTEM:
        return  # it is false already, and cannot be else
    datapath.ports.remove(port.number)
    try:
        datapath.ports.add(port.name, port.number, peer_redirect=peer_redirect)
    except BaseException:
        datapath.ports.add(port.name, port.number)
        raise


def _port(datapath: Datapath, text: str) -> Port:
    """By name or, if there is none of that name, by number."""
    if text not in datapath.ports and text.isascii() and text.isdecimal():
        return datapath.ports[int(text)]
    return datapath.ports[text]
