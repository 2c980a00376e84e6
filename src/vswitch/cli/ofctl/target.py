"""Where a switch is to be found: `br0`, `unix:FILE`, `tcp:HOST:PORT`, `ssl:HOST:PORT`.

A name is that of a bridge, whose sockets lie in vswitch's run directory, or else in Open vSwitch's; or it is a file.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from argparse import Namespace
from pathlib import Path

from vswitch.base.errors import ConfigError, MachineError, NotFoundError
from vswitch.base.places import RUN_FOLDER

__all__ = ["bridges", "connect", "find_socket", "run_directories"]

DEFAULT_PORT = 6653


def run_directories() -> list[Path]:
    """Where sockets are looked for."""
    return [
        Path(os.environ.get("VSWITCH_RUNDIR") or RUN_FOLDER),
        Path(os.environ.get("OVS_RUNDIR") or "/var/run/openvswitch"),
    ]


def bridges() -> list[str]:
    """The names of the bridges on this machine that have a place for management."""
    return sorted({path.stem for folder in run_directories() for path in folder.glob("*.mgmt")})


def find_socket(name: str, kind: str = "mgmt") -> Path:
    """The socket of the bridge called so: `mgmt` to speak with it, `snoop` to listen. NotFoundError: there is none."""
    if "/" not in name:
        for folder in run_directories():
            path = folder / f"{name}.{kind}"
            if path.exists():
                return path
    path = Path(name)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        return path
    folders = " and ".join(str(folder) for folder in run_directories())
    raise NotFoundError(f"{name} is neither a bridge (no {name}.{kind} in {folders}) nor a socket")


def connect(target: str, arguments: Namespace, kind: str = "mgmt") -> socket.socket:
    """A connection to it. ConfigError: that is no target; MachineError: nobody answers there."""
    scheme, colon, rest = target.partition(":")
    try:
        if not colon or "/" in scheme:
            return _unix(str(find_socket(target.rpartition("@")[2], kind)))
        if scheme == "unix":
            return _unix(rest)
        if scheme in ("tcp", "ssl"):
            host, port = _address(target, rest)
            if scheme == "ssl" and not (arguments.private_key and arguments.certificate and arguments.ca_cert):
                raise ConfigError("ssl: needs --private-key, --certificate and --ca-cert")
            plain = socket.create_connection((host, port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _encrypted(plain, host, arguments) if scheme == "ssl" else plain
    except OSError as error:
        raise MachineError(f"{target}: cannot connect ({error.strerror or error})") from None
    raise ConfigError(f"{target}: the name of a bridge, unix:FILE, tcp:HOST[:PORT] or ssl:HOST[:PORT] is needed")


def _unix(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.connect(path)
    return found


_HOST = re.compile(r"\[([^]]+)\](?::(\d+))?|([^:]*)(?::(\d+))?")


def _address(target: str, text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ConfigError(f"{target}: not HOST[:PORT]; an IPv6 address stands in [ ]")
    host, port = found[1] or found[3], int(found[2] or found[4] or DEFAULT_PORT)
    if not host or not 0 < port < 1 << 16:
        raise ConfigError(f"{target}: a host and a port of 1..65535 are needed")
    return host, port


def _encrypted(plain: socket.socket, host: str, arguments: Namespace) -> socket.socket:
    """TLS, with the certificates that OpenFlow has both sides show."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # as ovs-ofctl: who is signed by this authority is trusted
    try:
        context.load_cert_chain(arguments.certificate, arguments.private_key)
        if arguments.ca_cert == "none":
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(arguments.ca_cert)
    except OSError as error:
        files = ", ".join((arguments.certificate, arguments.private_key, arguments.ca_cert))
        raise ConfigError(f"ssl: cannot use {files} ({error.strerror or error})") from None
    return context.wrap_socket(plain, server_hostname=host)
