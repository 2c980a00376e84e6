"""Peers that mean no good, and what goes away in the middle: the switch lives, traffic goes on, memory has bounds."""

from __future__ import annotations

import itertools
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.datapaths import command, frame, is_test, pinging, plug
from tests.lab import Host, wait_until
from tests.openflow_client import Client
from tests.running import Running
from vswitch.messages.actions import Group, Output
from vswitch.messages.control import BundleAdd, BundleControl, BundleControlType, Error
from vswitch.messages.flows import Bucket, FlowCommand, FlowMod, GroupCommand, GroupMod, PacketIn, PacketOut
from vswitch.messages.match import FlowMatch
from vswitch.openflow.codec import encode

Hosts = tuple[Host, Host, Host]
PORT = 6653
MOST_MB = 200
"""What a peer may make the switch's memory grow by: buffers, and pieces that Python gives back late."""


@pytest.fixture
def words(hosts: Hosts) -> list[str]:
    ports = [word for host in hosts for word in ("--port", host.port)]
    return [*ports, "--no-local", "--fail-mode", "secure", "--listen", f"ptcp:{PORT}:127.0.0.1", "--max-flows", "20000",
            "--probe", "0"]  # fmt: skip


@pytest.fixture
def switch(name: str, tmp_path: Path, words: list[str], hosts: Hosts) -> Iterator[Running]:
    """Hosts reach each other, each TCP connection by a megaflow of its own. At the end it still does its work, and its
    memory is about what it was."""
    one, two, _ = hosts
    with closing(Running(name, tmp_path, *words)) as running:
        for number, host in enumerate(hosts, 1):
            running.ofctl("add-flow", f"table=0,priority=100,dl_dst={host.mac},actions=resubmit(,1)")
            running.ofctl("add-flow", f"table=1,priority=100,dl_dst={host.mac},actions=output:{number}")
        running.ofctl("add-flow", "table=0,priority=200,tcp,tp_src=65535,actions=drop")
        assert one.ping(two.ip, count=3, interval_s=0.05).received == 3
        before = memory_mb(running)
        yield running
        assert running.process.poll() is None, running.said()
        assert "OFPST" in running.ofctl("dump-flows", "table=1")
        url = one.serve_http(content="still there")
        assert two.curl(url) == "still there"
        assert "Traceback" not in running.said(), running.said()
        assert memory_mb(running) - before < MOST_MB
        assert running.end() == 0


@pytest.fixture
def running(switch: Running, hosts: Hosts) -> Iterator[Running]:
    """The same, which does not lose a single ping from host 1 to host 2."""
    with pinging(hosts[0], hosts[1].ip, interval_s=0.01) as seen:
        yield switch
    assert seen.sent > 20
    assert not seen.lost


