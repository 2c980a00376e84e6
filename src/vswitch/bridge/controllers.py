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
from dataclasses import dataclass, field, replace
from time import monotonic_ns
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.bridge.channels import Channel, Handling
from vswitch.bridge.floods import Floods
from vswitch.bridge.options import BridgeOptions, ControllerSettings, settings_of
from vswitch.messages.control import ControllerRole
from vswitch.ofproto.session import Session
from vswitch.openflow.connection import Connected, Connection, Failed
from vswitch.transport.streams import Dialer, Listener, Stream
from vswitch.transport.targets import Tls, parse_target

__all__ = ["ControllerState", "Controllers"]

logger = logging.getLogger("vswitch")

SILENT_INTERVALS = 3
"""Probe intervals without a controller after which the fail mode says what is done."""

DEFAULT_INTERVAL_S = 5.0
"""Of these, where nobody is probed."""


@dataclass(frozen=True, slots=True)
class ControllerState:
    """What has become of one target. `role`: of who is there, None if nobody is; `since_s`: for how long that has been
    so; `last_error`: why the last attempt failed. `is_passive`: it is listened at, so there may be several."""

    target: str
    is_connected: bool
    role: ControllerRole | None
    state: str
    since_s: float
    last_error: str = ""
    is_passive: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """A target, what is done there, and all that a connection made there depends on."""

    settings: ControllerSettings
    kind: str  # "controller", "tool", "snooper"
    tls: Tls | None


