"""One connection of OpenFlow without its socket: bytes in, events out; bytes to send are handed over.

Both ends are alike: each begins with a hello, both take the highest version that they have in common, each answers the
other's echo requests. Whoever owns the connection feeds `receive_data` with what came, sends what `data_to_send` and
`send` give, and calls `tick` when `next_tick_ns` says. Times are of any clock that only goes forward, in nanoseconds.

                    hello of the other end
    waiting ------------------------------------> open
       |   no version in common, no hello,          |   no answer to a probe,
       |   no answer in time                        |   what is no OpenFlow
       +---------------------> failed <-------------+

In `failed` nothing is read any more; what was to be sent before (the error of a failed hello) may still be sent. A
message that is refused is answered by an error here, and told as an event; the connection goes on.

What connections of OpenFlow 1.0 agree on by Nicira's messages (tables of flow-mods, formats) is heeded from the message
on by which it is agreed, whichever end sent it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vswitch.messages.base import Message
from vswitch.messages.control import (
    EchoReply,
    EchoRequest,
    Error,
    FlowModTableId,
    Hello,
    SetFlowFormat,
    SetPacketInFormat,
)
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.codec import decode_message, encode_message
from vswitch.openflow.wire import HEADER, HEADER_BYTES, VERSIONS, Dialect, ProtocolError, version_name

__all__ = ["MAX_ERROR_DATA", "Connected", "Connection", "Event", "Failed", "Received", "Refused"]

MAX_ERROR_DATA = 65535 - 12
"""Bytes of a refused message that are sent back: all, as far as an error message has room. OpenFlow 1.3.5 section A.4.4
asks for 64; who gets all of it can show what was refused."""

_HELLO, _ERROR = 0, 1
_XIDS = 1 << 32
_NXM_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Event:
    """What has become of a connection."""


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """Both ends have agreed on a version."""

    version: int


@dataclass(frozen=True, slots=True)
class Received(Event):
    """A message came. `data`: its bytes, for errors about it."""

    message: Message
    xid: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """What came was no message that is known here; that has been answered already (but for errors about errors)."""

    error: OpenFlowError
    xid: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The connection is of no more use; send what is left, and close it."""

    reason: str


