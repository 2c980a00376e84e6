"""A connection to a switch that waits for answers: what all commands of `vswitch ofctl` speak through.

It is synchronous: a command sends, waits for the answer and ends. What is sent faster than the switch takes it waits
here while the switch's answers are read, so that neither side waits for the other. Echo requests are answered whenever
messages are read.
"""

from __future__ import annotations

import select
import socket
import struct
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import replace

from vswitch.base.errors import MachineError
from vswitch.cli.ofctl.options import limit_time, versions_of
from vswitch.cli.ofctl.target import connect
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierRequest, EchoReply, Hello
from vswitch.openflow.codec import decode, encode, encode_message
from vswitch.openflow.wire import Dialect
from vswitch.text.openflow_names import VERSIONS

__all__ = ["ERROR", "Switch", "is_error"]

HELLO, ERROR, ECHO_REQUEST = 0, 1, 2
_HEADER = struct.Struct("!BBHI")
_CHUNK = 1 << 16


def is_error(data: bytes) -> bool:
    """Whether these bytes are an error message."""
    return data[1] == ERROR


class Switch:
    """One connection, with a version agreed on. Messages go out as values and come in as bytes: who prints them wants
    their names, who reads them decodes them."""

    def __init__(self, connection: socket.socket, target: str, versions: frozenset[int]) -> None:
        self.target = target
        self.version = max(versions)
        self._socket = connection
        self._received = bytearray()
        self._at = 0
        self._xid = 0
        self._dialect = Dialect(self.version)
        try:
            self._negotiate(versions)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, target: str, arguments: Namespace, least: int = 1) -> Switch:
        """Connects to it, to speak a version that the options allow."""
        limit_time(arguments)
        versions = versions_of(arguments, least)
        return cls(connect(target, arguments), target, versions)

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def _negotiate(self, versions: frozenset[int]) -> None:
        self._write(encode(Hello(versions), self.version, self.next_xid()))
        data = self._read()
        if is_error(data):
            raise MachineError(f"{self.target}: the switch refuses every version of {_spoken(versions)}")
        if data[1] != HELLO:
            raise MachineError(f"{self.target}: what came first is no hello (type {data[1]})")
        hello, _ = decode(data)
        assert isinstance(hello, Hello)
        theirs = hello.versions if hello.bitmap else frozenset(range(1, data[0] + 1))
        common = versions & theirs
        if not common:
            raise MachineError(
                f"{self.target}: no version in common: {_spoken(versions)} here (see -O), {_spoken(theirs)} there"
            )
        self.version = max(common)
        self._dialect = Dialect(self.version)

    # ---- sending

    def name_tables(self) -> None:
        """From now on flows of OpenFlow 1.0 say which table they are for; the switch has been told."""
        self._dialect = replace(self._dialect, table_id=True)

    def use_nxm(self) -> None:
        """From now on flows of OpenFlow 1.0 go in Nicira's messages."""
        self._dialect = replace(self._dialect, nxm=True)

    def next_xid(self) -> int:
        """A number that no message of this connection has had."""
        self._xid += 1
        return self._xid

    def send(self, message: Message) -> int:
        """Sends it; the number by which an answer will be known."""
        xid = self.next_xid()
        self._write(encode_message(message, self._dialect, xid))
        return xid

    def _write(self, data: bytes | bytearray) -> None:
        """All of it, reading meanwhile what the switch has to say."""
        view = memoryview(data)
        while view:
            try:
                sent = self._socket.send(view[: 1 << 18], socket.MSG_DONTWAIT) if _is_plain(self._socket) else (
                    self._socket.send(view[:_CHUNK])
                )  # fmt: skip
            except BlockingIOError:
                readable, _, _ = select.select([self._socket], [self._socket], [])
                if readable:
                    self._fill()
                continue
            except OSError as error:
                raise MachineError(f"{self.target}: connection lost ({error.strerror})") from None
            view = view[sent:]

    # ---- receiving

    def _fill(self) -> None:
        try:
            data = self._socket.recv(_CHUNK * 4)
        except OSError as error:
            raise MachineError(f"{self.target}: connection lost ({error.strerror})") from None
        if not data:
            raise MachineError(f"{self.target}: the switch has closed the connection")
        if self._at:
            del self._received[: self._at]
            self._at = 0
        self._received += data

    def _read(self) -> bytes:
        while True:
            data = self._next()
            if data is not None:
                return data
            self._fill()

    def _next(self) -> bytes | None:
        """A whole message that has been received."""
        rest = len(self._received) - self._at
        if rest < _HEADER.size:
            return None
        _, _, length, _ = _HEADER.unpack_from(self._received, self._at)
        if length < _HEADER.size:
            raise MachineError(f"{self.target}: a message of {length} bytes, at least {_HEADER.size} are needed")
        if rest < length:
            return None
        data = bytes(self._received[self._at : self._at + length])
        self._at += length
        return data

    def receive_all(self) -> bytes:
        """The next message, whatever it is; who asks sees to echo requests."""
        return self._read()

    def send_reply(self, message: Message, request: bytes) -> None:
        """Sends what answers `request`."""
        self._write(encode(message, self.version, _xid_of(request)))

    def receive(self) -> bytes:
        """The next message, whatever it is, but echo requests, which are answered."""
        while True:
            data = self._read()
            if data[1] != ECHO_REQUEST:
                return data
            self._write(encode(EchoReply(data[8:]), self.version, _xid_of(data)))

    def answer(self, xid: int) -> bytes:
        """The message that answers `xid`; others are passed over."""
        while True:
            data = self.receive()
            if _xid_of(data) == xid:
                return data

    def ask(self, message: Message) -> bytes:
        """Sends it; what answers it, which may be an error message."""
        return self.answer(self.send(message))

    def ask_all(self, message: Message) -> Iterator[bytes]:
        """Sends a request for statistics; all messages that answer it, the last of which may be an error message."""
        xid = self.send(message)
        while True:
            data = self.answer(xid)
            yield data
            if is_error(data) or not _more(data):
                return

    def barrier(self) -> list[bytes]:
        """Waits until the switch has done all that it was sent; the error messages that came."""
        return self.errors_until(self.send(BarrierRequest()))

    def errors_until(self, xid: int) -> list[bytes]:
        """The error messages that come up to the answer to `xid`, which may be one."""
        errors = []
        while True:
            data = self.receive()
            if is_error(data):
                errors.append(data)
            if _xid_of(data) == xid:
                return errors

    def send_all(self, messages: Iterable[Message]) -> list[bytes]:
        """Sends them one after the other, and waits until they are done; the error messages that came. hot: once a
        message of a bulk."""
        buffer = bytearray()
        dialect = self._dialect
        for message in messages:
            buffer += encode_message(message, dialect, self.next_xid())
            if len(buffer) > _CHUNK:
                self._write(buffer)
                buffer = bytearray()
        self._write(buffer)
        return self.barrier()


def _is_plain(connection: socket.socket) -> bool:
    return type(connection) is socket.socket


def _xid_of(data: bytes) -> int:
    return int.from_bytes(data[4:8], "big")


def _more(data: bytes) -> bool:
    """Whether further replies follow this one."""
    return data[1] in (17, 19) and len(data) >= 12 and bool(data[11] & 1)


def _spoken(versions: Iterable[int]) -> str:
    return ", ".join(VERSIONS.get(version, f"version {version}") for version in sorted(versions))