@dataclass(slots=True)
class _End:
    """`problem`: why there is nobody at the place, if it cannot be used."""

    end: Dialer | Listener | None = None
    problem: str = ""
    channels: dict[Channel, None] = field(default_factory=dict)
    was_connected: bool = False
    changed_s: float = 0.0


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
        self._ends: dict[_Place, _End] = {}
        self._channels: dict[Channel, _End] = {}
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
        listeners = (each.end for each in self._ends.values())
        return {each.target.text: each.port for each in listeners if isinstance(each, Listener)}

    def describe(self) -> list[dict[str, object]]:
        """Who is connected, and whom the bridge tries to reach."""
        found: list[dict[str, object]] = [
            {
                "target": dialer.target.text, "state": dialer.state, "attempts": dialer.attempts,
                "last_error": dialer.last_error,
            }
            for dialer in (each.end for each in self._ends.values())
            if isinstance(dialer, Dialer)
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

    def states(self) -> list[ControllerState]:
        """What has become of each target of a controller."""
        now_s = asyncio.get_running_loop().time()
        found = []
        for place, each in self._ends.items():
            if place.kind != "controller":
                continue
            ready = [channel for channel in each.channels if channel.ready]
            if bool(ready) != each.was_connected:
                each.was_connected, each.changed_s = bool(ready), now_s
            role = ready[0].session.role if ready else None
            state, error = ("ACTIVE" if ready else "IDLE"), each.problem
            if isinstance(each.end, Dialer):
                state = "CONNECTING" if each.end.state == "active" and not ready else each.end.state.upper()
                error = error or each.end.last_error
            elif each.end is None:
                state = "VOID"
            since_s = max(0.0, now_s - each.changed_s)
            passive = isinstance(each.end, Listener)
            found.append(ControllerState(place.settings.target, bool(ready), role, state, since_s, error, passive))
        return found

    # ---- beginning, following, ending

    async def start(self, *, strict: bool = True) -> None:
        """On the running event loop. ConfigError: it cannot be listened at some place; then at none. If it is not
        `strict`, then at the others."""
        self._alone_since_s = asyncio.get_running_loop().time()
        try:
            problems = await self._follow()
            if strict and problems:
                raise ConfigError(next(iter(problems.values())))
        except BaseException:
            await self.stop()
            raise

    async def reconfigure(self, options: BridgeOptions) -> None:
        """Have these settings from now on. What has not changed stays connected; of a place that cannot be used
        `states` tells why, and it is tried again at the next call."""
        before, self._options = self._options, options
        if bool(before.controllers) != bool(options.controllers):
            self._alone_since_s = asyncio.get_running_loop().time()
        for target, problem in (await self._follow()).items():
            logger.warning("%s: %s", target, problem)
        if options.versions != before.versions:
            for channel in list(self._channels):
                if channel.connection.version not in (None, *options.versions):
                    channel.stream.close("its version is not spoken any more")

    def _wanted(self) -> dict[_Place, None]:
        options = self._options
        places = [(settings_of(each), "controller") for each in options.listen]
        places += [(ControllerSettings(options.management), "tool")] if options.management else []
        places += [(ControllerSettings(options.snoop), "snooper")] if options.snoop else []
        if not options.waits:
            places += [(settings_of(each), "controller") for each in options.controllers]
        return {
            _Place(_complete(settings, options), kind, options.tls if "ssl:" in settings.target[:5] else None): None
            for settings, kind in places
        }

    async def _follow(self) -> dict[str, str]:
        """Be at the places that are wanted, and at no others. Which cannot be used, and why."""
        wanted = self._wanted()
        for place in [each for each in self._ends if each not in wanted]:
            await self._end(self._ends.pop(place))
        problems: dict[str, str] = {}
        for place in wanted:
            there = self._ends.get(place)
            if there is None or there.end is None:
                before = there.problem if there is not None else ""
                self._ends[place] = there = await self._begin(place)
                if there.problem and there.problem != before:
                    problems[place.settings.target] = there.problem
        return problems

    async def _begin(self, place: _Place) -> _End:
        found = _End(changed_s=asyncio.get_running_loop().time())
        opened: Callable[[Stream], None] = functools.partial(self._open, place, found)
        if place.kind == "snooper":
            opened = self._open_snooper
        settings = place.settings
        try:
            target = parse_target(settings.target)
            if target.passive:
                listener = Listener(target, opened, place.tls)
                await listener.start()
                found.end = listener
            else:
                assert settings.max_backoff_s is not None
                dialer = Dialer(target, opened, place.tls, max_backoff_s=settings.max_backoff_s)
                dialer.start()
                found.end = dialer
        except ConfigError as problem:
            found.problem = str(problem)
        return found

    async def _end(self, there: _End) -> None:
        for channel in there.channels:
            channel.flush()
        if there.end is not None:
            await there.end.stop()

    async def stop(self) -> None:
        """End all of it."""
        for channel in self._channels:
            channel.flush()
        for there in self._ends.values():
            await self._end(there)
        self._ends.clear()
        for stream in list(self._snoopers):
            stream.close("the switch ends")

    def reconnect(self) -> None:
        """Let all connections to controllers end; those that the bridge makes are made again."""
        for channel in list(self._channels):
            if channel.is_controller:
                channel.stream.close("to reconnect")

    # ---- who comes

    def _open(self, place: _Place, there: _End, stream: Stream) -> None:
        options, settings = self._options, place.settings
        is_controller = place.kind == "controller" and not settings.is_service
        probe_ns = round((settings.probe_s or 0) * 1e9) if is_controller else 0
        connection = Connection(monotonic_ns(), tuple(sorted(options.versions)), probe_ns=probe_ns)
        channel = Channel(
            stream, connection, self._new_session(), self._handle,
            rate_per_s=settings.packet_in_rate_per_s or 0, burst=settings.packet_in_burst or 0,
            is_controller=is_controller,
        )  # fmt: skip
        channel.on_close = self._closed
        channel.on_ready = self._came
        if options.snoop:
            cutter = _Cutter(self._show)
            channel.on_bytes = cutter.bytes
        self._channels[channel] = there
        there.channels[channel] = None

    def _closed(self, channel: Channel, reason: str) -> None:
        logger.debug("%s: closed: %s", channel.peer, reason)
        there = self._channels.pop(channel, None)
        if there is not None:
            there.channels.pop(channel, None)
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


def _complete(settings: ControllerSettings, options: BridgeOptions) -> ControllerSettings:
    """With what holds for all in place of what is not said."""
    return replace(
        settings,
        **{
            name: getattr(options, name)
            for name in ("probe_s", "max_backoff_s", "packet_in_rate_per_s", "packet_in_burst")
            if getattr(settings, name) is None
        },
    )


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
