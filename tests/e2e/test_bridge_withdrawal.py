"""A change withdraws the megaflows that it affects, and no other: those go on counting where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.bridges import Served, serving
from tests.lab import Host, wait_until
from vswitch.bridge.bridge import Bridge
from vswitch.fields import SLOTS
from vswitch.messages.actions import Output
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.messages.match import FlowMatch
from vswitch.packet import build

MEGAFLOWS = 20_000
BATCH = 500


def mac(number: int) -> int:
    return 0x020100000000 | number


def flow(number: int, *, port: int = 2, priority: int = 5, command: FlowCommand = FlowCommand.ADD) -> FlowMod:
    return FlowMod(command, FlowMatch(in_port=1, eth_dst=mac(number)), priority=priority, actions=(Output(port),))


@pytest.fixture
def served(name: str, hosts: tuple[Host, Host, Host]) -> Iterator[Served]:
    """A rule for each address, and a megaflow for each rule."""
    with (
        Bridge.create(
            name, ports=[host.port for host in hosts], local=False, fail_mode="secure", idle_timeout_s=600
        ) as bridge,
        serving(bridge) as served,
    ):
        served.call(lambda bridge: bridge.add_flows(flow(number) for number in range(MEGAFLOWS)))
        send_all(hosts[0], served)
        wait_until(lambda: served.call(lambda bridge: bridge.stats()["megaflows"]) == MEGAFLOWS, "all are there", 20)
        yield served


def send_all(host: Host, served: Served) -> None:
    """A frame to each address, a few at a time, so that none is lost for want of room."""
    for begin in range(0, MEGAFLOWS, BATCH):
        host.send_many(
            build.ethernet(mac(number), 0x020000000001, 0x88B5, bytes(46)) for number in range(begin, begin + BATCH)
        )
        served.call(lambda bridge: None)


CHANGES: list[tuple[str, Callable[[Bridge], object], set[int]]] = [
    ("modified", lambda bridge: bridge.modify_flows(flow(7, port=3, command=FlowCommand.MODIFY)), {7}),
    ("deleted", lambda bridge: bridge.delete_flows(flow(8, command=FlowCommand.DELETE)), {8}),
    ("added above", lambda bridge: bridge.add_flow(flow(9, port=3, priority=6)), {9}),
    ("added below", lambda bridge: bridge.add_flow(flow(10, port=3, priority=4)), set()),
    ("added elsewhere", lambda bridge: bridge.add_flow(flow(MEGAFLOWS + 1)), set()),
    ("added to another table", lambda bridge: bridge.add_flow("table=9,actions=drop"), set()),
    ("the same again", lambda bridge: bridge.add_flow(flow(11)), set()),
    (
        "many modified",
        lambda bridge: bridge.send(*(flow(n, port=3, command=FlowCommand.MODIFY_STRICT) for n in range(100, 400))),
        set(range(100, 400)),
    ),
]


def test_just_what_a_change_affects_is_withdrawn(served: Served, hosts: tuple[Host, Host, Host]) -> None:
    slots = served.call(slots_of)
    for what, change, affected in CHANGES:
        before = served.call(lambda bridge: bridge.stats()["withdrawn"])
        served.call(change)
        now = served.call(slots_of)
        assert slots.keys() - now.keys() == {mac(number) for number in affected}, what
        assert all(slots[address] == slot for address, slot in now.items()), what
        assert served.call(lambda bridge: bridge.stats()["withdrawn"]) - before == len(affected), what
        slots = now
    misses = served.call(lambda bridge: bridge.stats()["misses"])
    send_all(hosts[0], served)
    gone = MEGAFLOWS - len(slots)
    wait_until(lambda: served.call(lambda bridge: bridge.stats()["megaflows"]) == MEGAFLOWS, "all are there again", 20)
    assert served.call(lambda bridge: bridge.stats()["misses"]) - misses == gone
    packets = served.call(packets_by_address)
    assert all(packets[address] == 2 for address in slots)
    assert sum(packets.values()) == 2 * MEGAFLOWS - gone
    flows = {address_of(each.match.value): each.packets for each in served.call(lambda bridge: bridge.dump_flows())
             if each.priority == 5 and each.table == 0}  # fmt: skip
    assert flows == {mac(number): {9: 1}.get(number, 2) for number in range(MEGAFLOWS) if number != 8} | {
        mac(MEGAFLOWS + 1): 0
    }


def slots_of(bridge: Bridge) -> dict[int, int]:
    """Where the megaflow of each address lies."""
    return {address_of(each.key): each.slot for each in bridge._engine.megaflows}


def packets_by_address(bridge: Bridge) -> dict[int, int]:
    """What each megaflow has counted."""
    engine = bridge._engine
    now_ns = engine.now_ns()
    return {address_of(each.key): engine._store.stats(each.slot, now_ns).packets for each in engine.megaflows}


def address_of(key: int) -> int:
    return SLOTS["eth_dst"].take(key)
