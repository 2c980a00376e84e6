"""Connections to controllers: made again, bounded, each in its turn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from vswitch import ConfigError
from vswitch.transport import streams
from vswitch.transport.streams import Dialer, Listener, Stream
from vswitch.transport.targets import parse_target


class Owner:
    """Who is given streams; `received` of all of them."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.received = bytearray()
        self.slices: list[int] = []
        self.closed: list[str] = []

    def open(self, stream: Stream) -> None:
        self.streams.append(stream)
        stream.on_data = self.data
        stream.on_close = self.closed.append

    def data(self, data: bytes) -> None:
        self.received += data
        self.slices.append(len(data))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await test()

    asyncio.run(whole())


def test_a_listener_takes_connections_and_ends_them(tmp_path: Path) -> None:
    async def test() -> None:
        owner = Owner()
        path = tmp_path / "deep" / "bridge.sock"
        listener = Listener(parse_target(f"punix:{path}"), owner.open)
        await listener.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"hello")
        await until(lambda: owner.received == b"hello")
        owner.streams[0].write(b"there")
        assert await reader.readexactly(5) == b"there"
        await listener.stop()
        assert await reader.read() == b""
        assert owner.closed == ["the switch ends"]
        assert not path.exists()
        writer.close()

    run(test)


def test_what_was_sent_last_is_seen_before_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        owner = Owner()
        path = tmp_path / "bridge.sock"
        listener = Listener(parse_target(f"punix:{path}"), owner.open)
        await listener.start()
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(bytes(200_000))
        writer.close()
        await until(lambda: owner.closed)
        assert len(owner.received) == 200_000
        await listener.stop()

    run(test)


def test_a_socket_of_a_dead_process_makes_way_and_one_that_lives_does_not(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "bridge.sock"
        target = parse_target(f"punix:{path}")
        first = Listener(target, Owner().open)
        await first.start()
        with pytest.raises(ConfigError, match="another process listens"):
            await Listener(target, Owner().open).start()
        assert first._server is not None
        first._server.close()  # and leaves its socket behind, as one that was killed
        await first._server.wait_closed()
        path.touch() if not path.exists() else None
        if not path.is_socket():
            path.unlink()
        second = Listener(target, Owner().open)
        await second.start()
        await second.stop()

    run(test)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "precious"
        path.write_text("data")
        with pytest.raises(ConfigError, match="no socket"):
            await Listener(parse_target(f"punix:{path}"), Owner().open).start()
        assert path.read_text() == "data"

    run(test)


def test_a_dialer_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FIRST_BACKOFF_S", 0.01)

    async def test() -> None:
        owner, server = Owner(), Owner()
        listener = Listener(parse_target("ptcp:0:127.0.0.1"), server.open)
        await listener.start()
        dialer = Dialer(parse_target(f"tcp:127.0.0.1:{listener.port}"), owner.open)
        dialer.start()
        await until(lambda: len(server.streams) == 1)
        assert dialer.state == "active"
        server.streams[0].close("enough")
        await until(lambda: len(server.streams) == 2)
        assert len(owner.closed) == 1
        await dialer.stop()
        await listener.stop()

    run(test)


def test_a_dialer_waits_longer_each_time_and_says_why_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0 if len(waits) < 8 else 3600)

    async def test() -> None:
        listener = Listener(parse_target("ptcp:0:127.0.0.1"), Owner().open)
        await listener.start()
        port = listener.port
        await listener.stop()
        dialer = Dialer(parse_target(f"tcp:127.0.0.1:{port}"), Owner().open)
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", noted)
            dialer.start()
            while len(waits) < 8:
                await sleep(0.005)
        assert dialer.state == "backoff"
        assert "refused" in dialer.last_error
        await dialer.stop()

    run(test)
    assert waits == [1, 2, 4, 8, 8, 8, 8, 8]
    assert sum("refused" in record.message for record in caplog.records) == 1


def test_who_sends_without_end_leaves_the_others_their_turn(tmp_path: Path) -> None:
    async def test() -> None:
        owner, quiet = Owner(), Owner()
        path = tmp_path / "bridge.sock"
        streams_of: list[Owner] = [owner, quiet]
        listener = Listener(parse_target(f"punix:{path}"), lambda stream: streams_of.pop(0).open(stream))
        await listener.start()
        _, flood = await asyncio.open_unix_connection(str(path))
        _, other = await asyncio.open_unix_connection(str(path))
        await until(lambda: quiet.streams)
        seen_at: list[int] = []
        quiet.streams[0].on_data = lambda _data: seen_at.append(len(owner.received))
        flood.write(bytes(4 << 20))
        other.write(b"me too")
        await until(lambda: len(owner.received) == 4 << 20)
        assert seen_at
        assert seen_at[0] < 1 << 20
        assert max(owner.slices) <= streams.SLICE_BYTES
        for writer in (flood, other):
            writer.close()
        await listener.stop()

    run(test)


