"""Workers that answer upcalls, in many orders: a seeded scheduler decides who is through when, what arrives, and how
time goes by. Whatever it does, nothing is asked about twice, nothing is lost in silence, packets of a flow leave in
order, and no bound is passed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.reactive import FIVE_TUPLE, numbers_by_flow, udp_frame
from vswitch import Datapath, Match, Miss, Output, Rule, UpcallReason, Userspace, Workers
from vswitch.datapath.ebpf.layout import PORT_RING
from vswitch.upcalls.batches import BATCH_NS
from vswitch.upcalls.miss import Answer, apply_answer
from vswitch.upcalls.pool import Pool
from vswitch.upcalls.stats import Drop
from vswitch.upcalls.workers import Job

PORTS = 3
FLOWS = 12  # four of each port


class Seeded:
    """Runs handlers when the schedule says so."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.running: list[Job] = []
        self.done: list[Job] = []
        self.given_up: list[Job] = []
        self.most = 0

    @property
    def idle(self) -> int:
        return self.count - len(self.running)

    def begin(self, job: Job) -> None:
        self.running.append(job)
        self.most = max(self.most, len(self.running))

    def finished(self) -> list[Job]:
        done, self.done = self.done, []
        return done

    def give_up(self, job: Job) -> None:
        self.running.remove(job)
        self.given_up.append(job)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.running.clear()


