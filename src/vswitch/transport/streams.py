"""Bytes to and from peers, on asyncio: connections that are made, and made again, and such that are taken.

What a peer sends is handed on in slices, one in each turn of the event loop, so that one who sends without end leaves
the others their turn, and traffic its. A peer that asks again as soon as it is answered is looked at for a moment
longer (`_linger`), as coming back to it by way of the event loop takes several times as long as the moment. Who is
given a slice may say that it is `busy` with it: it is called once in each further turn, and handed nothing more, until
it is done. What is to be sent to a peer waits in a bounded buffer: while it is more than `HIGH_BYTES`, nothing more is
done for the peer (so no more answers arise), what may be dropped is dropped, and a peer that takes nothing for
`STALL_S` is disconnected.

Invariant: of each stream `on_close` is called once, after the last `on_data`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from vswitch.base.errors import ConfigError
from vswitch.transport.targets import Target, Tls

__all__ = ["Dialer", "Listener", "Stream"]

logger = logging.getLogger("vswitch")

SLICE_BYTES = 1 << 14
"""Of what a peer has sent, in one turn: some 170 flow-mods, which take milliseconds."""

READ_AHEAD_BYTES = 1 << 18
"""What is read of a peer before it is looked at; then TCP lets the peer wait."""

QUICK_NS = 100_000
"""A peer that asks again within that time after its last turn is one to linger with: a tool that waits for the answer
to each of its requests."""

LINGER_NS = 40_000
"""How long its next request is waited for; tools make one in 10 to 30 us. One who does not is no such peer any more."""

LINGER_TURN_NS = 2_000_000
"""How long one such peer may have its turn before the event loop sees to the others: some thirty requests, and less
than one who sends many at once gets."""

HIGH_BYTES = 1 << 20
"""What may wait for a peer before nothing more is done for it. One answer, as that to dump-flows, may be longer."""

LOW_BYTES = 1 << 18
"""When that is all that waits, things go on."""

STALL_S = 30.0
"""How long a peer may take nothing of what waits for it."""

CONNECT_S = 10.0
"""How long making a connection, with TLS, may take."""

HANDSHAKE_S = 5.0
"""How long who connects may take to agree on TLS."""

MAX_STREAMS = 320
"""Connections of one listener at a time, with those that are still to agree on TLS: each costs a descriptor and memory.
More than the owner takes for good, so that it may tell the others why."""

FIRST_BACKOFF_S, MAX_BACKOFF_S = 1.0, 8.0

_MAY_LINGER = len(os.sched_getaffinity(0)) > 1
"""On a single processor the peer could not ask meanwhile."""


class Stream(asyncio.Protocol):
    """One connection. `peer`: who it is, for people. `on_data`, `on_turn` (one more turn, while `busy`), `on_close`,
    `on_full`, and `on_writable` (it takes things again, after `is_full`): set by who is given the stream, as `busy`
    is."""

    def __init__(self, opened: Callable[[Stream], None], peer: str) -> None:
        self._opened = opened
        self.peer = peer
        self.on_data: Callable[[bytes], None] = lambda _data: None
        self.on_turn: Callable[[], None] = lambda: None
        self.busy = False
        self.on_close: Callable[[str], None] = lambda _reason: None
        self.on_full: Callable[[], None] = lambda: None
        self.on_writable: Callable[[], None] = lambda: None
        self.closed = False
        self.is_lost = False  # whether nothing can be sent any more
        self._is_last = False  # nothing more comes
        self._transport: asyncio.Transport | None = None
        self._incoming = bytearray()
        self._scheduled = False
        self._reading = True
        self._writable = True
        self._descriptor = -1  # of the socket, to linger at
        self._turned_ns = 0  # when its last turn ended
        self._quick = False
        self.lingered = 0  # requests that came so
        self._stalled: asyncio.TimerHandle | None = None
        self._reason = ""

    # ---- of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_BYTES, LOW_BYTES)
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock is not None and _MAY_LINGER and transport.get_extra_info("sslcontext") is None:
            self._descriptor = sock.fileno()
        self._opened(self)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """The peer has sent that."""
        if self.closed:
            return
        self._incoming += data
        if self._reading and len(self._incoming) > READ_AHEAD_BYTES and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()
        if not self._scheduled and self._transport is not None:  # with TLS, some may come before `connection_made`
            self._quick = time.monotonic_ns() - self._turned_ns < QUICK_NS
            self._turn()
            if self._quick and self._descriptor >= 0:
                self._linger()
            self._turned_ns = time.monotonic_ns()

    def _linger(self) -> None:
        """Take the peer's next requests as soon as they come, as long as they come at once."""
        # hot: once per request of a tool that waits for each answer
        now_ns = time.monotonic_ns
        descriptor = self._descriptor
        turn_ends_ns = now_ns() + LINGER_TURN_NS
        while not (self._scheduled or self.closed or self._incoming or self.busy or self.is_full or self.backlog):
            ends_ns = now_ns() + LINGER_NS
            data = b""
            while not data and now_ns() < ends_ns:
                try:
                    data = os.read(descriptor, SLICE_BYTES)
                except BlockingIOError:
                    continue
                except OSError:  # the event loop finds it out, too
                    return
                if not data:  # the end: so does it
                    return
            if not data:
                self._quick = False
                return
            self._incoming += data
            self.lingered += 1
            self._turn()
            if now_ns() > turn_ends_ns:
                return

    def _turn(self) -> None:
        self._scheduled = False
        if self.closed or not self._writable:
            return
        try:
            if self.busy:
                self.on_turn()
            elif self._incoming:
                data = bytes(self._incoming[:SLICE_BYTES])
                del self._incoming[:SLICE_BYTES]
                self.on_data(data)
        except Exception:
            logger.exception("%s: handling what it sent failed", self.peer)
            self.close("handling what it sent failed")
        if not self._reading and len(self._incoming) < SLICE_BYTES and not self.closed and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()
        self._go_on()

    def _go_on(self) -> None:
        """Take another turn, if there is something to do in it; else, if nothing more comes, end."""
        if self.closed or self._scheduled or not self._writable or self._transport is None:
            return
        if self.busy or self._incoming:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)
        elif self._is_last:
            if self.backlog and not self.is_lost:
                self._transport.set_write_buffer_limits(0)  # so on goes it when all is taken, or it stalls
            else:
                self.close("closed by the peer")

    def pause_writing(self) -> None:
        """More than HIGH_BYTES wait for the peer."""
        self._writable = False
        self._watch_stall(-1)
        self.on_full()

    def _watch_stall(self, before: int) -> None:
        """Disconnect who has taken nothing since the last look."""
        waiting = self.backlog
        if self._writable or self.closed:
            return
        if waiting == before:
            self.close(f"it took nothing of {waiting} bytes for {STALL_S:g} s")
            return
        self._stalled = asyncio.get_running_loop().call_later(STALL_S, self._watch_stall, waiting)

    def resume_writing(self) -> None:
        """It has taken enough of it."""
        self._writable = True
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        self.on_writable()
        self._go_on()

    def eof_received(self) -> bool:
        """The peer sends no more: what it has sent is seen to, then the connection ends."""
        self._is_last = True
        self._go_on()
        # TLS closes both directions at once
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, problem: Exception | None) -> None:
        """It is there no more: what it has sent is seen to, and not answered."""
        self.is_lost = self._is_last = True
        self._reason = str(problem) if problem else ""
        self._writable = True
        if self._stalled is not None:
            self._stalled.cancel()
        self._go_on()

    # ---- of who uses it

    @property
    def address(self) -> str:
        """Where the peer is: `tcp:HOST:PORT`, `ssl:HOST:PORT`; of a Unix socket, which tells nothing of it, `peer`."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        if self._transport is None or not isinstance(name, tuple):
            return self.peer
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{'ssl' if self._transport.get_extra_info('sslcontext') else 'tcp'}:{host}:{name[1]}"

    @property
    def backlog(self) -> int:
        """Bytes that wait for the peer."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the peer that nothing it sends is looked at."""
        return not self._writable

    @property
    def is_congested(self) -> bool:
        """Whether what may be dropped should be."""
        return not self._writable or self.backlog > LOW_BYTES

    def write(self, data: bytes) -> None:
        """Send that as soon as the peer takes it."""
        if not self.closed and not self.is_lost and self._transport is not None:
            self._transport.write(data)

    def close(self, reason: str) -> None:
        """End it. What waits for the peer is sent if it takes it at once."""
        if self.closed:
            return
        if self._transport is not None:
            if self.backlog > LOW_BYTES:
                self._transport.abort()
            else:
                self._transport.close()
        self._end(reason)

    def _end(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self.busy = False
            self._incoming.clear()
            if self._stalled is not None:
                self._stalled.cancel()
            self.on_close(self._reason or reason)


class Dialer:
    """Keeps a connection to an active target: when it ends it is made again, after 1 s at first, then after ever
    longer, up to 8 s. `state`: "connecting", "active", "backoff"."""

    def __init__(
        self,
        target: Target,
        opened: Callable[[Stream], None],
        tls: Tls | None = None,
        *,
        max_backoff_s: float = MAX_BACKOFF_S,
    ) -> None:
        if target.kind == "ssl" and tls is None:
            raise ConfigError(f"target {target.text!r} needs a private key, a certificate and that of an authority")
        self.target = target
        self._opened = opened
        self._context = tls.context(server=False) if tls is not None and target.kind == "ssl" else None
        self._max_backoff_s = max_backoff_s
        self.state = "connecting"
        self.last_error = ""
        self.attempts = 0
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"connection to {self.target.text}")

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._stream is not None:
            self._stream.close("the switch ends")

    async def _keep(self) -> None:
        backoff_s = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self.state = "connecting"
            self.attempts += 1
            ended: asyncio.Future[None] = loop.create_future()
            begun_s = loop.time()
            try:
                async with asyncio.timeout(CONNECT_S):
                    self._stream = await self._connect(ended)
            except (OSError, ssl.SSLError, TimeoutError) as problem:
                self._failed(_why(problem))
            else:
                self.state, self.last_error = "active", ""
                logger.info("%s: connected", self.target.text)
                await ended
                self._stream = None
            if loop.time() - begun_s > backoff_s + FIRST_BACKOFF_S:
                backoff_s = 0.0  # it was there for a while
            backoff_s = min(backoff_s * 2 or FIRST_BACKOFF_S, self._max_backoff_s)
            self.state = "backoff"
            await asyncio.sleep(backoff_s)

    def _failed(self, problem: str) -> None:
        if problem != self.last_error:  # once for each cause
            logger.warning("%s: %s", self.target.text, problem)
        self.last_error = problem

    async def _connect(self, ended: asyncio.Future[None]) -> Stream:
        loop = asyncio.get_running_loop()

        def opened(stream: Stream) -> None:
            self._opened(stream)
            before = stream.on_close

            def closed(reason: str) -> None:
                before(reason)
                if not ended.done():
                    ended.set_result(None)
                logger.info("%s: disconnected: %s", self.target.text, reason)

            stream.on_close = closed

        def protocol() -> Stream:
            return Stream(opened, self.target.text)

        target = self.target
        if target.kind == "unix":
            return (await loop.create_unix_connection(protocol, target.path))[1]
        return (await loop.create_connection(protocol, target.host, target.port, ssl=self._context))[1]


