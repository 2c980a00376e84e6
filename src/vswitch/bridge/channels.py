"""One OpenFlow connection: a stream, the protocol on it, and what the switch keeps of who is at the other end.

What is sent within one turn of the event loop goes out together. Of packet-ins so many are under way as `window` says;
others wait, for each port on their own. A peer that is silent for the probe interval is asked
whether it is there, and is disconnected after the same time again. Of what the switch says unasked, packet-ins are
dropped, and counted, while the peer does not take what waits for it; if it takes nothing at all, `streams` ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns

from vswitch.base.errors import VswitchError
from vswitch.bridge.pacing import Pacer
from vswitch.bridge.streams import Stream
from vswitch.bridge.window import Window
from vswitch.messages.base import Message
from vswitch.messages.control import EchoReply, EchoRequest
from vswitch.messages.flows import PacketIn
from vswitch.ofproto.session import Session
from vswitch.openflow.connection import Connected, Connection, Failed, Received, Refused

__all__ = ["Channel", "ChannelCounters", "Handling"]

logger = logging.getLogger("vswitch")

MOST_UNASKED_BYTES = 1 << 23
"""What may wait for a peer that does not take what it is told unasked, packet-ins excepted: who misses some of it knows
wrong things, so it is disconnected and may ask anew."""


@dataclass(slots=True)
class ChannelCounters:
    """`received`, `sent`: messages. `dropped`: packet-ins that the peer did not take, or that came too fast. `errors`:
    messages that were none that is known here, and such that the version does not have."""

    received: int = 0
    sent: int = 0
    dropped: int = 0
    errors: int = 0


Handling = Callable[["Channel", Received], None]
"""Called with each message that came."""


class Channel:
    """`ready`: hello is said on both sides. `version`: by which they speak then."""

    def __init__(
        self,
        stream: Stream,
        connection: Connection,
        session: Session,
        handle: Handling,
        *,
        rate_per_s: int = 0,
        burst: int = 0,
        is_controller: bool = True,
    ) -> None:
        self.stream = stream
        self.connection = connection
        self.session = session
        self.is_controller = is_controller
        self.counters = ChannelCounters()
        self.ready = False
        self.on_ready: Callable[[Channel], None] = lambda _channel: None
        self.on_slice: Callable[[], None] = lambda: None  # all that came at once has been handled
        self.on_close: Callable[[Channel, str], None] = lambda _channel, _reason: None
        self.on_bytes: Callable[[bytes, bool], None] | None = None  # with what is sent (True) and received
        self._handle = handle
        self._waiting: list[bytes] = []
        self._flushing = False
        self.window = Window()
        self._now_ns = 0
        self.pacer: Pacer[tuple[PacketIn, int]] = Pacer(self._offer_now, rate_per_s, burst, lambda: self.window.is_open)
        stream.on_data = self._received
        stream.on_close = self._closed
        self._put(connection.data_to_send())

    @property
    def peer(self) -> str:
        """Who it is, for people."""
        return self.stream.peer

    # ---- receiving

    def _received(self, data: bytes) -> None:
        # hot: once per slice of what came
        if self.on_bytes is not None:
            self.on_bytes(data, False)
        self._flushing = True  # at the end
        connection, counters = self.connection, self.counters
        failed = ""
        for event in connection.receive(data, monotonic_ns()):
            answered = connection.data_to_send()
            if answered:  # before what follows: a barrier is answered behind refusals
                self._waiting.append(answered)
            if type(event) is Received:
                counters.received += 1
                if type(event.message) is EchoReply and self.window.heard(event.xid):
                    self.pacer.turn(self._now_ns)
                    continue
                self._handle(self, event)
                if self.stream.closed:
                    return
            elif isinstance(event, Connected):
                self._be_ready()
            elif isinstance(event, Refused):
                counters.errors += 1
            elif isinstance(event, Failed):
                failed = event.reason
        self.on_slice()
        self._waiting.append(connection.data_to_send())
        self.flush()
        if failed:
            self.stream.close(failed)

    def _be_ready(self) -> None:
        """Hello was said on both sides."""
        self.ready = True
        self.session.version = self.connection.version or 0
        self.on_ready(self)

    def _closed(self, reason: str) -> None:
        self.pacer.clear()
        self._waiting.clear()
        self.on_close(self, reason)

    # ---- sending

    def send(self, message: Message, xid: int | None = None) -> None:
        """Send that: an answer with the request's xid, else with a new one."""
        if self.stream.closed:
            return
        try:
            data = self.connection.send(message, xid)
        except VswitchError as problem:  # the version has no such message, or no room in it
            self.counters.errors += 1
            logger.debug("%s: cannot be told of %s: %s", self.peer, type(message).__name__, problem)
        else:
            self.counters.sent += 1
            self._put(data)

    def tell(self, message: Message, xid: int | None = None) -> None:
        """Send what was not asked for; with an xid, what somebody else has."""
        if self.stream.backlog > MOST_UNASKED_BYTES:
            self.stream.close(f"it does not take what it is told: {self.stream.backlog} bytes wait")
        else:
            self.send(message, xid)

    def tell_packet(self, packet: PacketIn, port: int, now_ns: int) -> None:
        """Send a packet-in, if the rate allows and the peer takes it."""
        # hot: once per packet-in
        self._now_ns = now_ns
        dropped = self.pacer.dropped
        self.pacer.offer(port, (packet, port), now_ns)
        self.counters.dropped += self.pacer.dropped - dropped

    def _offer_now(self, offered: tuple[PacketIn, int]) -> None:
        if self.stream.is_congested:
            self.counters.dropped += 1
            return
        self.send(offered[0])
        if self.is_controller and self.window.sent() and not self.stream.closed:
            xid = self.connection.next_xid()
            self.window.marked(xid, monotonic_ns())
            self.send(EchoRequest(), xid)

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand over what waits."""
        self._flushing = False
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            if self.on_bytes is not None:
                self.on_bytes(data, True)
            self.stream.write(data)

    # ---- probing

    def tick(self, now_ns: int) -> None:
        """See to the time that has gone by; `now_ns` is that of the switch, which may be simulated."""
        self._now_ns = now_ns
        self.window.tick(monotonic_ns())
        self.pacer.turn(now_ns)
        for event in self.connection.tick(monotonic_ns()):
            if isinstance(event, Failed):
                self.stream.close(event.reason)
                return
        data = self.connection.data_to_send()
        if data:
            self._put(data)
