"""One OpenFlow connection: a stream, the protocol on it, and what the switch keeps of who is at the other end.

What is sent within one turn of the event loop goes out together. Of packet-ins so many are under way as `window` says;
others wait, for each port on their own, and those of ports that flood get a part of a controller's time (`floods`). A
peer that is silent for the probe interval is asked whether it is there, and is disconnected after the same time again.
Of what the switch says unasked, packet-ins are dropped, and counted, while the peer does not take what waits for it; if
it takes nothing at all, `streams` ends it.

What a peer asks for is done in turns of some milliseconds, and only while it takes what it is answered: it goes on
between any two messages, and between any two parts of a long answer. So no peer delays the others by more than such a
turn, or one message, and what waits for it is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic_ns

from vswitch.base.errors import VswitchError
from vswitch.bridge.floods import Floods
from vswitch.bridge.pacing import Pacer
from vswitch.bridge.window import Window
from vswitch.messages.base import Message
from vswitch.messages.control import EchoReply, EchoRequest, Error
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import PacketIn, PacketOut
from vswitch.ofproto.session import Session
from vswitch.openflow.connection import Connected, Connection, Event, Failed, Received, Refused
from vswitch.transport.streams import Stream

__all__ = ["Channel", "ChannelCounters", "Handling"]

logger = logging.getLogger("vswitch")

MOST_UNASKED_BYTES = 1 << 23
"""What may wait for a peer that does not take what it is told unasked, packet-ins excepted: who misses some of it knows
wrong things, so it is disconnected and may ask anew."""

TURN_NS = 5_000_000
"""How long one peer's messages may be worked on before it is another's turn: that of a slice of flow-mods."""

HAND_OVER_BYTES = 1 << 16
"""What is sent is gathered up to that."""


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

Parts = Iterator[tuple[Message, int | None]]
"""Messages of one answer, each with the xid that it is sent with (None: a new one)."""


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
        self._events: Iterator[Event] = iter(())
        self._parts: deque[Parts] = deque()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._flushing = False
        self.window = Window()
        self._now_ns = 0
        self.pacer: Pacer[tuple[PacketIn, int]] = Pacer(self._offer_now, rate_per_s, burst, lambda: self.window.is_open)
        self.floods: Floods[tuple[PacketIn, int]] = Floods(
            self._send_packet, self._mark, self._may_flood, lambda offered: offered[0].frame
        )
        self.told: dict[int, int] = {}  # port -> packet-ins since the last tick, floods excepted
        stream.on_data = self._received
        stream.on_turn = self._work
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
        self._events = self.connection.receive(data, monotonic_ns())
        self._work()

    def _work(self) -> None:
        """Do what came, as far as it goes in one turn."""
        # hot: once per slice of what came, and per further turn that it takes
        stream = self.stream
        end_ns = monotonic_ns() + TURN_NS
        self._flushing = True  # at the end
        failed = None
        stream.busy = True
        while True:
            if not (self._parts and self._send_part()):
                event = next(self._events, None)
                if event is None:
                    stream.busy = False
                    break
                if isinstance(event, Failed):
                    failed = event.reason
                    break
                self._take(event)
                if stream.closed:
                    return
            if stream.is_full or monotonic_ns() > end_ns:
                break
        if self.floods:
            self.floods.turn(monotonic_ns())
        self.on_slice()
        self._gather(self.connection.data_to_send())
        self.flush()
        if failed is not None:
            stream.close(failed)

    def _take(self, event: Event) -> None:
        # hot: once per message
        answered = self.connection.data_to_send()
        if answered:  # before what follows: a barrier is answered behind refusals
            self._gather(answered)
        if type(event) is Received:
            self.counters.received += 1
            if not self._is_ours(event.message, event.xid):
                self._handle(self, event)
        elif isinstance(event, Connected):
            self._be_ready()
        elif isinstance(event, Refused):
            self.counters.errors += 1

    def _is_ours(self, message: Message, xid: int) -> bool:
        """See what it says of packet-ins that were sent. Whether it says nothing else."""
        if type(message) is EchoReply and self.window.heard(xid):
            self.floods.came_back(xid, monotonic_ns())
            self.pacer.turn(self._now_ns)
            return True
        if type(message) is PacketOut and self.floods:
            self.floods.came_back(message.frame, monotonic_ns())
        return False

    def _be_ready(self) -> None:
        """Hello was said on both sides."""
        self.ready = True
        self.session.version = self.connection.version or 0
        self.on_ready(self)

    def refuse(self, error: OpenFlowError) -> None:
        """End it, and say why (OpenFlow 1.3.5 section 6.3.1)."""
        self.ready = False
        self.send(Error(error.error, error.text.encode()))
        self.flush()
        self.stream.close(str(error))

    def _closed(self, reason: str) -> None:
        self.pacer.clear()
        self.floods.clear()
        self._waiting.clear()
        self._events = iter(())
        self._parts.clear()
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

    def send_parts(self, parts: Parts) -> None:
        """Send a long answer, made in parts as the peer takes them, before the next message of the peer is done. Of a
        peer that is full, these wait until it is no more."""
        self._parts.append(parts)
        self.stream.busy = True

    def _send_part(self) -> bool:
        """Send the next part of a long answer. Whether there was one."""
        if self.stream.is_lost:
            self._parts.clear()
        while self._parts:
            part = next(self._parts[0], None)
            if part is not None:
                self.send(*part)
                return True
            self._parts.popleft()
        return False

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
        if port in self.floods:
            self.floods.offer(port, (packet, port), monotonic_ns())
        else:
            self.told[port] = self.told.get(port, 0) + 1
            self.pacer.offer(port, (packet, port), now_ns)

    @property
    def dropped(self) -> int:
        """Packet-ins that the peer did not take, or that came too fast."""
        return self.counters.dropped + self.pacer.dropped + self.floods.dropped

    def _may_flood(self) -> bool:
        """Whether one more packet-in of a flood may go: nothing of other ports waits, and the rate allows it."""
        return not len(self.pacer) and self.window.is_open and self.pacer.has_token(self._now_ns)

    def _offer_now(self, offered: tuple[PacketIn, int]) -> None:
        if self._send_packet(offered) and self.window.wants_mark and self.is_controller:
            self._mark()

    def _send_packet(self, offered: tuple[PacketIn, int]) -> bool:
        """Whether it went."""
        if self.stream.is_congested:
            self.counters.dropped += 1
            return False
        self.send(offered[0])
        if self.is_controller:
            self.window.sent()
        return not self.stream.closed

    def _mark(self) -> int:
        """Ask for an echo behind what was sent; its xid."""
        xid = self.connection.next_xid()
        self.window.marked(xid, monotonic_ns())
        self.send(EchoRequest(), xid)
        return xid

    def _mind_floods(self, now_ns: int) -> None:
        """A tenth of a second has gone by: ports may be floods from now on, or no more."""
        begun, ended = self.floods.tick(self.pacer.take_lost(), now_ns)
        for port in begun:
            logger.info("%s: packet-ins of port %d are too many for it", self.peer, port)
            self.floods.begin(port, self.pacer.take(port))
        for port, item in ended:
            self.pacer.offer(port, item, self._now_ns)
        self.floods.turn(now_ns)
        self.told.clear()

    def _gather(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > HAND_OVER_BYTES:
            self._hand_over()

    def _put(self, data: bytes) -> None:
        self._gather(data)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand over what waits."""
        self._flushing = False
        self._hand_over()

    def _hand_over(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            if self.on_bytes is not None:
                self.on_bytes(data, True)
            self.stream.write(data)

    # ---- probing

    def tick(self, now_ns: int) -> None:
        """See to the time that has gone by; `now_ns` is that of the switch, which may be simulated."""
        self._now_ns = now_ns
        self.window.tick(monotonic_ns())
        self.pacer.turn(now_ns)
        if self.is_controller:
            self._mind_floods(monotonic_ns())
        if self.stream.busy or self.stream.is_full:  # its answer to a probe may be there, and not looked at
            self.connection.put_off_probe(monotonic_ns())
        for event in self.connection.tick(monotonic_ns()):
            if isinstance(event, Failed):
                self.stream.close(event.reason)
                return
        data = self.connection.data_to_send()
        if data:
            self._put(data)