def test_nothing_more_is_done_for_a_peer_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.2)

    async def test() -> None:
        owner = Owner()
        path = tmp_path / "bridge.sock"
        listener = Listener(parse_target(f"punix:{path}"), owner.open)
        await listener.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        await until(lambda: owner.streams)
        stream = owner.streams[0]
        stream.on_data = lambda data: stream.write(1000 * data)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(64):
            writer.write(bytes(1 << 12))
        await until(lambda: owner.closed)
        assert "took nothing" in owner.closed[0]
        with contextlib.suppress(ConnectionError):
            writer.close()
        await listener.stop()

    run(test)


def test_what_raises_ends_its_own_connection_alone(tmp_path: Path) -> None:
    async def test() -> None:
        owner = Owner()
        path = tmp_path / "bridge.sock"
        listener = Listener(parse_target(f"punix:{path}"), owner.open)
        await listener.start()
        writers = [(await asyncio.open_unix_connection(str(path)))[1] for _ in range(2)]
        await until(lambda: len(owner.streams) == 2)

        def fail(_data: bytes) -> None:
            raise ValueError("oh")

        owner.streams[0].on_data = fail
        writers[0].write(b"x")
        writers[1].write(b"y")
        await until(lambda: owner.received == b"y" and owner.closed)
        assert owner.closed == ["handling what it sent failed"]
        for writer in writers:
            writer.close()
        await listener.stop()

    run(test)


def asking(path: Path, requests: int) -> list[bytes]:
    """What a tool in a thread of its own is answered, which asks as soon as it is answered."""
    answers = []
    with socket.socket(socket.AF_UNIX) as tool:
        tool.settimeout(20)
        tool.connect(str(path))
        for number in range(requests):
            try:
                tool.sendall(b"%06d" % number)
                answer = tool.recv(6, socket.MSG_WAITALL)
            except ConnectionError:
                break
            if not answer:
                break
            answers.append(answer)
    return answers


@pytest.mark.parametrize("ends", [False, True], ids=["stays", "is closed in the middle"])
def test_one_who_asks_at_once_is_lingered_with_and_others_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    monkeypatch.setattr(streams, "QUICK_NS", 10**10)
    monkeypatch.setattr(streams, "LINGER_NS", 5 * 10**8)  # the tool has to be as quick as that

    async def test() -> None:
        loop = asyncio.get_running_loop()
        owner = Owner()
        others = 0

        def answer(data: bytes) -> None:
            owner.data(data)
            if ends and len(owner.received) == 6 * 500:
                owner.streams[0].close("enough")
            else:
                owner.streams[0].write(data)

        def other() -> None:
            nonlocal others
            others += 1
            loop.call_soon(other)

        def opened(stream: Stream) -> None:
            owner.open(stream)
            stream.on_data = answer

        path = tmp_path / "bridge.sock"
        listener = Listener(parse_target(f"punix:{path}"), opened)
        await listener.start()
        other()
        before = others
        answers = await loop.run_in_executor(None, asking, path, 1000)
        expected = [b"%06d" % number for number in range(1000)]
        assert answers == (expected[:499] if ends else expected)
        assert owner.streams[0].lingered > (300 if ends else 700)
        assert others - before > 10, "the event loop has had no turn"
        assert bytes(owner.received) == b"".join(expected[: 500 if ends else 1000])
        await until(lambda: owner.closed)
        await listener.stop()

    run(test)


def test_one_who_does_not_ask_at_once_is_not_lingered_with(tmp_path: Path) -> None:
    async def test() -> None:
        owner = Owner()
        path = tmp_path / "bridge.sock"
        listener = Listener(parse_target(f"punix:{path}"), owner.open)
        await listener.start()
        _, writer = await asyncio.open_unix_connection(str(path))
        for _ in range(5):
            writer.write(b"x")
            await asyncio.sleep(0.01)
        await until(lambda: len(owner.received) == 5)
        assert owner.streams[0].lingered == 0
        writer.close()
        await listener.stop()

    run(test)
