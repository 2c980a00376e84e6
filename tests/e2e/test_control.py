"""Who may do what with a datapath: one process controls it, any may read; loops that answer packets, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.datapaths import (
    ROOT,
    Controller,
    command,
    connect,
    frame,
    is_test,
    left_behind,
    reach,
    require_sound,
    said_by_child,
)
from tests.lab import NAMESPACES, Host, Lab, inside, patience, wait_until
from vswitch import (
    BusyError,
    Clone,
    ConfigError,
    Datapath,
    ExistsError,
    Match,
    Megaflow,
    Miss,
    NotFoundError,
    Output,
    PortKind,
    Rule,
)

# ---- one controls, others read

CONTROLLING = """
dp = Datapath.create(name, ports=["h1-port", "h2-port"])
dp.flows.add(Match(in_port=1), (Clone((Output(0),)), Output(2)), priority=5)
dp.flows.add(Match(in_port=2), Output(1))
dp.meters.set(5, 1000, "kbps", 64)
done()
dp.ports.add("h3-port", 30)
dp.flows.add(Match(in_port=30, eth_type=0x800), Output(1))
dp.flows.delete(Match(in_port=2))
dp.meters.delete(5)
done("changed")
dp.close()
done("closed")
"""


def test_second_controller_is_told_who_the_first_is(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Controller(name, CONTROLLING) as controller:
        controller.wait_for()
        said = rf"datapath {name} is controlled by another process \(pid {controller.pid}\)"
        with pytest.raises(BusyError, match=said):
            Datapath.open(name)
        with pytest.raises(BusyError, match=said):
            Datapath.delete(name)
        with pytest.raises(BusyError, match=said):
            Datapath.create(name, exist_ok=True)
        with pytest.raises(ExistsError, match=f"datapath {name} exists already"):
            Datapath.create(name)
        assert Datapath.list().count(name) == 1
        for what in ("changed", "closed"):
            controller.go_on()
            controller.wait_for(what)
        with Datapath.open(name) as dp:  # it has given up control, and still runs
            require_sound(dp)
            with pytest.raises(BusyError, match=f"datapath {name} is controlled by this process already"):
                Datapath.open(name)
        Datapath.open(name).close()


def test_forked_process_may_read_and_not_change(dp: Datapath) -> None:
    controller = os.getpid()

    def try_all() -> str:
        said = [str(len(dp.flows)), dp.ports[1].name, dp.name]
        for what, change in CHANGES.items():
            try:
                change(dp)
            except BusyError as problem:
                said.append(str(problem))
            else:
                said.append(f"{what} was done")
        dp.close()
        dp.__exit__(None, None, None)
        return "\n".join(said)

    flows, port, name, *said = said_by_child(try_all).split("\n")
    assert (flows, port, name) == ("2", "h1-port", dp.name)
    for sentence in said:
        assert re.search(
            rf" needs control of datapath {name}, which process {controller} has: this one \(pid \d+\) was forked",
            sentence,
        )
    assert len(said) == len(CHANGES)
    dp.flows.add(RULE)
    require_sound(dp)


def test_reader_beside_the_controller_sees_what_it_does(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Controller(name, CONTROLLING) as controller:
        controller.wait_for()
        with Datapath.open(name, control=False) as reader, Datapath.open(name, control=False) as other:
            assert reach(hosts[0], hosts[1])
            flow = reader.flows.get(Match(in_port=1), 5)
            assert flow == Megaflow(Match(in_port=1), (Clone((Output(0),)), Output(2)), 5)
            assert flow.stats.packets == 2
            assert set(reader.flows) == set(other.flows)
            assert (len(reader.flows), reader.stats().flows, reader.stats().masks) == (2, 2, 2)
            assert [count for _, _, count in reader.flows.masks] == [1, 1]
            assert reader.stats().hit == 4
            assert reader.ports.stats("h1-port").rx_packets == 2
            assert (reader.ports[1].up, reader.ports[1].mtu) == (True, 1500)
            assert reader.ports[0].kind is PortKind.INTERNAL
            assert reader.meters.get(5).rate == 1000
            assert [number for number in range(70) if number in reader.ports] == [0, 1, 2]
            controller.go_on()
            controller.wait_for("changed")
            assert {flow.match for flow in reader.flows} == {Match(in_port=1), Match(in_port=30, eth_type=0x800)}
            assert reader.ports.numbers() == {name: 0, "h1-port": 1, "h2-port": 2, "h3-port": 30}
            assert reader.ports["h3-port"].up
            assert len(reader.ports) == 4
            assert reader.meters.list() == []
            with pytest.raises(NotFoundError, match="no megaflow"):
                reader.flows.get(Match(in_port=2))
            assert len(reader.flows) == 2


RULE = Rule(Match(in_port=1, eth_type=0x800), (Clone((Output(1),)), Output(2)), priority=3)
THERE = Rule(Match(in_port=1), (Output(2),))

CHANGES: dict[str, Callable[[Datapath], object]] = {
    "flows.add": lambda dp: dp.flows.add(RULE),
    "flows.add_many": lambda dp: dp.flows.add_many([RULE]),
    "flows.add_many, none": lambda dp: dp.flows.add_many([]),
    "flows.put": lambda dp: dp.flows.put(THERE),
    "flows.put, new": lambda dp: dp.flows.put(RULE),
    "flows.modify": lambda dp: dp.flows.modify(THERE.match, Output(1)),
    "flows.modify, absent": lambda dp: dp.flows.modify(RULE),
    "flows.delete": lambda dp: dp.flows.delete(THERE),
    "flows.delete, absent": lambda dp: dp.flows.delete(RULE),
    "flows.delete_many": lambda dp: dp.flows.delete_many([THERE]),
    "flows.flush": lambda dp: dp.flows.flush(),
    "flows.expire": lambda dp: dp.flows.expire(1 << 62),
    "flows.replace": lambda dp: dp.flows.replace([RULE]),
    "transaction": lambda dp: dp.transaction(),
    "ports.add": lambda dp: dp.ports.add("h3-port"),
    "ports.add, internal": lambda dp: dp.ports.add("lan0", kind="internal"),
    "ports.remove": lambda dp: dp.ports.remove(1),
    "ports.remove, absent": lambda dp: dp.ports.remove(99),
    "ports.events": lambda dp: dp.ports.events(),
    "meters.set": lambda dp: dp.meters.set(1, 100),
    "meters.delete": lambda dp: dp.meters.delete(5),
    "execute": lambda dp: dp.execute(frame()),
    "execute, actions": lambda dp: dp.execute(frame(), RULE.actions),
    "start_upcalls": lambda dp: dp.start_upcalls(),
    "run": lambda dp: dp.run(timeout_s=0),
    "misses": lambda dp: list(dp.misses(timeout_s=0)),
    "serve": lambda dp: asyncio.run(dp.serve()),
    "async_misses": lambda dp: asyncio.run(anext(dp.async_misses())),  # type: ignore[arg-type]
}
READS: dict[str, Callable[[Datapath], object]] = {
    "stats": lambda dp: dp.stats(),
    "flows": lambda dp: list(dp.flows),
    "len(flows)": lambda dp: len(dp.flows),
    "flows.masks": lambda dp: dp.flows.masks,
    "flows.get": lambda dp: dp.flows.get(THERE),
    "ports": lambda dp: list(dp.ports),
    "len(ports)": lambda dp: len(dp.ports),
    "ports[1]": lambda dp: dp.ports[1],
    "in ports": lambda dp: 1 in dp.ports,
    "ports.stats": lambda dp: dp.ports.stats(1),
    "meters.get": lambda dp: dp.meters.get(5),
    "meters.list": lambda dp: dp.meters.list(),
}


@contextlib.contextmanager
def raising(kind: type[Exception], said: str, what: str) -> Iterator[None]:
    try:
        yield
    except kind as problem:
        assert said in str(problem), what  # noqa: PT017
    else:
        pytest.fail(f"{what}: nothing was raised")


def test_nothing_can_be_changed_without_control(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.meters.set(5, 1000)
    with Datapath.open(dp.name, control=False) as reader:
        for what, change in CHANGES.items():
            with raising(BusyError, f"needs control of datapath {dp.name}, which was opened for reading", what):
                change(reader)
            assert {flow.rule for flow in dp.flows} == {THERE, Rule(Match(in_port=2), (Output(1),))}, what
            assert [port.number for port in dp.ports] == [1, 2], what
            assert [meter.number for meter in dp.meters.list()] == [5], what
            require_sound(dp)
        for read in READS.values():
            read(reader)
    assert reach(hosts[0], hosts[1])


@pytest.mark.parametrize("control", [True, False])
def test_closed_datapath_says_so(dp: Datapath, control: bool) -> None:
    if not control:
        dp.close()
    closed = Datapath.open(dp.name, control=control) if not control else dp
    closed.close()
    closed.close()
    for what, use in (CHANGES | READS).items():
        with raising(ConfigError, f"datapath {dp.name} is closed", what):
            use(closed)
    assert repr(closed) == f"Datapath({dp.name!r}, closed)"
    assert closed.name == dp.name
    with Datapath.open(dp.name) as opened:
        require_sound(opened)
        assert len(opened.flows) == 2


# ---- network namespaces


def test_datapath_is_changed_from_its_own_network_namespace_only(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    name = dp.name
    elsewhere = rf"datapath {name} is in another network namespace: change it from there"
    with hosts[2].inside():
        with pytest.raises(ConfigError, match=elsewhere):
            dp.ports.add("eth0")
        with pytest.raises(ConfigError, match=elsewhere):
            dp.ports.remove(1)
    dp.close()
    with hosts[2].inside():
        assert name in Datapath.list()
        with pytest.raises(ConfigError, match=elsewhere):
            Datapath.open(name)
        with pytest.raises(ConfigError, match=elsewhere):
            Datapath.delete(name)
        with Datapath.open(name, control=False) as reader:
            assert reader.ports.names() == {1: "h1-port", 2: "h2-port"}
            assert reader.ports[1].mac == ""
            assert len(list(reader.flows)) == 2
            assert reader.ports.stats(1).rx_packets == 0
    assert reach(hosts[0], hosts[1])
    with Datapath.open(name) as opened:
        require_sound(opened)


@pytest.mark.usefixtures("mechanism")
def test_datapath_whose_network_namespace_is_gone_can_be_deleted(name: str, lab: Lab) -> None:
    gone = f"{lab.name}-gone"
    command("ip", "netns", "add", gone)
    try:
        with inside(NAMESPACES / gone):
            Datapath.create(name).close()
            with pytest.raises(ExistsError):
                Datapath.create(name)
        with pytest.raises(ConfigError, match="is in another network namespace"):
            Datapath.delete(name)
    finally:
        command("ip", "netns", "delete", gone)
    wait_until(lambda: network_is_gone(name), "the namespace goes")
    Datapath.delete(name)
    assert name not in Datapath.list()
    Datapath.create(name).close()


def network_is_gone(name: str) -> bool:
    with pytest.raises(ConfigError) as caught:
        Datapath.open(name)
    return f"datapath {name} lost its network namespace, which is gone: delete it" in str(caught.value)


# ---- loops, and their end


def forward(miss: Miss) -> tuple[Match, Output]:
    return Match.exact(miss.key, "in_port", "eth_type"), Output(3 - miss.port)


@contextlib.contextmanager
def ends_soon(what: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < 2 * patience(), f"{what} took too long"


def take_all(dp: Datapath) -> None:
    for miss in dp.misses():
        miss.install(*forward(miss))


@pytest.mark.parametrize("loop", [lambda dp: dp.run(), take_all, lambda dp: asyncio.run(dp.serve())])
def test_loop_ends_when_another_thread_says_so(
    dp: Datapath, hosts: tuple[Host, Host, Host], loop: Callable[[Datapath], None]
) -> None:
    dp.flows.flush()
    dp.on_miss(forward)
    dp.start_upcalls()
    thread = threading.Thread(target=loop, args=(dp,))
    thread.start()
    try:
        assert reach(hosts[0], hosts[1])
    finally:
        with ends_soon("the loop"):
            dp.stop()
            thread.join(10)
    assert not thread.is_alive()
    assert len(dp.flows) >= 2


def test_loop_ends_when_its_time_is_over(dp: Datapath) -> None:
    for loop in (lambda: dp.run(timeout_s=0.3), lambda: list(dp.misses(timeout_s=0.3))):
        begin = time.monotonic()
        loop()
        assert 0.29 < time.monotonic() - begin < 2 * patience()


def test_handler_may_stop_its_own_loop(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.flows.flush()

    @dp.on_miss
    def once(miss: Miss) -> tuple[Match, Output]:
        dp.stop()
        return forward(miss)

    dp.start_upcalls()
    with hosts[1].capturing(is_test) as received:
        hosts[0].send(frame())
        with ends_soon("run"):
            dp.run()
        received.wait_for(1)
    assert received == [frame()]


def test_slow_coroutine_answers_in_order_while_the_event_loop_goes_on(
    dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    """Other tasks run while a handler waits; the packets that came meanwhile follow behind the first."""
    dp.flows.flush()
    asked: list[int] = []
    ticks = 0

    async def handler(miss: Miss) -> tuple[Match, Output]:
        asked.append(miss.port)
        await asyncio.sleep(0.3)
        return forward(miss)

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def main() -> None:
        dp.start_upcalls()
        serving = asyncio.create_task(dp.serve(handler))
        ticking = asyncio.create_task(tick())
        await asyncio.to_thread(hosts[0].send_many, [frame(60, number) for number in range(40)])
        await asyncio.to_thread(received.wait_for, 40)
        dp.stop()
        await asyncio.wait_for(serving, 2 * patience())
        ticking.cancel()

    with hosts[1].capturing(is_test) as received:
        asyncio.run(main())
    assert received == [frame(60, number) for number in range(40)]
    assert asked == [1]
    assert ticks > 15
    assert dp.upcall_stats.joined == 39


def test_plain_function_serves_too_and_a_failing_one_loses_its_own_packet_only(
    dp: Datapath, hosts: tuple[Host, Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    dp.flows.flush()

    def handler(miss: Miss) -> tuple[Match, Output] | Awaitable[tuple[Match, Output]]:
        if miss.packet[17] == 3:
            raise ValueError("of the handler's own")
        miss.send(Output(2))
        return None  # type: ignore[return-value]

    async def main() -> None:
        dp.start_upcalls()
        serving = asyncio.create_task(dp.serve(handler))
        await asyncio.to_thread(hosts[0].send_many, [frame(60, number) for number in range(6)])
        await asyncio.to_thread(received.wait_for, 5)
        dp.stop()
        await asyncio.wait_for(serving, 2 * patience())

    with hosts[1].capturing(is_test) as received:
        asyncio.run(main())
    assert received == [frame(60, number) for number in (0, 1, 2, 4, 5)]
    assert dp.upcall_stats.failed == 1
    assert "of the handler's own" in caplog.text


def test_async_misses_are_taken_until_a_task_stops_them(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.flows.flush()
    ports: list[int] = []

    async def take() -> None:
        async for miss in dp.async_misses():
            ports.append(miss.port)
            await asyncio.sleep(0.01)
            miss.install(*forward(miss))

    async def main() -> None:
        dp.start_upcalls()
        taking = asyncio.create_task(take())
        assert await asyncio.to_thread(reach, hosts[0], hosts[1])
        dp.stop()
        with ends_soon("async_misses"):
            await asyncio.wait_for(taking, 2 * patience())

    asyncio.run(main())
    assert set(ports) == {1, 2}
    assert len(dp.flows) == len(ports)


def test_what_a_handler_awaits_may_be_cancelled_and_the_loop_goes_on(
    dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    """It costs the handler's packet, as whatever it raises does; the loop ends when its own task is cancelled."""
    dp.flows.flush()
    asked: list[int] = []

    async def answer(miss: Miss) -> None:
        asked.append(len(asked))
        if len(asked) <= 2:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        if len(asked) == 5:
            await asyncio.sleep(100)
        miss.send(Output(2))

    async def main() -> None:
        dp.start_upcalls()
        serving = asyncio.create_task(dp.serve(answer))
        await asyncio.to_thread(hosts[0].send_many, [frame(60, number) for number in range(5)])
        while len(asked) < 5:
            assert not serving.done()
            await asyncio.sleep(0.01)
        assert dp.upcall_stats.failed == 2
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    with hosts[1].capturing(is_test) as received:
        asyncio.run(asyncio.wait_for(main(), 10 * patience()))
        received.wait_for(2)
    assert received == [frame(60, number) for number in (2, 3)]
    assert dp.upcall_stats.drops == {"failed": 2, "unanswered": 1}
    assert isinstance(dp.last_failure, asyncio.CancelledError)