class World:
    """A simulated datapath, its pool, and what must hold of them."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.workers = Workers(
            count=self.chance.randrange(1, 6),
            limit_s=1.0,
            patience_s=self.chance.choice([0.5, 5.0]),
            similar=self.chance.choice([None, ("in_port",), ("in_port", "udp_src")]),
            flow_packets=self.chance.choice([3, 64]),
            port_packets=self.chance.choice([7, 1024]),
        )
        self.dp = Datapath.simulate(ports=PORTS)
        if self.chance.random() < 0.3:
            self.dp.limit_new_flows(20, burst=10, by=self.chance.choice([("in_port",), ("eth_type",)]))
        self.runner = Seeded(self.workers.count)
        self.upcalls = self.dp.start_upcalls()
        self.discard = self.upcalls.discard
        self.upcalls.discard = self.check_late  # type: ignore[method-assign]
        self.small_batches = self.chance.random() < 0.5
        self.pool = Pool(self.upcalls, self.workers, self.runner, self.dp._tally, self.dp._backend.now_ns)
        if self.chance.random() < 0.5:  # packets of one port are taken up on purpose, and of one a tracker has copies
            self.dp.flows.add(Match(in_port=2), (Userspace(b"copy"), Userspace(b"ask")))
            self.dp.flows.add(Match(in_port=3), Userspace())
        self.numbers: Counter[int] = Counter()
        self.asked: Counter[tuple[int, int, bytes]] = Counter()
        self.copies = 0
        self.sent: list[bytes] = []
        self.received = 0

    def arrives(self) -> None:
        for _ in range(self.chance.randrange(1, 12)):
            flow = self.chance.randrange(FLOWS)
            port = 1 + flow % PORTS
            before = self.dp.ports.stats(port).upcalls
            self.dp.receive(udp_frame(flow, self.numbers[flow]), port)
            self.numbers[flow] += 1
            self.received += 1
            self.copies += self.dp.ports.stats(port).upcalls == before + 2

    def answer(self, miss: Miss) -> Answer:
        ((flow, (number,)),) = numbers_by_flow([miss.packet]).items()
        self.asked[flow, number, miss.userdata] += 1
        what = self.chance.choice(["rule", "rule", "rule", "wide", "send", "drop", "nothing", "refused", "raise"])
        if miss.userdata == b"copy":
            return None
        priority = 5 if miss.reason is UpcallReason.ACTION else 0
        if what == "rule":
            return Rule(Match.exact(miss.key, *FIVE_TUPLE), (Output(1 + miss.port % PORTS),), priority)
        if what == "wide":
            match = Match(in_port=miss.port, udp_src=(miss.key.udp_src & ~3, 0xFFFC))
            return Rule(match, (Output(1 + miss.port % PORTS),), priority)
        if what == "refused":
            return Match(udp_dst=1), Output(1)
        if what == "raise":
            raise RuntimeError("as asked")
        if what == "send":
            miss.send(Output(1 + miss.port % PORTS))
        elif what == "drop":
            miss.drop()
        return None

    def somebody_is_through(self) -> None:
        late = [job for job in self.runner.given_up if self.chance.random() < 0.3]
        for job in late:
            self.runner.given_up.remove(job)
        for job in self.chance.sample(self.runner.running, self.chance.randrange(len(self.runner.running) + 1)) + late:
            try:
                answer = self.answer(job.miss)
                if answer is not None:
                    apply_answer(job.miss, answer)
            except Exception as problem:  # noqa: BLE001 - as a runner does
                job.problem = problem
            if job in self.runner.running:
                self.runner.running.remove(job)
            self.runner.done.append(job)

    def check_late(self, taken: list[Miss], reason: Drop) -> None:
        assert reason is not Drop.LATE or taken[0] is self.runner.given_up[-1].miss, "else none of them is late"
        self.discard(taken, reason)

    def rule_goes(self) -> None:
        rules = [megaflow.rule for megaflow in self.dp.flows if not isinstance(megaflow.actions[-1], Userspace)]
        if rules:
            self.dp.flows.delete(self.chance.choice(rules))

    def turn(self) -> None:
        while True:
            if self.small_batches:
                self.upcalls._cost_ns = BATCH_NS / self.chance.randrange(1, 6)
            self.pool.turn()
            if not (self.upcalls.busy or self.upcalls.has_records):
                break
        self.sent += [each.packet for each in self.dp.sent()]
        self.check_bounds()

    def check_bounds(self) -> None:
        queue = self.pool._queue
        by_flow = [len(flow.packets) for flow in queue._flows.values()]
        assert max(by_flow, default=0) <= self.workers.flow_packets
        by_port = Counter(queue._of[turn].packets[turn].port for turn in queue._of)
        assert max(by_port.values(), default=0) <= self.workers.port_packets
        assert {number: port.packets for number, port in queue._ports.items() if port.packets} == by_port
        assert sum(by_flow) == len(queue) == self.dp.upcall_stats.waiting
        assert self.runner.most <= self.workers.count
        assert len(self.runner.running) == queue.busy

    def settle(self) -> None:
        self.turn()
        while self.pool.waiting or self.runner.running:
            self.somebody_is_through()
            self.dp.advance(0.3)
            self.turn()

    def check_end(self) -> None:
        stats = self.dp.upcall_stats
        assert stats.waiting == 0
        assert stats.arrived == stats.released + stats.dropped
        assert sum(stats.waits) == stats.released
        assert sum(self.asked.values()) <= stats.handled, "some take too long even to begin"
        assert set(self.asked.values()) <= {1}, "nothing is asked about twice"
        early = Counter(stats.drops)
        not_asked = sum(early[name] for name in ("flow_full", "port_full", "buffer_full", "rate", "expired"))
        assert stats.handled + stats.joined + not_asked <= stats.arrived
        kernel = Counter[str]()
        for port in range(1, PORTS + 1):
            kernel.update(self.dp.ports.stats(port).drops)
        assert set(kernel) <= {"reinjected_miss", "upcall_rate"}
        assert len(self.sent) + stats.dropped + kernel.total() == self.received + self.copies
        for flow, numbers in numbers_by_flow(self.sent).items():
            assert numbers == sorted(set(numbers)), f"flow {flow} in order, and no packet twice"
        shares = self.dp._backend.shares
        for number in range(1, PORTS + 1):
            slot = self.dp._backend.ports.slot_of(number)
            assert slot is not None
            at = slot * PORT_RING.size // 8
            assert shares[at] == shares[at + 1], "each port has its share of the ring back"


def run(seed: int) -> World:
    world = World(seed)
    steps = [world.arrives, world.arrives, world.turn, world.turn, world.somebody_is_through]
    for _ in range(80):
        world.chance.choice(steps)()
        if world.chance.random() < 0.05:
            world.rule_goes()
        if world.chance.random() < 0.2:
            world.dp.advance(world.chance.choice([0.01, 0.1, 0.6]))
    world.settle()
    world.check_end()
    return world


@pytest.mark.parametrize("seed", range(300))
def test_any_order(seed: int) -> None:
    run(seed)


def test_schedules_that_are_tried_have_everything_in_them() -> None:
    """What never happens there is not tested there."""
    happened: Counter[str] = Counter()
    for seed in range(40):
        stats = run(seed).dp.upcall_stats
        happened.update(stats.drops)
        happened.update({"joined": stats.joined, "installed": stats.installed, "released": stats.released})
    others = {"closed", "unsent", "buffer_full"}
    assert set(happened) >= {reason.name.lower() for reason in Drop} - others | {"joined", "installed", "released"}


def test_what_waits_when_the_loop_ends_is_counted() -> None:
    world = World(1)
    world.arrives()
    world.turn()
    assert world.pool.waiting
    world.pool.close()
    stats = world.dp.upcall_stats
    assert stats.waiting == 0
    assert set(stats.drops) <= {reason.name.lower() for reason in (Drop.CLOSED, Drop.RATE, Drop.FLOW_FULL)}
    assert stats.drops["closed"] >= 1
