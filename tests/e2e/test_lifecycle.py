"""A datapath outlives the process that controls it, however that ends: traffic goes on, and the next one takes over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.datapaths import (
    Controller,
    command,
    connect,
    frame,
    interrupted_at,
    is_test,
    killed_at,
    killed_later,
    left_behind,
    pinging,
    reach,
    remove_all,
    require_sound,
    steps_of,
)
from tests.lab import Host, patience, wait_until
from vswitch import (
    Clone,
    Datapath,
    Drop,
    Match,
    Meter,
    MeterInfo,
    Miss,
    NotFoundError,
    Output,
    PushVlan,
    Rule,
)

# ---- kill -9 of the controlling process

CONTROLLER = """
dp = Datapath.create(name, ports=["h1-port", "h2-port", "h3-port"], local=False)
dp.meters.set(5, 1000, "kbps", 64)
dp.flows.add(Match(in_port=1), (Clone((Output(3),)), Output(2)))
dp.flows.add(Match(in_port=2), Output(1), priority=7, idle_timeout_s=300)
dp.flows.add(Match(in_port=3), (Meter(5), PushVlan(9), Output(1)))
done()
"""


def test_killing_the_controller_loses_no_packet_and_another_one_takes_over(
    name: str, hosts: tuple[Host, Host, Host]
) -> None:
    rules = {
        Rule(Match(in_port=1), (Clone((Output(3),)), Output(2))),
        Rule(Match(in_port=2), (Output(1),), 7, idle_timeout_s=300),
        Rule(Match(in_port=3), (Meter(5), PushVlan(9), Output(1))),
    }
    with Controller(name, CONTROLLER) as controller:
        controller.wait_for()
        with pinging(hosts[0], hosts[1].ip) as ping, Datapath.open(name, control=False) as reader:
            wait_until(lambda: reader.ports.stats(1).rx_packets > 100, "the ping runs")
            controller.kill()
            replies = reader.flows.get(Match(in_port=2), 7).stats.packets
            wait_until(lambda: reader.ports.stats(1).rx_packets > replies + 100, "the ping goes on")
            with Datapath.open(name) as dp:
                assert {flow.rule for flow in dp.flows} == rules
                assert dp.flows.get(Match(in_port=2), 7).stats.packets > replies > 90
                assert dp.ports.names() == {1: "h1-port", 2: "h2-port", 3: "h3-port"}
                assert dp.ports.stats(1).rx_packets > replies
                assert dp.meters.list() == [MeterInfo(5, 1000, "kbps", 64.0)]
                assert dp.ports.events() == []
                dp.flows.put(Match(in_port=1), (Output(2), Output(3)))
                dp.flows.put(Match(in_port=2), (Clone((Output(3),)), Output(1)), priority=7)
                require_sound(dp)
            with Datapath.open(name) as dp:
                assert dp.flows.get(Match(in_port=1)).actions == (Output(2), Output(3))
                require_sound(dp)
        assert ping.sent > 200
        assert ping.lost == ()


REACTIVE = """
dp = Datapath.create(name, ports=["h1-port", "h2-port"], local=False)
dp.start_upcalls()
done()
@dp.on_miss
def forward(miss):
    return Match.exact(miss.key, "in_port", "eth_type"), Output(3 - miss.port)