class Connection:
    """`versions`: those that are spoken here. `probe_ns`: after so long without a word from the other end it is asked
    for an echo, and after as long again given up; 0: never. `first_xid`: of the messages that are sent from here."""

    def __init__(
        self, now_ns: int, versions: tuple[int, ...] = VERSIONS, *, probe_ns: int = 0, first_xid: int = 1
    ) -> None:
        self._versions = frozenset(versions)
        self._probe_ns = probe_ns
        self._next_xid = first_xid % _XIDS
        self._heard_ns = now_ns
        self._probe_xid: int | None = None
        self._rest = b""
        self._dialect: Dialect | None = None
        self._failed = False
        hello = Hello(self._versions)
        self._outgoing = [encode_message(hello, Dialect(max(versions)), self.next_xid())]

    @property
    def version(self) -> int | None:
        """The one agreed on; None before."""
        return None if self._dialect is None else self._dialect.version

    @property
    def dialect(self) -> Dialect:
        """How messages are written here. Only once a version is agreed on."""
        assert self._dialect is not None, "no version yet"
        return self._dialect

    @property
    def failed(self) -> bool:
        """Whether it is of no more use."""
        return self._failed

    def next_xid(self) -> int:
        """A transaction id that no message from here has had for long."""
        xid = self._next_xid
        self._next_xid = (xid + 1) % _XIDS
        return xid

    def data_to_send(self) -> bytes:
        """What the connection itself has to say (hello, echoes, errors) since it was last asked."""
        if not self._outgoing:  # hot: once per message
            return b""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    # ---- sending

    def send(self, message: Message, xid: int | None = None) -> bytes:
        """The bytes of a message; without `xid` it gets a new one. OpenFlowError: the version has no such message."""
        data = encode_message(message, self.dialect, self.next_xid() if xid is None else xid)
        self._heed(message)
        return data

    def send_error(self, error: OpenFlowError, xid: int, request: bytes) -> bytes:
        """The error message that refuses `request`."""
        data = error.data or request[:MAX_ERROR_DATA]
        return encode_message(Error(error.error, data), self.dialect, xid)

    def _heed(self, message: Message) -> None:
        if isinstance(message, FlowModTableId):
            self._dialect = replace(self.dialect, table_id=message.on)
        elif isinstance(message, SetFlowFormat):
            self._dialect = replace(self.dialect, nxm=message.format == _NXM_FORMAT)
        elif isinstance(message, SetPacketInFormat):
            self._dialect = replace(self.dialect, packet_in=message.format)

    # ---- receiving

    # hot: once per read of the socket
    def receive_data(self, data: bytes, now_ns: int) -> list[Event]:
        """What follows from bytes that came; an incomplete message waits for the rest of it."""
        return list(self.receive(data, now_ns))

    def receive(self, data: bytes, now_ns: int) -> Iterator[Event]:
        """The same, one by one: who answers each before it takes the next, and before that sends what the connection
        has to say, answers in the order of the requests. All of them are to be taken."""
        if self._failed or not data:
            return
        self._heard_ns = now_ns
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        unpack = HEADER.unpack_from
        while end - at >= HEADER_BYTES:
            version, kind, length, xid = unpack(buffer, at)
            if length < HEADER_BYTES:
                yield self._fail(f"a message of {length} bytes, where a header takes {HEADER_BYTES}")
                break
            if self._dialect is None and (kind != _HELLO or not version):  # whatever follows, it is none of OpenFlow's
                yield self._fail(f"the first message is no hello, but of version {version} and type {kind}")
                break
            if end - at < length:
                break
            whole = buffer[at : at + length]
            at += length
            if self._dialect is None:
                yield self._negotiate(whole, version, xid)
            else:
                event = self._receive(whole, kind, xid)
                if event is not None:
                    yield event
            if self.failed:
                break
        self._rest = b"" if self.failed else buffer[at:]

    def _receive(self, whole: bytes, kind: int, xid: int) -> Event | None:
        try:
            message, _ = decode_message(whole, self.dialect)
        except OpenFlowError as error:
            if kind != _ERROR:  # an error about an error would have no end
                self._outgoing.append(self.send_error(error, xid, whole))
            return Refused(error, xid, whole)
        except ProtocolError as error:
            return self._fail(str(error))
        if isinstance(message, EchoRequest):
            self._outgoing.append(self.send(EchoReply(message.data), xid))
        elif isinstance(message, EchoReply) and xid == self._probe_xid:
            self._probe_xid = None
        elif kind != _HELLO:  # another hello says nothing
            self._heed(message)
            return Received(message, xid, whole)
        return None

    # ---- agreeing on a version

    def _negotiate(self, whole: bytes, version: int, xid: int) -> Event:
        highest = max(self._versions)
        try:
            message, _ = decode_message(whole, Dialect(min(version, VERSIONS[-1])))
        except (OpenFlowError, ProtocolError) as error:
            return self._fail(f"the hello cannot be read: {error}")
        assert isinstance(message, Hello)
        if message.bitmap:
            common = self._versions & message.versions
            chosen = max(common, default=0)
        else:  # OpenFlow 1.3.5 section 6.3.1: the smaller of the two
            chosen = min(version, highest)
        if chosen not in self._versions:
            here, there = (", ".join(map(_shown, sorted(each))) for each in (self._versions, message.versions))
            reason = f"no version in common: {here} here, {there or 'none'} there"
            answer = Error("hello_failed.incompatible", reason.encode())
            self._outgoing.append(encode_message(answer, Dialect(min(version, highest)), xid))
            return self._fail(reason)
        self._dialect = Dialect(chosen)
        return Connected(chosen)

    def _fail(self, reason: str) -> Failed:
        self._failed = True
        return Failed(reason)

    # ---- silence

    def next_tick_ns(self) -> int | None:
        """When `tick` is to be called; None: never."""
        if self._failed or not self._probe_ns:
            return None
        waits = self._probe_xid is not None
        return self._heard_ns + self._probe_ns * (2 if waits else 1)

    def put_off_probe(self, now_ns: int) -> None:
        """Count the silence of the other end from now on: what came before was not fed yet."""
        self._heard_ns = max(self._heard_ns, now_ns)

    def tick(self, now_ns: int) -> list[Event]:
        """What follows from the time that has passed: a probe, or the end."""
        due = self.next_tick_ns()
        if due is None or now_ns < due:
            return []
        silent_s = (now_ns - self._heard_ns) // 1_000_000_000
        if self._dialect is None:
            return [self._fail(f"no hello for {silent_s} s")]
        if self._probe_xid is not None:
            return [self._fail(f"no answer to an echo request, {silent_s} s after the last message")]
        self._probe_xid = self.next_xid()
        self._outgoing.append(self.send(EchoRequest(), self._probe_xid))
        return []


def _shown(version: int) -> str:
    return version_name(version) if version in VERSIONS else f"{version:#04x}"
