"""A client that asks and waits: what commands speak to a server of databases through."""

from __future__ import annotations

import socket
from argparse import Namespace
from collections import deque
from collections.abc import Iterator

from vswitch.base.errors import ConfigError, MachineError
from vswitch.ovsdb.errors import FramingError
from vswitch.ovsdb.framing import Framer, dumps, message
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.types import Json
from vswitch.transport.targets import OVSDB_PORT, Tls, parse_target

__all__ = ["Client", "is_server"]

_CHUNK = 1 << 16


def is_server(place: str) -> bool:
    """Whether a place is that of a server; else it is a file."""
    return place.partition(":")[0] in ("unix", "tcp", "ssl")


class Client:
    """One connection. MachineError: nobody answers, or not as a server of databases does."""

    def __init__(self, place: str, arguments: Namespace) -> None:
        self.place = place
        self._framer = Framer()
        self._received: deque[dict[str, Json]] = deque()
        self._told: deque[dict[str, Json]] = deque()
        self._identity = 0
        self._socket = _connect(place, arguments)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, method: str, *params: Json) -> Json:
        """The result. MachineError: the server says no."""
        self._identity += 1
        self._socket.sendall(message(method, list(params), self._identity))
        while (found := self._next()).get("method") is not None or found.get("id") != self._identity:
            self._told.append(found)
        if found.get("error") is not None:
            raise MachineError(f"{self.place}: {method}: {_words(found['error'])}")
        return found.get("result")

    def notifications(self) -> Iterator[dict[str, Json]]:
        """What the server tells, until the connection ends."""
        while True:
            yield self._told.popleft() if self._told else self._next()

    def _next(self) -> dict[str, Json]:
        """The next message that is no echo request; those are answered."""
        while True:
            while self._received:
                found = self._received.popleft()
                if found.get("method") != "echo":
                    return found
                reply = {"id": found.get("id"), "result": found.get("params"), "error": None}
                self._socket.sendall(dumps(reply).encode())
            try:
                data = self._socket.recv(_CHUNK)
            except TimeoutError:
                raise MachineError(f"{self.place}: no answer in time") from None
            except OSError as error:
                raise MachineError(f"{self.place}: {error.strerror}") from None
            if not data:
                raise MachineError(f"{self.place}: the server has ended the connection")
            try:
                self._received.extend(self._framer.feed(data))
            except FramingError as error:
                raise MachineError(f"{self.place}: {error}") from error

    def database(self, name: str | None) -> str:
        """The name, or that of the only database. ConfigError: there are more, and none is named."""
        if name is not None:
            return name
        found = self.call("list_dbs")
        names = [each for each in found if each != "_Server"] if isinstance(found, list) else []
        if len(names) != 1:
            raise ConfigError(f"{self.place} has the databases {', '.join(map(str, names)) or '(none)'}: name one")
        return str(names[0])

    def schema(self, name: str) -> DatabaseSchema:
        """Of the database."""
        return DatabaseSchema.parse(self.call("get_schema", name))


def _words(error: Json) -> str:
    if isinstance(error, dict):
        return f"{error.get('error')}: {error.get('details', '')}".removesuffix(": ")
    return str(error)


def _connect(place: str, arguments: Namespace) -> socket.socket:
    target = parse_target(place, passive=False, default_port=OVSDB_PORT)
    files = (arguments.private_key, arguments.certificate, arguments.ca_cert)
    if target.kind == "ssl" and not all(files):
        raise ConfigError("ssl: needs --private-key, --certificate and --ca-cert")
    try:
        if target.kind == "unix":
            found = socket.socket(socket.AF_UNIX)
            try:
                found.settimeout(arguments.timeout)
                found.connect(target.path)
            except OSError:
                found.close()
                raise
            return found
        plain = socket.create_connection((target.host, target.port), arguments.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.kind == "ssl":
            return Tls(*files).context(server=False).wrap_socket(plain, server_hostname=target.host)
    except OSError as error:
        raise MachineError(f"{place}: cannot connect ({error.strerror or error})") from None
    return plain