def test_task_that_is_cancelled_leaves_the_datapath_in_order(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    """In the middle of a batch: what the handler did not answer is dropped, and the next loop goes on."""
    dp.flows.flush()

    async def never(miss: Miss) -> None:
        await asyncio.sleep(100)

    async def main() -> None:
        dp.start_upcalls()
        serving = asyncio.create_task(dp.serve(never))
        await asyncio.to_thread(hosts[0].send_many, [frame(60, number) for number in range(5)])
        await asyncio.sleep(0.3 * patience())
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    asyncio.run(main())
    assert dp.upcall_stats.handled == 1
    with hosts[1].capturing(is_test) as received:
        for miss in dp.misses(timeout_s=patience()):
            miss.install(*forward(miss))
        time.sleep(0.7)  # for 0.5 s packets may come up behind those that Python had
        hosts[0].send(frame(60, 9))
        received.wait_for(5)
    assert received == [frame(60, number) for number in (1, 2, 3, 4, 9)]


# ---- with blocks


def test_with_block_deletes_what_it_created_unless_it_is_kept(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Datapath.create(name) as dp:
        assert name in Datapath.list()
    assert name not in Datapath.list()
    with pytest.raises(ConfigError, match="closed"):
        dp.stats()
    with Datapath.create(name, ports=["h1-port"]) as dp:
        dp.keep()
    with Datapath.open(name) as dp:
        assert [port.number for port in dp.ports] == [0, 1]
    assert name in Datapath.list()
    with pytest.raises(RuntimeError), Datapath.open(name):
        raise RuntimeError
    assert name in Datapath.list()
    with pytest.raises(RuntimeError), Datapath.create(f"{name}b"):
        raise RuntimeError
    assert f"{name}b" not in Datapath.list()
    Datapath.delete(name)
    with pytest.raises(NotFoundError, match=f"datapath {name} does not exist"):
        Datapath.delete(name)
    with Datapath.create(name) as dp:
        dp.close()
    assert name in Datapath.list(), "closed before the end of the block: not deleted"


def test_exist_ok_takes_over_and_adds_what_is_missing(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Datapath.create(name, ports=["h1-port"], local=False, max_flows=100, cache_entries=100) as dp:
        dp.flows.add(Match(in_port=1), Output(2))
        dp.keep()
    with pytest.raises(ConfigError, match=f"datapath {name} exists with max_flows 100, not 200"):
        Datapath.create(name, exist_ok=True, max_flows=200)
    with pytest.raises(NotFoundError, match="device absent does not exist"):
        Datapath.create(name, ports=["h2-port", "absent"], exist_ok=True)
    with Datapath.open(name) as dp:
        assert dp.ports.names() == {1: "h1-port"}, "nothing is added if not all can be"
    arguments = {"max_flows": 100, "cache_entries": 100, "ports": ["h1-port", "h2-port"]}
    with Datapath.create(name, exist_ok=True, **arguments) as dp:  # type: ignore[arg-type]
        assert dp.ports.names() == {0: name, 1: "h1-port", 2: "h2-port"}
        dp.flows.add(Match(in_port=2), Output(1))
        assert reach(hosts[0], hosts[1])
        require_sound(dp)
    assert name not in Datapath.list()
    with Datapath.create(name, exist_ok=True, local=False) as dp:
        assert len(dp.flows) == len(dp.ports) == 0


def test_process_that_ends_without_closing_leaves_the_datapath(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Controller(name, 'dp = Datapath.create(name, ports=["h1-port", "h2-port"])\n') as controller:
        assert controller.end()[0] == 0
    with Datapath.open(name) as dp:
        connect(dp, 1, 2)
        assert reach(hosts[0], hosts[1])
    assert dp.name == name
    assert os.getpid() != controller.pid


# ---- in a mount namespace that goes with its command


def test_what_a_command_in_a_namespace_makes_is_there_afterwards(lab: Lab, name: str) -> None:
    """`ip netns exec` gives each command a /sys of its own, where a bpf file system would end with the command."""
    h1, h2 = (lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in (1, 2))
    namespace = Path("/proc/thread-self/ns/net").readlink()
    (here,) = [path.name for path in NAMESPACES.iterdir() if f"net:[{path.stat().st_ino}]" == str(namespace)]

    def vswitch(*words: str) -> str:
        return command("ip", "netns", "exec", here, sys.executable, "-m", "vswitch", "dpctl", *words)

    vswitch("add-dp", name, h1.port, h2.port)
    assert name in vswitch("list").split()
    vswitch("add-flow", name, "in_port(1)", "2")
    vswitch("add-flow", name, "in_port(2)", "1")
    assert reach(h1, h2)
    assert name in Datapath.list()
    with contextlib.closing(Datapath.open(name)) as dp:
        assert len(dp.flows) == 2
    vswitch("del-dp", name)
    assert left_behind(name) == []


def test_devices_whose_pins_are_gone_are_no_hindrance(name: str, hosts: tuple[Host, Host, Host]) -> None:
    def lose_pins() -> None:
        Datapath.create(name, ports=[hosts[0].port]).close()
        shutil.rmtree(ROOT / name)

    lose_pins()
    with Datapath.create(name, ports=[hosts[0].port]) as dp:
        require_sound(dp)
    lose_pins()
    Datapath.delete(name)
    assert left_behind(name) == []
    with pytest.raises(NotFoundError):
        Datapath.delete(name)


# ---- two loops


def test_second_loop_is_refused_while_the_first_waits(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    async def main() -> None:
        first = asyncio.ensure_future(dp.serve())
        await asyncio.sleep(0.05)
        with pytest.raises(ConfigError, match="or waits for one"):
            await dp.serve()
        with pytest.raises(ConfigError, match="or waits for one"):
            dp.run(timeout_s=0.1)
        with pytest.raises(ConfigError, match="or waits for one"):
            next(dp.misses(0.1))
        dp.stop()
        await asyncio.wait_for(first, 5)

    asyncio.run(main())
    dp.run(timeout_s=0.01)
    assert list(dp.misses(0.01)) == []
    asyncio.run(main())


# ---- timeouts of what is there already


def test_timeouts_that_are_given_later_count_from_then(dp: Datapath) -> None:
    match = Match(in_port=7)
    dp.flows.add(match, Output(1))
    time.sleep(0.3)
    now_ns = time.monotonic_ns
    for hard_s, idle_s in ((0.2, None), (None, 0.2)):
        dp.flows.put(match, Output(2), hard_timeout_s=hard_s, idle_timeout_s=idle_s)
        assert dp.flows.expire() == []
        assert [flow.match for flow in dp.flows.expire(now_ns() + 250_000_000)] == [match]
        dp.flows.add(match, Output(1))
        time.sleep(0.3)
    dp.flows.put(match, Output(2), hard_timeout_s=0.1)
    dp.flows.modify(match, Output(1))
    assert dp.flows.get(match).hard_timeout_s is None
    assert dp.flows.expire(now_ns() + 10**12) == []