def _why(problem: Exception) -> str:
    """In the words that people know."""
    if isinstance(problem, ssl.SSLError):
        return f"TLS: {problem.reason or problem}"
    if isinstance(problem, OSError) and problem.errno:
        return os.strerror(problem.errno)
    return str(problem) or f"no connection within {CONNECT_S:g} s"


class Listener:
    """Takes connections at a passive target. `port`: that which it listens at, if it was asked for any (0)."""

    def __init__(self, target: Target, opened: Callable[[Stream], None], tls: Tls | None = None) -> None:
        if target.kind == "ssl" and tls is None:
            raise ConfigError(f"target {target.text!r} needs a private key, a certificate and that of an authority")
        self.target = target
        self._opened = opened
        self._context = tls.context(server=True) if tls is not None and target.kind == "ssl" else None
        self._server: asyncio.Server | None = None
        self._streams: set[Stream] = set()
        self._greeting: set[asyncio.Task[None]] = set()
        self._inode = 0
        self.refused = 0
        self.port = target.port

    async def start(self) -> None:
        """Begin, on the running event loop. ConfigError: it cannot be listened there."""
        loop = asyncio.get_running_loop()
        try:
            if self.target.kind == "unix":
                path = Path(self.target.path)
                _remove_dead_socket(path)
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._server = await loop.create_unix_server(self._protocol, str(path))
                path.chmod(0o600)
                self._inode = path.stat().st_ino
            else:
                self._server = await loop.create_server(
                    self._protocol, self.target.host or None, self.target.port, reuse_address=True
                )
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as problem:
            raise ConfigError(f"cannot listen at {self.target.text}: {problem.strerror or problem}") from problem

    async def stop(self) -> None:
        """No more of it, nor of the connections that it has taken."""
        if self._server is not None:
            self._server.close()
        for task in self._greeting:
            task.cancel()
        for stream in list(self._streams):
            stream.close("the switch ends")
        if self._inode:
            path = Path(self.target.path)
            with contextlib.suppress(OSError):
                if path.stat().st_ino == self._inode:  # and not that of another one, which has taken its place
                    path.unlink()

    def _protocol(self) -> asyncio.Protocol:
        if self._context is not None:
            return _Gate(self._greet)
        return Stream(self._take, self.target.text)

    def _has_room(self) -> bool:
        """Whether one more may be taken; else it is counted."""
        if len(self._streams) + len(self._greeting) < MAX_STREAMS:
            return True
        self.refused += 1
        return False

    def _greet(self, transport: asyncio.Transport) -> None:
        if not self._has_room():
            transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._agree(transport), name=f"TLS at {self.target.text}")
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _agree(self, transport: asyncio.Transport) -> None:
        stream = Stream(self._keep, self.target.text)
        assert self._context is not None
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, stream, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as problem:  # of TLS, too
            logger.debug("%s: %s", self.target.text, _why(problem))
            transport.abort()
            return
        if secured is not None:  # and gone already
            stream.connection_made(secured)

    def _take(self, stream: Stream) -> None:
        if self._has_room():
            self._keep(stream)
        else:
            stream.close(f"{MAX_STREAMS} connections are there already")

    def _keep(self, stream: Stream) -> None:
        self._streams.add(stream)
        self._opened(stream)
        before = stream.on_close

        def closed(reason: str) -> None:
            self._streams.discard(stream)
            before(reason)

        stream.on_close = closed


class _Gate(asyncio.Protocol):
    """A connection before TLS."""

    def __init__(self, made: Callable[[asyncio.Transport], None]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._made(cast("asyncio.Transport", transport))


def _remove_dead_socket(path: Path) -> None:
    """Of a process that was killed. ConfigError: somebody listens there, or it is no socket."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} is there, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            return
    raise ConfigError(f"another process listens at {path}")