def memory_mb(running: Running) -> int:
    """What it has in memory now."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) >> 10


def flow(number: int) -> FlowMod:
    match = FlowMatch(eth_type=0x800, ipv4_dst=number)
    return FlowMod(FlowCommand.ADD, match, priority=5, actions=(Output(2),), table=7)


def is_ended(client: Client) -> bool:
    """Whether the switch has ended this connection; what it says before is read."""
    client.socket.settimeout(20)
    with suppress(ConnectionError):
        while client.socket.recv(1 << 16):
            pass
    return True


def test_garbage(running: Running) -> None:
    chance = random.Random(5)
    for size in (1, 7, 8, 100, 5000, 100_000):
        with Client(PORT, 0) as client:
            client.socket.sendall(chance.randbytes(size))
            client.socket.shutdown(socket.SHUT_WR)
            assert is_ended(client)
    for version in range(1, 7):
        with Client(PORT, version) as client:
            for kind in range(40):
                body = chance.randbytes(chance.choice((0, 4, 8, 40, 48, 200)))
                with suppress(ConnectionError):
                    client.socket.sendall(bytes([version, kind]) + (8 + len(body)).to_bytes(2, "big") + bytes(4) + body)
            with suppress(ConnectionError):
                client.barrier()


def test_messages_with_a_wrong_bit(running: Running) -> None:
    chance = random.Random(6)
    buckets = (Bucket(actions=(Output(2),)), Bucket(actions=(Output(3),)))
    messages = [flow(1), GroupMod(GroupCommand.ADD, 1, buckets=buckets), PacketOut(frame(), (Output(2),), FlowMatch())]
    with Client(PORT) as client:
        for message, _ in itertools.product(messages, range(300)):
            data = bytearray(encode(message, 4, 1))
            data[chance.randrange(8, len(data))] ^= 1 << chance.randrange(8)
            client.socket.sendall(data)
        client.barrier()
    running.ofctl("del-flows", "table=7")
    running.ofctl("del-groups")


def test_half_messages_of_as_many_as_may_connect(running: Running) -> None:
    with ExitStack() as stack:
        data = encode(flow(1), 4, 1)
        for number in range(300):
            client = stack.enter_context(closing(Client(PORT, 0)))
            with suppress(ConnectionError):
                client.socket.sendall(encode(BundleControl(1, BundleControlType.OPEN_REQUEST), 4, 1)[: number % 8])
        assert "table=7" not in running.ofctl("dump-flows")
    with Client(PORT) as client:
        client.socket.sendall(data[:40])
        client.socket.sendall((4).to_bytes(1, "big") + bytes([14]) + (0xFFFF).to_bytes(2, "big"))
    assert "table=7" not in running.ofctl("dump-flows")


def test_more_flows_than_there_is_room_for(running: Running) -> None:
    refused: Counter[str] = Counter()
    with Client(PORT) as client:
        for begin in range(0, 60_000, 1000):
            client.send(*(flow(number) for number in range(begin, begin + 1000)))
            refused.update(each.error for each in client.barrier() if isinstance(each, Error))
        assert refused == {"flow_mod_failed.table_full": 40_000}
        assert running.ofctl("dump-aggregate", "table=7").rstrip().endswith("flow_count=20000")
        client.send(FlowMod(FlowCommand.DELETE, FlowMatch(eth_type=0x800, ipv4_dst=7), table=7), flow(99_999))
        assert not client.barrier()
    running.ofctl("del-flows", "table=7")


@pytest.mark.slow
def test_as_many_flows_as_one_likes_beyond_the_room_leave_memory_as_it_is(running: Running) -> None:
    """What is refused is not kept, so that ten millions need no more than the first fifty thousand."""
    head, tail = encode(flow(0xA1B2C3D4), 4, 1).split(bytes.fromhex("a1b2c3d4"))
    memory, refused = [], 0
    with Client(PORT) as client:
        for begin in range(0, 300_000, 1000):
            numbers = (number.to_bytes(4, "big") for number in range(begin, begin + 1000))
            client.socket.sendall(b"".join(head + number + tail for number in numbers))
            refused += sum(isinstance(each, Error) for each in client.barrier())
            if begin % 50_000 == 49_000:
                memory.append(memory_mb(running))
    assert refused == 300_000 - 20_000
    assert running.ofctl("dump-aggregate", "table=7").rstrip().endswith("flow_count=20000")
    assert max(memory) - memory[0] < 20, memory
    running.ofctl("del-flows", "table=7")


def test_flows_without_end_and_nothing_read(running: Running) -> None:
    """Each is refused, so refusals pile up until the switch listens no more to who does not listen."""
    data = encode(FlowMod(FlowCommand.ADD, FlowMatch(), priority=1, table=255), 4, 1) * 1000
    with Client(PORT) as client:
        client.socket.settimeout(3)
        sent = 0
        with suppress(TimeoutError):
            while sent < 200 << 20:
                sent += client.socket.send(data)
        assert sent < 100 << 20


def test_bundles_that_are_never_committed(running: Running) -> None:
    with Client(PORT, 5) as client:
        for number in range(200):
            client.send(BundleControl(number, BundleControlType.OPEN_REQUEST, 3))
            for each in range(100):
                xid = 50_000 + each
                client.send(BundleAdd(number, 3, flow(each), xid), xid=xid)
        refused = {each.error for each in client.barrier() if isinstance(each, Error)}
    assert "bundle_failed.out_of_bundles" in refused
    assert "table=7" not in running.ofctl("dump-flows")


def test_packet_outs_without_end_delay_nobody(running: Running, hosts: Hosts) -> None:
    one, two, three = hosts
    url = two.serve_http(8080, content="beside packet-outs")
    out = PacketOut(frame(1000), (Output(3),), FlowMatch(in_port=1))
    over = threading.Event()
    with Client(PORT) as client, Client(PORT) as other:
        data = encode(out, 4, 1) * 100

        def pour() -> None:
            client.socket.settimeout(1)
            while not over.is_set():
                with suppress(TimeoutError):
                    client.socket.send(data)

        pouring = threading.Thread(target=pour)
        with three.capturing(is_test) as frames:
            pouring.start()
            try:
                for _ in range(10):
                    assert one.curl(url) == "beside packet-outs"
                    assert not other.barrier()
                    running.ofctl("dump-flows", "table=1")
                frames.wait_for(1000)
            finally:
                over.set()
                pouring.join()
            client.close()  # or what waits on the way would go on to be sent
        assert len(frames) >= 1000


def test_who_stops_reading_is_told_less_and_others_all(running: Running, hosts: Hosts) -> None:
    one, _, three = hosts
    running.ofctl("add-flow", "table=0,priority=300,dl_type=0x88b5,actions=controller:65535,output:3")
    big = frame(1400)
    with Client(PORT) as good, Client(PORT) as stuck:
        with three.capturing(is_test) as frames:
            for _ in range(160):
                one.send(big, times=50)
                got = 0
                while got < 50:
                    message, _ = good.receive()
                    got += isinstance(message, PacketIn)
            frames.wait_for(8000)
        assert len(frames) == 8000
        stuck.socket.settimeout(2)
        got = 0
        with suppress(TimeoutError):
            while True:
                got += isinstance(stuck.receive()[0], PacketIn)
        assert 0 < got < 8000


def test_a_port_that_vanishes_in_a_bundle(running: Running, hosts: Hosts) -> None:
    """Its device is gone, the bundle is done whole all the same, and holds when there is a device again."""
    one, _, three = hosts
    to_three = FlowMod(FlowCommand.ADD, FlowMatch(eth_type=0x88B5), priority=500, actions=(Output(3),), table=0)
    for turn in range(3):
        with Client(PORT, 5) as client:
            client.send(BundleControl(1, BundleControlType.OPEN_REQUEST, 3))
            xid = 70_000
            for index, message in enumerate([*(flow(number) for number in range(200)), to_three]):
                if index == 100:
                    command("ip", "link", "delete", three.port)
                client.send(BundleAdd(1, 3, message, xid), xid=xid)
            assert [each for each in client.barrier() if isinstance(each, Error)] == []
            assert "table=7" not in running.ofctl("dump-flows")
            if turn:
                wait_until(lambda: "LINK_DOWN" in running.ofctl("dump-ports-desc"), "the port is down")
            client.send(BundleControl(1, BundleControlType.COMMIT_REQUEST, 3))
            assert [each for each in client.barrier() if isinstance(each, Error)] == []
        assert running.ofctl("dump-flows", "table=7").count("table=7") == 200
        one.send(frame(), times=10)
        plug(three)
        wait_until(lambda: "LINK_DOWN" not in running.ofctl("dump-ports-desc"), "the port is up")
        with three.capturing(is_test) as frames:
            one.send(frame(), times=10)
            assert len(frames.wait_for(10)) == 10
        running.ofctl("del-flows", "table=7")
        running.ofctl("del-flows", "table=0,dl_type=0x88b5")


def test_a_group_whose_port_vanishes(switch: Running, hosts: Hosts) -> None:
    one, two, three = hosts
    with Client(PORT) as client:
        buckets = (Bucket(actions=(Output(2),)), Bucket(actions=(Output(3),)))
        client.send(
            GroupMod(GroupCommand.ADD, 1, buckets=buckets),
            FlowMod(FlowCommand.ADD, FlowMatch(eth_type=0x88B5), priority=500, actions=(Group(1),), table=0),
        )
        assert not client.barrier()
        with two.capturing(is_test) as frames:
            one.send(frame(), times=10)
            command("ip", "link", "delete", three.port)
            one.send(frame(), times=10)
            assert len(frames.wait_for(20)) == 20
        plug(three)
        wait_until(lambda: "LINK_DOWN" not in switch.ofctl("dump-ports-desc"), "the port is up")
        with three.capturing(is_test) as frames:
            one.send(frame(), times=10)
            assert len(frames.wait_for(10)) == 10


def test_after_a_barrier_no_packet_takes_the_old_way_whatever_is_under_way(switch: Running, hosts: Hosts) -> None:
    one, two, three = hosts
    there = {2: two, 3: three}
    match = FlowMatch(eth_type=0x88B5)
    sent = 0

    def pour(over: threading.Event) -> None:
        nonlocal sent
        while not over.is_set():
            sent += 1
            one.send(frame(number=sent))

    with Client(PORT) as client:
        client.send(FlowMod(FlowCommand.ADD, match, priority=500, actions=(Output(2),)))
        client.barrier()
        for turn in range(20):
            new, old = (3, 2) if turn % 2 == 0 else (2, 3)
            change = FlowMod(FlowCommand.MODIFY, match, priority=500, actions=(Output(new),))
            over = threading.Event()
            pouring = threading.Thread(target=pour, args=(over,))
            with there[old].capturing(is_test) as wrong, there[new].capturing(is_test) as right:
                pouring.start()
                try:
                    time.sleep(0.05)
                    client.send(change)
                    assert not client.barrier()
                    last = sent  # it may have been under way
                    wait_until(lambda last=last: sent > last + 10, "more are sent")  # type: ignore[misc]
                finally:
                    over.set()
                    pouring.join()
            assert max(number_of(each) for each in right) > last
            assert max((number_of(each) for each in wrong), default=0) <= last


def number_of(each: bytes) -> int:
    """Of a test frame."""
    return int.from_bytes(each[14:18], "big")


def test_connections_that_come_and_go(running: Running) -> None:
    for version in itertools.islice(itertools.cycle(range(1, 7)), 300):
        with Client(PORT, version) as client:
            client.send(flow(version))
    with Client(PORT) as client:
        assert not client.barrier()
    running.ofctl("del-flows", "table=7")


def test_a_packet_that_makes_no_sense_goes_where_it_may(running: Running, hosts: Hosts) -> None:
    _, two, three = hosts
    chance = random.Random(7)
    target = bytes.fromhex(two.mac.replace(":", ""))
    running.ofctl("add-flow", "table=0,priority=400,in_port=3,ip,actions=dec_ttl,controller,resubmit(,1)")
    for kind in (0x0800, 0x86DD, 0x8100, 0x8847, 0x0806, 0x88A8):
        for size in (1, 20, 60, 400):
            three.send(target + bytes.fromhex("020000000001") + kind.to_bytes(2, "big") + chance.randbytes(size))
    running.ofctl("del-flows", "table=0,in_port=3,ip")
