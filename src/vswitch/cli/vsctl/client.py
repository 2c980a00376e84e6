"""A connection to a server of databases that asks and waits (RFC 7047).

To a Unix socket it goes by the interpreter's own C module, since Python's loads slowly; to others by that, and TLS.
"""

from __future__ import annotations

import posix

from vswitch.cli.vsctl import CommandError
from vswitch.cli.vsctl.json import INCOMPLETE, dumps, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vswitch.cli.vsctl.options import Options

__all__ = ["Client", "connect", "new_uuid"]

_CHUNK = 1 << 18
_BLANKS = " \t\r\n"


class Client:
    """One connection. CommandError: it ends, or the server says no."""

    def __init__(self, place: str, connected: Any, options: Options) -> None:
        self._place = place
        self._options = options
        self._socket = connected
        self._data = b""
        self._messages: list[dict[str, Any]] = []
        self._identity = 0
        self.updates: list[Any] = []
        """What came besides replies: (name of the monitor, its rows)."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, method: str, params: list[Any]) -> Any:
        """The result of a request."""
        return self.result(self.ask(method, params))

    def ask(self, method: str, params: list[Any]) -> int:
        """Send a request; its number."""
        self._identity += 1
        if self._options.is_logging:
            text = f"{self._place}: send request, method={dumps(method)}, params={dumps(params)}"
            self._options.log.debug("jsonrpc", text)
        self._send({"method": method, "params": params, "id": self._identity})
        return self._identity

    def result(self, identity: int) -> Any:
        """Of the request of this number, which was sent before those whose results are asked for later."""
        while True:
            found = self._next()
            if "method" not in found and found.get("id") == identity:
                if (error := found.get("error")) is not None:
                    raise CommandError(f"{self._place}: {error if isinstance(error, str) else dumps(error)}")
                return found.get("result")

    def wait(self) -> None:
        """Until there is something in `updates`."""
        while not self.updates:
            self._next()

    def _send(self, message: Any) -> None:
        try:
            self._socket.sendall(dumps(message).encode())
        except OSError as error:
            raise _ended(self._place, error) from None

    def _next(self) -> dict[str, Any]:
        """The next message; what is no reply is dealt with."""
        while not self._messages:
            self._receive()
        found = self._messages.pop(0)
        if found.get("method") == "echo":
            self._send({"id": found.get("id"), "result": found.get("params"), "error": None})
        elif found.get("method") == "update":
            self.updates.append(found["params"])
        return found

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            raise _ended(self._place, error) from None
        if not data:
            raise CommandError(f"{self._place}: database connection failed (End of file)")
        self._data += data
        if data[-1:] not in (b"}", b"\n"):
            return  # the last is not all there, and to look costs by how much there is
        try:
            text = self._data.decode()
            at = 0
            while at < len(text):
                found, at = scan(text, at)
                self._messages.append(found)
                while text[at : at + 1] and text[at] in _BLANKS:
                    at += 1
                self._data = b"" if at == len(text) else text[at:].encode()
        except INCOMPLETE:
            return


def _ended(place: str, error: OSError) -> CommandError:
    return CommandError(f"{place}: database connection failed ({error.strerror or error})")


def connect(options: Options) -> Client:
    """To the first server that answers, of those in `--db`. CommandError: none does."""
    while True:
        problem = None
        for place in options.db.split(","):
            try:
                return Client(place, _open(place, options), options)
            except OSError as error:
                problem = problem or _ended(place, error)
        assert problem is not None
        if not options.retry:
            raise problem
        from time import sleep

        sleep(1)


def _open(place: str, options: Options) -> Any:
    kind, colon, rest = place.partition(":")
    if kind == "unix" and colon:
        import _socket

        found = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            found.connect(rest if rest.startswith("/") else f"{options.run_directory}/{rest}")
        except OSError:
            found.close()
            raise
        return found
    from vswitch.cli.vsctl.remote import open_remote

    return open_remote(place, options)


def new_uuid() -> str:
    """One that nobody has had."""
    digits = posix.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