dp.run()
"""


def test_reactive_program_that_is_killed_is_followed_by_another(name: str, hosts: tuple[Host, Host, Host]) -> None:
    h1, h2, _ = hosts
    with Controller(name, REACTIVE) as controller:
        controller.wait_for()
        controller.go_on()
        assert reach(h1, h2)
        time.sleep(0.7 * patience())  # what keeps packets in order behind the first may take 0.5 s
        controller.kill()
    assert reach(h1, h2)
    for number in range(50):  # nobody answers these, and nobody will
        h1.send(frame(60, number))
    with Datapath.open(name) as dp:
        assert len(dp.flows) == 2
        assert dp.ports.stats(1).upcalls == 51
        h1.send(frame(60, 99))
        wait_until(lambda: dp.ports.stats(1).drops == {"no_flow": 1}, "nobody reads upcalls")
        dp.start_upcalls()
        assert dp.upcall_stats.dropped == 50
        seen: list[Miss] = []
        with h2.capturing(is_test) as received:
            h1.send(frame(60, 100))
            for miss in dp.misses(timeout_s=5):
                seen.append(miss)
                miss.install(Match.exact(miss.key, "in_port", "eth_type"), Output(2))
                dp.stop()
            received.wait_for(1)
        assert received == [frame(60, 100)]
        assert len(seen) == 1
        require_sound(dp)


# ---- kill -9 in the middle of a change

RULES = [Rule(Match(in_port=3, eth_type=n), (PushVlan(n % 7), Output(1)), priority=n % 3) for n in range(1, 1300)]
OTHERS = [Rule(Match(eth_src=n), (Output(2) if n % 2 else Drop(n % 5),), priority=9) for n in range(40)]
BASE = {Rule(Match(in_port=1), (Output(2),)), Rule(Match(in_port=2), (Output(1),))}

Change = Callable[[Datapath], object]

CHANGES: dict[str, tuple[Change, Change]] = {  # what is there before | the change
    "nothing but opening": (lambda dp: dp.flows.add_many(RULES[:20]), lambda dp: None),
    "adding a flow": (lambda dp: None, lambda dp: dp.flows.add(RULES[1])),
    "adding a flow above others": (lambda dp: dp.flows.add(RULES[2]), lambda dp: dp.flows.add(OTHERS[3])),
    "adding many flows": (lambda dp: None, lambda dp: dp.flows.add_many(RULES)),
    "removing many flows": (lambda dp: dp.flows.add_many(RULES), lambda dp: dp.flows.delete_many(RULES)),
    "changing a flow": (
        lambda dp: dp.flows.add(RULES[1]),
        lambda dp: dp.flows.modify(Rule(RULES[1].match, (PushVlan(99), Output(2)), RULES[1].priority)),
    ),
    "a transaction": (
        lambda dp: dp.flows.add_many(RULES[:30]),
        lambda dp: dp.flows.replace([*BASE, *RULES[10:20], *OTHERS]),
    ),
    "adding a port": (lambda dp: None, lambda dp: dp.ports.add("h3-port")),
    "adding a tap": (lambda dp: None, lambda dp: dp.ports.add("tap0", kind="tap")),
    "adding an internal port": (lambda dp: None, lambda dp: dp.ports.add("lan0", kind="internal")),
    "removing a port": (lambda dp: dp.ports.add("h3-port"), lambda dp: dp.ports.remove("h3-port")),
    "removing a tap": (lambda dp: dp.ports.add("tap0", kind="tap"), lambda dp: dp.ports.remove("tap0")),
    "removing an internal port": (
        lambda dp: dp.ports.add("lan0", kind="internal"),
        lambda dp: dp.ports.remove("lan0"),
    ),
    "sending a packet": (lambda dp: None, lambda dp: dp.execute(frame(), (PushVlan(5), Output(2)))),
}

WHOLE_OR_NOT = ("adding a flow", "adding a flow above others", "changing a flow", "a transaction")
"""Changes after which, whenever the process was killed, the flows are those before or those to be."""


def reset(dp: Datapath) -> None:
    dp.flows.replace(BASE)
    for port in list(dp.ports):
        if port.number > 2:
            dp.ports.remove(port.number)


def kill_while_changing(name: str, what: str, hosts: tuple[Host, Host, Host], kills: int) -> None:
    before, change = CHANGES[what]

    def operation() -> None:
        with Datapath.open(name) as dp:
            change(dp)

    def prepare() -> set[Rule]:
        with Datapath.open(name) as dp:
            reset(dp)
            before(dp)
            return {flow.rule for flow in dp.flows}

    old = prepare()
    steps = steps_of(operation)
    with Datapath.open(name) as dp:
        new = {flow.rule for flow in dp.flows}
    chance = random.Random(kills)
    for step in sorted(chance.sample(range(1, steps + 1), min(kills, steps))):
        prepare()
        assert killed_at(step, operation)
        with Datapath.open(name) as dp:
            require_sound(dp)
            rules = {flow.rule for flow in dp.flows}
            assert rules >= BASE or "removing" in what
            assert rules in (old, new) or what not in WHOLE_OR_NOT, f"half a change after step {step} of {steps}"
            assert old & new <= rules <= old | new
            change_again(dp, what, new)
            require_sound(dp)
        assert hosts[0].ping(hosts[1].ip, count=1).received == 1
    with Datapath.open(name) as dp:
        reset(dp)
        require_sound(dp)


def change_again(dp: Datapath, what: str, new: set[Rule]) -> None:
    """The killed change can be made after all, whatever has come of it."""
    dp.flows.replace(new)
    assert {flow.rule for flow in dp.flows} == new
    action, _, port = what.partition(" a ")
    name = {"port": "h3-port", "tap": "tap0"}.get(port)
    if action == "adding" and name is not None and name not in dp.ports:
        dp.ports.add(name, kind="tap" if port == "tap" else "system")


@pytest.fixture
def pinned(dp: Datapath) -> str:
    """Hosts 1 and 2 reach each other, and nobody controls the datapath."""
    dp.close()
    return dp.name


@pytest.mark.parametrize("what", CHANGES)
def test_process_killed_in_the_middle_of_a_change(pinned: str, what: str, hosts: tuple[Host, Host, Host]) -> None:
    kill_while_changing(pinned, what, hosts, 4)


@pytest.mark.slow
@pytest.mark.usefixtures("mechanism")
@pytest.mark.parametrize("what", CHANGES)
def test_process_killed_anywhere_in_a_change(pinned: str, what: str, hosts: tuple[Host, Host, Host]) -> None:
    kill_while_changing(pinned, what, hosts, 30)


# ---- Ctrl-C in the middle of a change, by a program that goes on


@pytest.mark.parametrize("what", [what for what in CHANGES if "flow" in what or "transaction" in what])
def test_program_interrupted_in_the_middle_of_a_change(what: str, pinned: str) -> None:
    before, change = CHANGES[what]
    chance = random.Random(what)
    with Datapath.open(pinned) as dp:
        reset(dp)
        before(dp)
        old = {flow.rule for flow in dp.flows}
        steps = 16
        while interrupted_at(steps, lambda: change(dp)):
            reset(dp)
            before(dp)
            steps *= 2
        new = {flow.rule for flow in dp.flows}
        for _ in range(12):
            reset(dp)
            before(dp)
            interrupted_at(chance.randrange(1, steps), lambda: change(dp))
            require_sound(dp)
            rules = {flow.rule for flow in dp.flows}
            assert rules in (old, new) or what not in WHOLE_OR_NOT
            assert old & new <= rules <= old | new
            change_again(dp, what, new)
            require_sound(dp)


def kill_while_making(name: str, hosts: tuple[Host, Host, Host], kills: int) -> None:
    """Also the reverse: while deleting."""
    devices = [host.port for host in hosts]

    def make() -> None:
        Datapath.create(name, ports=devices).close()

    links = command("ip", "-o", "link").count("\n")
    steps = steps_of(make)
    Datapath.delete(name)
    chance = random.Random(kills)
    for step in sorted(chance.sample(range(1, steps + 1), kills)):
        assert killed_at(step, make)
        if name in Datapath.list():  # it was finished just before
            Datapath.delete(name)
        elif step % 2:
            with pytest.raises(NotFoundError, match=r"is not whole|does not exist"):
                Datapath.open(name)
        elif left_behind(name):
            Datapath.delete(name)
        make()
        with Datapath.open(name) as dp:
            require_sound(dp)
            connect(dp, 1, 3)
        assert hosts[0].ping(hosts[2].ip, count=1).received == 1
        Datapath.delete(name)
        assert left_behind(name) == []
    make()
    steps = steps_of(lambda: Datapath.delete(name))
    for step in sorted(chance.sample(range(1, steps + 1), min(kills, steps))):
        make()
        # the kernel's answers differ in number from time to time, and so do the steps: near the end it may be through
        assert killed_at(step, lambda: Datapath.delete(name)) or step > 0.9 * steps
        if name in Datapath.list():
            with Datapath.open(name) as dp:
                dp.ports.events()
        if left_behind(name):
            Datapath.delete(name)
        assert left_behind(name) == []
    assert command("ip", "-o", "link").count("\n") == links


def test_process_killed_while_it_makes_or_deletes_a_datapath(name: str, hosts: tuple[Host, Host, Host]) -> None:
    kill_while_making(name, hosts, 6)


@pytest.mark.slow
@pytest.mark.usefixtures("mechanism")
def test_process_killed_anywhere_in_making_or_deleting_a_datapath(name: str, hosts: tuple[Host, Host, Host]) -> None:
    kill_while_making(name, hosts, 30)


# ---- kill -9 at any time


def busy(name: str, seed: int) -> None:
    """A controller that changes all the time what nobody depends on."""
    chance = random.Random(seed)
    dp = Datapath.open(name)
    dp.start_upcalls()
    while True:
        match chance.randrange(8):
            case 0:
                rules = chance.sample(RULES, chance.randrange(1, 300))
                dp.flows.delete_many(rules)
                dp.flows.add_many(rules)
            case 1:
                dp.flows.replace([*BASE, *chance.sample(OTHERS, 20), *chance.sample(RULES, chance.randrange(100))])
            case 2:
                dp.flows.delete_many(chance.sample(RULES, 600))
            case 3 if "h3-port" not in dp.ports:
                dp.ports.add("h3-port", chance.randrange(20, 30))
            case 4 if "h3-port" in dp.ports:
                dp.ports.remove("h3-port")
            case 5 if "lan0" not in dp.ports:
                dp.ports.add("lan0", kind=chance.choice(("internal", "tap")))
            case 6 if "lan0" in dp.ports:
                dp.ports.remove("lan0")
            case 7:
                dp.execute(frame(), (PushVlan(5), Output(4)))
                for miss in dp.misses(timeout_s=0.01):
                    miss.install(Match.exact(miss.key, "in_port", "eth_src", "eth_type"), Output(4))


def kill_at_random(name: str, hosts: tuple[Host, Host, Host], kills: int) -> None:
    chance = random.Random(kills)
    with pinging(hosts[0], hosts[1].ip) as ping:
        for n in range(kills):
            killed_later(chance.uniform(0.02, 0.4), lambda: busy(name, n))  # noqa: B023 - called before the next
            with Datapath.open(name) as dp:
                require_sound(dp)
                assert {flow.rule for flow in dp.flows} >= BASE
    assert ping.lost == ()
    remove_all(name)
    assert left_behind(name) == []


def test_random_kills_leave_a_sound_datapath_and_lose_no_packet(pinned: str, hosts: tuple[Host, Host, Host]) -> None:
    kill_at_random(pinned, hosts, 20)


@pytest.mark.slow
def test_many_random_kills_leave_a_sound_datapath(pinned: str, hosts: tuple[Host, Host, Host]) -> None:
    kill_at_random(pinned, hosts, 200)
