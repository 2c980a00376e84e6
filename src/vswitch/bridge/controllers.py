"""Everybody who is connected to a bridge: its controllers, tools that manage it, and who listens to both.

Controllers are those that the bridge connects to and those that connect where it listens for controllers; what it says
unasked goes to each who wants it. Who comes by the management socket is a tool: it is answered, and told what it asks
to be told, but that there is one does not count as having a controller.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from time import monotonic_ns
from typing import Any

from vswitch.bridge.channels import Channel, Handling
from vswitch.bridge.floods import Floods
from vswitch.bridge.options import BridgeOptions
from vswitch.ofproto.session import Session
from vswitch.openflow.connection import Connected, Connection, Failed
from vswitch.transport.streams import Dialer, Listener, Stream
from vswitch.transport.targets import parse_target

__all__ = ["Controllers"]

logger = logging.getLogger("vswitch")

SILENT_INTERVALS = 3
"""Probe intervals without a controller after which the fail mode says what is done."""

DEFAULT_INTERVAL_S = 5.0
"""Of these, where nobody is probed."""


class Controllers:
    """`handle` is called with each message that comes; `gone` when a channel has ended."""

    def __init__(
        self,
        options: BridgeOptions,
        new_session: Callable[[], Session],
        handle: Handling,
        came: Callable[[Channel], None],
        gone: Callable[[Channel], None],
    ) -> None:
        self._options = options
        self._new_session = new_session
        self._handle = handle
        self._came = came
        self._gone = gone
        self._dialers: list[Dialer] = []
        self._listeners: list[Listener] = []
        self._channels: dict[Channel, None] = {}
        self._snoopers: set[Stream] = set()
        self._alone_since_s = 0.0

    def __iter__(self) -> Iterator[Channel]:
        """Those that are ready."""
        return iter([channel for channel in self._channels if channel.ready])

    @property
    def is_configured(self) -> bool:
        """Whether there are to be any controllers."""
        return bool(self._options.controllers)

    @property
    def is_there(self) -> bool:
        """Whether there is one."""
        return any(channel.ready and channel.is_controller for channel in self._channels)

    def is_missed(self) -> bool:
        """Whether there should be one, and has been none for too long."""
        if not self.is_configured:
            return False
        now_s = asyncio.get_running_loop().time()
        if self.is_there:
            self._alone_since_s = now_s
            return False
        return now_s - self._alone_since_s >= SILENT_INTERVALS * (self._options.probe_s or DEFAULT_INTERVAL_S)

    def ports(self) -> dict[str, int]:
        """Of each passive target the port that it is heard at."""
        return {listener.target.text: listener.port for listener in self._listeners}

    def describe(self) -> list[dict[str, object]]:
        """Who is connected, and whom the bridge tries to reach."""
        found: list[dict[str, object]] = [
            {
                "target": dialer.target.text, "state": dialer.state, "attempts": dialer.attempts,
                "last_error": dialer.last_error,
            }
            for dialer in self._dialers
        ]  # fmt: skip
        for channel in self._channels:
            counters = channel.counters
            found.append(
                {
                    "peer": channel.peer, "version": channel.connection.version, "received": counters.received,
                    "sent": counters.sent, "dropped_packet_ins": channel.dropped,
                    "floods": {port: round(channel.floods.share(port), 3) for port in channel.floods},
                }
            )  # fmt: skip
        return found

    # ---- beginning and ending

    async def start(self) -> None:
        """On the running event loop. ConfigError: it cannot be listened at some place; then at none."""
        options = self._options
        self._alone_since_s = asyncio.get_running_loop().time()
        as_controller = functools.partial(self._open, is_controller=True)
        as_tool = functools.partial(self._open, is_controller=False)
        wanted: list[tuple[str, Callable[[Stream], None]]] = [(text, as_controller) for text in options.listen]
        wanted += [(options.management, as_tool)] if options.management else []
        wanted += [(options.snoop, self._open_snooper)] if options.snoop else []
        try:
            for text, opened in wanted:
                listener = Listener(parse_target(text, passive=True), opened, options.tls)
                await listener.start()
                self._listeners.append(listener)
            for text in options.controllers:
                target = parse_target(text, passive=False)
                dialer = Dialer(target, as_controller, options.tls, max_backoff_s=options.max_backoff_s)
                self._dialers.append(dialer)
        except BaseException:
            await self.stop()
            raise
        for dialer in self._dialers:
            dialer.start()

    async def stop(self) -> None:
        """End all of it."""
        for channel in self._channels:
            channel.flush()
        for dialer in self._dialers:
            await dialer.stop()
        for listener in self._listeners:
            await listener.stop()
        self._dialers.clear()
        self._listeners.clear()
        for stream in list(self._snoopers):
            stream.close("the switch ends")

    def reconnect(self) -> None:
        """Let all connections to controllers end; those that the bridge makes are made again."""
        for channel in list(self._channels):
            if channel.is_controller:
                channel.stream.close("to reconnect")

    # ---- who comes

    def _open(self, stream: Stream, *, is_controller: bool) -> None:
        options = self._options
        probe_ns = round(options.probe_s * 1e9) if is_controller else 0
        connection = Connection(monotonic_ns(), tuple(sorted(options.versions)), probe_ns=probe_ns)
        channel = Channel(
            stream, connection, self._new_session(), self._handle,
            rate_per_s=options.packet_in_rate_per_s, burst=options.packet_in_burst, is_controller=is_controller,
        )  # fmt: skip
        channel.on_close = self._closed
        channel.on_ready = self._came
        if options.snoop:
            cutter = _Cutter(self._show)
            channel.on_bytes = cutter.bytes
        self._channels[channel] = None

    def _closed(self, channel: Channel, reason: str) -> None:
        logger.debug("%s: closed: %s", channel.peer, reason)
        self._channels.pop(channel, None)
        self._gone(channel)

    def _open_snooper(self, stream: Stream) -> None:
        """Who looks on says hello, as everybody does, and nothing more."""
        connection = Connection(monotonic_ns(), tuple(sorted(self._options.versions)))
        stream.write(connection.data_to_send())

        def received(data: bytes) -> None:
            for event in connection.receive_data(data, monotonic_ns()):
                if isinstance(event, Connected):
                    self._snoopers.add(stream)
                elif isinstance(event, Failed):
                    stream.close(event.reason)
            stream.write(connection.data_to_send())

        stream.on_data = received
        stream.on_close = lambda _reason: self._snoopers.discard(stream)

    def _show(self, message: bytes) -> None:
        for stream in self._snoopers:
            if not stream.is_congested:
                stream.write(message)

    # ---- time

    def told(self) -> list[tuple[Floods[Any], Mapping[int, int]]]:
        """Of each controller the ports that flood it, and the packet-ins of other ports since the last tick."""
        return [(channel.floods, channel.told) for channel in self._channels if channel.is_controller]

    def tick(self, now_ns: int) -> None:
        """See to the time that has gone by."""
        for channel in list(self._channels):
            channel.tick(now_ns)


class _Cutter:
    """Cuts what is received into messages, so that who looks on sees each whole, among those that are sent."""

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._received = bytearray()

    def bytes(self, data: bytes, sent: bool) -> None:
        """Some were sent, whole messages, or received."""
        if sent:
            self._show(data)
            return
        held = self._received
        held += data
        while len(held) >= 8:
            length = int.from_bytes(held[2:4], "big")
            if length < 8 or len(held) < length:
                if length < 8:  # it is none, and its connection ends
                    held.clear()
                return
            self._show(bytes(held[:length]))
            del held[:length]
