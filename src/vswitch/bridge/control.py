"""The control socket: `vswitch appctl` and `ovs-appctl` call commands there while the switch is at work.

Each client is answered in order, a part of an answer in each turn of the event loop, so a long one delays nothing else;
while a client does not take what it asked for, nothing more is made for it, and after a while it is disconnected
(`streams`). Who sends what is no request is disconnected at once. There are at most MAX_CLIENTS: one more takes the
place of the one that has been silent for longest, so that nobody is kept out by those who only hold a connection.

`set-options --format json`, for the connection that says it, makes results JSON values instead of texts, as in Open
vSwitch 3.4 and later; where a command has no such form the value is `{"reply-format": "plain", "reply": text}`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator

from vswitch.base.errors import VswitchError
from vswitch.control.commands import Answer, CommandError, Commands
from vswitch.control.jsonrpc import (
    MessageError,
    Request,
    Splitter,
    answer,
    answer_in_parts,
    gathered,
    read_request,
    refusal,
)
from vswitch.transport.streams import Listener, Stream
from vswitch.transport.targets import parse_target

__all__ = ["ControlServer"]

logger = logging.getLogger("vswitch")

MAX_CLIENTS = 32

MAX_WAITING = 64
"""Requests of a client that it has sent before it was answered; with more it is disconnected."""

PART_BYTES = 1 << 15
"""Of a long answer, in one turn: some 100 lines, which take about a millisecond."""

SET_OPTIONS = "set-options"


class ControlServer:
    """`displaced`: clients that made way for others; `refused`: such that sent what is no request."""

    def __init__(self, target: str, commands: Commands) -> None:
        self._listener = Listener(parse_target(target, passive=True), self._opened)
        self._commands = commands
        self._clients: dict[_Client, None] = {}  # who was heard of last is last
        self.displaced = self.refused = self.requests = 0

    async def start(self) -> None:
        """Begin, on the running event loop. ConfigError: it cannot be listened there."""
        await self._listener.start()

    async def stop(self) -> None:
        """No more of it."""
        await self._listener.stop()

    def _opened(self, stream: Stream) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            self.displaced += 1
            next(iter(self._clients)).stream.close("another one takes its place")
        self._clients[_Client(stream, self)] = None

    def heard(self, client: _Client) -> None:
        """This client has asked something."""
        self._clients.pop(client, None)
        self._clients[client] = None

    def gone(self, client: _Client) -> None:
        """It is there no more."""
        self._clients.pop(client, None)

    def call(self, request: Request) -> Answer:
        """Do what is asked for. CommandError: it cannot be done."""
        self.requests += 1
        try:
            return self._commands.call(request.method, request.params)
        except CommandError:
            raise
        except VswitchError as problem:
            raise CommandError(str(problem)) from None
        except Exception as problem:
            logger.exception("%s failed", request.method)
            raise CommandError(f"{request.method} failed: {problem!r}") from None


class _Client:
    def __init__(self, stream: Stream, server: ControlServer) -> None:
        self.stream = stream
        self._server = server
        self._splitter = Splitter()
        self._waiting: deque[Request] = deque()
        self._parts: Iterator[bytes] | None = None  # of the answer that is being written
        self._json = False
        self._scheduled = False
        stream.on_data = self._received
        stream.on_close = self._closed
        stream.on_writable = self._go_on

    def _closed(self, _reason: str) -> None:
        self._waiting.clear()
        self._parts = None
        self._server.gone(self)

    def _received(self, data: bytes) -> None:
        try:
            for message in self._splitter.receive(data):
                if len(self._waiting) >= MAX_WAITING:
                    raise MessageError(f"more than {MAX_WAITING} requests at a time")
                self._waiting.append(read_request(message))
        except MessageError as problem:
            self._server.refused += 1
            logger.warning("control socket: a client is disconnected: %s", problem)
            self.stream.close(str(problem))
            return
        self._server.heard(self)
        if not self._scheduled:
            self._work()

    def _go_on(self) -> None:
        if not self._scheduled and not self.stream.closed and (self._waiting or self._parts is not None):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """One answer, or a part of one."""
        self._scheduled = False
        if self.stream.closed or self.stream.is_full:
            return
        if self._parts is None and self._waiting:
            self._parts = self._answer(self._waiting.popleft())
        if self._parts is not None:
            try:
                self.stream.write(next(self._parts))
            except StopIteration:
                self._parts = None
            except Exception:
                logger.exception("control socket: an answer could not be written")
                self.stream.close("its answer could not be written")
        self._go_on()

    def _answer(self, request: Request) -> Iterator[bytes]:
        try:
            result = self._set_options(request) if request.method == SET_OPTIONS else self._server.call(request)
        except CommandError as problem:
            yield refusal(request.id, f"{problem}\n")
            return
        if self._json and result.value is not None:
            yield answer(request.id, result.value())
            return
        parts = [result.text] if isinstance(result.text, str) else result.text
        yield from gathered(answer_in_parts(request.id, parts, wrapped=self._json), PART_BYTES)

    def _set_options(self, request: Request) -> Answer:
        """CommandError: there is no such option, or no such format."""
        match request.params:
            case ("--format", "json" | "text" as form):
                self._json = form == "json"
                return Answer()
            case ("--format", form):
                raise CommandError(f"option format has invalid value {form!s}")
        raise CommandError(f'"{SET_OPTIONS}" takes --format text or --format json')
