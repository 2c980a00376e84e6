"""Ports that send a controller more than it takes, and what the kernel drops of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from heapq import heappop, heappush

import pytest

from vswitch.base.errors import NotFoundError
from vswitch.bridge.floods import (
    CALM_TICKS,
    LEAST_BATCH,
    LEAST_SHARE,
    MANY,
    MOST_BATCH,
    MOST_PAUSE_NS,
    PATIENCE_NS,
    TICKS,
    WAITING,
    Floods,
)
from vswitch.bridge.shedding import OTHERS, PASSED, SPARE, Shedding
from vswitch.model.port import PortStats

MS = 10**6
TICK = 100 * MS
Item = tuple[int, int]


class Controller:
    """It takes `cost_ns` for each packet-in, and sends the echo and each frame back when it is done with it. `way_ns`:
    there and back. `answers`: whether it sends frames back at all."""

    def __init__(self, cost_ns: int, *, way_ns: int = 0, answers: bool = True, echoes: bool = True) -> None:
        self.cost_ns, self.way_ns, self.answers, self.echoes = cost_ns, way_ns, answers, echoes
        self.now_ns = self.free_ns = self.busy_ns = 0
        self.sent: list[Item] = []
        self.batches: list[list[Item]] = []
        self._back: list[tuple[int, int, Hashable]] = []
        self._batch: list[Item] = []
        self._number = 0
        self.is_open = True
        self.floods: Floods[Item] = Floods(self._take, self._mark, lambda: self.is_open, lambda item: item)

    def _take(self, item: Item) -> None:
        self.sent.append(item)
        self._batch.append(item)

    def _mark(self) -> int:
        batch, self._batch = self._batch, []
        self.batches.append(batch)
        if self.echoes:  # it reads ahead, so this comes first
            self._come_back(self.now_ns + self.way_ns + MS // 100, len(self.batches))
        self.free_ns = max(self.free_ns, self.now_ns + self.way_ns)
        for item in batch:
            self.free_ns += self.cost_ns
            self.busy_ns += self.cost_ns
            if self.answers:
                self._come_back(self.free_ns, item)
        return len(self.batches)

    def _come_back(self, when_ns: int, what: Hashable) -> None:
        self._number += 1
        heappush(self._back, (when_ns, self._number, what))

    def flood(self, port: int, rate_per_s: int, lasts_ns: int) -> None:
        """So many packet-ins a second of a port, which is a flood."""
        step_ns = 10**9 // rate_per_s
        end_ns = self.now_ns + lasts_ns
        while self.now_ns < end_ns:
            self.floods.offer(port, (port, self.now_ns), self.now_ns)
            self.now_ns += step_ns
            self._bring_back()
            if self.now_ns // TICK != (self.now_ns - step_ns) // TICK:
                self.floods.tick({}, self.now_ns)

    def _bring_back(self) -> None:
        while self._back and self._back[0][0] <= self.now_ns:
            when_ns, _, what = heappop(self._back)
            self.floods.came_back(what, when_ns)


def flooded(controller: Controller, port: int = 1, lost: int = MANY) -> Controller:
    """A port has lost very many in one tick."""
    controller.floods.tick({}, controller.now_ns)
    controller.now_ns += TICK
    begun, _ = controller.floods.tick({port: lost}, controller.now_ns)
    assert begun == [port]
    return controller


# ---- who is a flood


def test_who_loses_packets_again_and_again_is_a_flood_and_who_bursts_is_none() -> None:
    floods = Controller(MS).floods
    for tick in range(TICKS - 1):
        assert floods.tick({1: 5, 2: 0}, tick * TICK) == ([], [])
    assert floods.tick({}, TICKS * TICK) == ([], []), "that was a burst"
    for tick in range(TICKS - 1):
        floods.tick({1: 5}, (TICKS + 1 + tick) * TICK)
    assert floods.tick({1: 5, 2: 5}, 2 * TICKS * TICK) == ([1], [])
    assert list(floods) == [1]


def test_what_waits_of_a_flood_that_has_ended_is_as_any_other() -> None:
    controller = flooded(Controller(MS))
    controller.is_open = False
    controller.floods.begin(1, [(1, number) for number in range(WAITING + 3)])
    assert controller.floods.dropped == 3
    for tick in range(1, CALM_TICKS):
        assert controller.floods.tick({}, controller.now_ns + tick * TICK) == ([], [])
    _, ended = controller.floods.tick({}, controller.now_ns + CALM_TICKS * TICK)
    assert ended == [(1, (1, number)) for number in range(WAITING)]
    assert not controller.floods


def test_a_flood_lasts_while_the_kernel_drops_its_packets() -> None:
    controller = flooded(Controller(MS))
    for tick in range(2 * CALM_TICKS):
        controller.floods.missed(1, 1)
        controller.floods.tick({}, controller.now_ns + tick * TICK)
    assert 1 in controller.floods


# ---- its share


@pytest.mark.parametrize("cost_ns", [MS // 2, MS, 2 * MS])
def test_a_large_flood_gets_the_least_share_of_a_controller_however_fast_that_is(cost_ns: int) -> None:
    controller = flooded(Controller(cost_ns), lost=2000)
    controller.flood(1, 40 * 10**9 // cost_ns, 1000 * MS)  # forty times what it takes
    begin_ns = controller.busy_ns
    controller.flood(1, 40 * 10**9 // cost_ns, 1000 * MS)
    assert 0.5 * LEAST_SHARE < (controller.busy_ns - begin_ns) / (1000 * MS) < 1.2 * LEAST_SHARE
    assert controller.floods.share(1) == LEAST_SHARE
    assert controller.floods.dropped > 0.9 * len(controller.sent) * 40 * LEAST_SHARE


def test_a_port_that_asks_for_a_little_more_than_there_is_gets_nearly_all() -> None:
    controller = flooded(Controller(MS // 2))
    controller.flood(1, 2500, 4000 * MS)
    begin_ns = controller.busy_ns
    controller.flood(1, 2500, 2000 * MS)
    assert (controller.busy_ns - begin_ns) / (2000 * MS) > 0.9
    assert controller.floods.share(1) == 1


def test_packets_go_in_order() -> None:
    controller = flooded(Controller(MS))
    controller.flood(1, 5000, 1000 * MS)
    assert controller.sent == sorted(controller.sent)


def test_floods_take_turns() -> None:
    controller = flooded(flooded(Controller(MS), 1), 2)
    for number in range(WAITING):
        for port in (1, 2):
            controller.floods.offer(port, (port, number), controller.now_ns)
    for batch in range(1, 4):
        controller.now_ns += 2 * PATIENCE_NS
        controller.floods.turn(controller.now_ns)
        assert [len(each) for each in controller.batches[2 * batch :]] == [LEAST_BATCH] * 2
    assert [each[0][0] for each in controller.batches] == [1, 2] * 4


def test_batches_get_larger_if_it_is_the_way_that_takes_time() -> None:
    controller = flooded(Controller(MS // 100, way_ns=20 * MS))
    controller.flood(1, 5000, 1000 * MS)
    assert len(controller.batches[-1]) == MOST_BATCH


def test_the_echo_counts_where_nothing_else_comes_back() -> None:
    controller = flooded(Controller(MS, way_ns=2 * MS, answers=False))
    controller.flood(1, 10_000, 1000 * MS)
    assert len(controller.batches) > 10


def test_who_answers_nothing_gets_a_batch_a_second() -> None:
    controller = flooded(Controller(MS, answers=False, echoes=False))
    controller.flood(1, 10_000, 3500 * MS)
    assert [len(batch) for batch in controller.batches] == [1] + [LEAST_BATCH] * 3


def test_a_batch_that_waited_behind_others_costs_no_long_pause() -> None:
    controller = flooded(Controller(MS))
    controller.free_ns = controller.now_ns + 900 * MS  # what was sent before
    controller.flood(1, 10_000, 900 * MS + MOST_PAUSE_NS + 20 * MS)
    assert len(controller.batches) >= 2


def test_nothing_goes_while_others_wait() -> None:
    controller = flooded(Controller(MS))
    controller.is_open = False
    controller.flood(1, 10_000, 100 * MS)
    assert not controller.sent
    controller.is_open = True
    controller.flood(1, 10_000, 10 * MS)
    assert controller.sent


# ---- what the kernel drops


class Ports:
    """What ports have counted, and what they were bounded to."""

    def __init__(self) -> None:
        self.counted = PortStats()
        self.bounds: list[tuple[int, int]] = []
        self.gone = False

    def stats(self, _which: int) -> PortStats:
        if self.gone:
            raise NotFoundError("it is gone")
        return self.counted

    def bound_misses(self, number: int, cost_ns: int, _burst_ns: int) -> None:
        self.bounds.append((number, cost_ns))

    def count(self, upcalls: int, shed: int = 0) -> None:
        """More of them came up, and were dropped."""
        before = self.counted
        drops = {"upcall_rate": before.drops.get("upcall_rate", 0) + shed}
        self.counted = PortStats(upcalls=before.upcalls + upcalls, lost=before.lost + shed, drops=drops)


def shedding(ports: Ports) -> Shedding:
    return Shedding(ports)  # type: ignore[arg-type]


def tick(shedding: Shedding, ports: Ports, controller: Controller, came: int, others: Mapping[int, int]) -> None:
    """A tenth of a second in which so many misses came up, nearly all of them packet-ins."""
    ports.count(came)
    shedding.tick([(controller.floods, others)])


def test_of_a_flood_no_more_comes_up_than_some_times_what_it_is_sent() -> None:
    ports, controller = Ports(), flooded(Controller(MS), lost=2000)
    each = shedding(ports)
    tick(each, ports, controller, 0, {})
    assert not ports.bounds, "it is not known yet what comes up"
    decided = [each.undecided]
    controller.flood(1, 20_000, TICK // 2)
    tick(each, ports, controller, controller.floods.offered(1), {})
    decided.append(each.undecided)
    assert decided == [True, False]
    passes = controller.floods.passes_per_s(1)
    assert passes is not None
    assert ports.bounds[-1] == (1, round(1e9 / (PASSED * passes + SPARE)))
    ports.count(0, shed=77)
    each.tick([(controller.floods, {})])
    assert each.shed == 77
    each.tick([(Controller(MS).floods, {})])
    assert ports.bounds[-1] == (1, 0), "it is no flood any more"


def test_all_comes_up_where_others_are_among_it() -> None:
    ports, controller = Ports(), flooded(Controller(MS), lost=2000)
    each = shedding(ports)
    tick(each, ports, controller, 0, {})
    controller.flood(1, 20_000, TICK // 2)
    offered = controller.floods.offered(1)
    tick(each, ports, controller, offered + 4 * offered // OTHERS, {})
    assert not ports.bounds


def test_all_comes_up_while_another_controller_takes_it() -> None:
    ports, controller, other = Ports(), flooded(Controller(MS), lost=2000), Controller(MS)
    each = shedding(ports)
    tick(each, ports, controller, 0, {})
    controller.flood(1, 20_000, TICK // 2)
    ports.count(controller.floods.offered(1))
    each.tick([(controller.floods, {}), (other.floods, {1: 100})])
    assert not ports.bounds
    each.tick([(controller.floods, {}), (other.floods, {2: 100})])
    assert ports.bounds


def test_a_port_that_is_gone_is_not_asked_for() -> None:
    ports, controller = Ports(), flooded(Controller(MS), lost=2000)
    ports.gone = True
    shedding(ports).tick([(controller.floods, {})])
    assert not ports.bounds
