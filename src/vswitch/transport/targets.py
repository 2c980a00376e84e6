"""Where peers are: the words `tcp:HOST:PORT`, `punix:FILE` and so on, and what TLS needs.

They are written as Open vSwitch writes them. An active target is connected to, a passive one listened at; a passive one
has the port first, and a host only where it is to be heard on one address alone.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from vswitch.base.errors import ConfigError

__all__ = ["OPENFLOW_PORT", "OVSDB_PORT", "Target", "Tls", "parse_target"]

OPENFLOW_PORT, OVSDB_PORT = 6653, 6640
"""Where controllers and databases listen, as IANA has it."""

_MAX_UNIX_PATH = 107
"""Bytes of a path in struct sockaddr_un, without the one that ends it."""

_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^:\[\]]+)(?::(?P<port>\d+))?")
_PORT_HOST = re.compile(r"(?P<port>\d*)(?::(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^:\[\]]+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """`kind` "tcp", "ssl" or "unix"; `host` and `port`, or `path`; `text`: as it was written."""

    text: str
    kind: str
    passive: bool
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether who connects must be on this machine."""
        return self.kind == "unix"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files (PEM) for ssl: and pssl:. `private_key` and `certificate` say who the switch is; the peer's certificate
    must be signed by one in `ca_certificate`. Names in certificates are not looked at, as Open vSwitch does not."""

    private_key: str
    certificate: str
    ca_certificate: str

    def context(self, *, server: bool) -> ssl.SSLContext:
        """ConfigError: a file cannot be read, or holds something else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        for path in (self.private_key, self.certificate, self.ca_certificate):
            if not Path(path).is_file():
                raise ConfigError(f"TLS: there is no file {path!r}")
        try:
            context.load_cert_chain(self.certificate, self.private_key)
            context.load_verify_locations(self.ca_certificate)
        except (ssl.SSLError, OSError) as problem:
            raise ConfigError(
                f"TLS: {self.certificate!r}, {self.private_key!r} and {self.ca_certificate!r} are no certificate, its "
                f"key and a certificate authority's: {problem}"
            ) from problem
        return context


def parse_target(text: str, *, passive: bool | None = None, default_port: int = OPENFLOW_PORT) -> Target:
    """Read one. `passive`: which of both it has to be, if only one is of use. `default_port`: if it names none.
    ConfigError says what is wrong."""
    name, colon, rest = text.partition(":")
    if not colon or name not in ("tcp", "ssl", "unix", "ptcp", "pssl", "punix"):
        raise ConfigError(f"target {text!r} begins with none of tcp:, ssl:, unix:, ptcp:, pssl:, punix:")
    is_passive = name.startswith("p")
    if passive is not None and is_passive != passive:
        wanted = "listened at: ptcp:, pssl: or punix:" if passive else "connected to: tcp:, ssl: or unix:"
        raise ConfigError(f"target {text!r} is none that can be {wanted}")
    kind = name.removeprefix("p")
    if kind == "unix":
        if not 0 < len(rest.encode()) <= _MAX_UNIX_PATH:
            raise ConfigError(f"target {text!r}: a path of {len(rest.encode())} bytes is outside 1..{_MAX_UNIX_PATH}")
        return Target(text, kind, is_passive, path=rest)
    found = (_PORT_HOST if is_passive else _HOST_PORT).fullmatch(rest)
    if found is None:
        form = f"{name}:[PORT][:HOST]" if is_passive else f"{name}:HOST[:PORT]"
        raise ConfigError(f"target {text!r} is not of the form {form}")
    host, port = (found["host"] or "").strip("[]"), int(found["port"] or default_port)
    if ":" in host:
        _check_ipv6(text, host)
    if port > 65535 or (port == 0 and not is_passive):
        raise ConfigError(f"target {text!r}: port {port} is outside 1..65535")
    return Target(text, kind, is_passive, host, port)


def _check_ipv6(text: str, host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError as problem:
        raise ConfigError(f"target {text!r}: {host!r} is no IPv6 address") from problem
