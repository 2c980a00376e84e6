"""A controller of few lines on a blocking socket: it says what a test tells it, be that OpenFlow or not."""

from __future__ import annotations

import itertools
import socket
from typing import Self

from tests.lab import patience
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierReply, BarrierRequest, EchoReply, EchoRequest, Hello
from vswitch.openflow.codec import decode, encode

__all__ = ["Client"]


class Client:
    """Connected to 127.0.0.1 at `port`, in the namespace of the thread. `version`: by which it speaks; 0: it does not
    even say hello. It says that it is there when it is asked, while it reads."""

    def __init__(self, port: int, version: int = 4) -> None:
        self.version = version
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60 * patience())
        self._held = bytearray()
        self._xids = itertools.count(1000)
        if version:
            self.socket.sendall(encode(Hello(frozenset({version})), version, 1))
            message, _ = self.receive()
            assert isinstance(message, Hello)

    def send(self, *messages: Message, xid: int | None = None) -> int:
        """The xid of the last one."""
        data = bytearray()
        number = 0
        for message in messages:
            number = next(self._xids) if xid is None else xid
            data += encode(message, self.version, number)
        self.socket.sendall(data)
        return number

    def receive(self) -> tuple[Message, int]:
        """The next message. ConnectionError: there is none, and no connection any more."""
        while True:
            if len(self._held) >= 8 and len(self._held) >= (length := int.from_bytes(self._held[2:4], "big")):
                whole = bytes(self._held[:length])
                del self._held[:length]
                message, xid = decode(whole)
                if isinstance(message, EchoRequest):
                    self.send(EchoReply(message.data), xid=xid)
                    continue
                return message, xid
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the switch has ended the connection")
            self._held += data

    def barrier(self) -> list[Message]:
        """What came until all was done that was sent so far."""
        number = self.send(BarrierRequest())
        seen: list[Message] = []
        while True:
            message, xid = self.receive()
            if isinstance(message, BarrierReply) and xid == number:
                return seen
            seen.append(message)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
