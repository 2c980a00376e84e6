"""A switch that keeps megaflows forwards as one that keeps none, whatever is changed between packets.

Each case is a story of some hundred steps from one seed: packets of few kinds, so that most meet megaflows, and changes
that lie over each other.
"""

from __future__ import annotations

import contextlib
import zlib
from random import Random

import pytest

from tests.examples import TIMES
from vswitch.bridge import revalidation
from vswitch.bridge.bridge import Bridge
from vswitch.messages.errors import OpenFlowError
from vswitch.packet import build

TABLES = 3
STEPS = 250
MACS = (0x020000000001, 0x020000000002, 0x020000000003)

PORTS = ("", "", "tp_src=1", "tp_src=2", "tp_src=0/0xfffe", "tp_dst=1", "tp_dst=4/0xfffc", "tp_src=1,tp_dst=1")
ADDRESSES = ("", "", "nw_dst=10.0.0.1", "nw_dst=10.0.0.0/31", "nw_src=10.0.0.0/8", "nw_dst=10.0.0.2")
OTHERS = ("", "", "", "dl_dst=02:00:00:00:00:01", "dl_src=02:00:00:00:00:02", "reg0=1", "reg0=2/0x2")
ACTIONS = (
    "output:2", "output:3", "output:4", "output:4", "normal", "load:1->NXM_NX_REG0[]", "load:3->NXM_NX_REG0[]",
    "mod_dl_dst:02:00:00:00:00:03", "mod_tp_src:2", "group:1", "drop",
)  # fmt: skip
LEARN = "learn(table=2,priority=64000,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])"


class Story:
    """What a seed tells."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)

    def match(self) -> str:
        """Of a priority that no other match has: which of two equal ones wins, OpenFlow leaves open."""
        choice = self.chance.choice
        parts = [f"table={self.chance.randrange(TABLES)}", choice(("", "", "in_port=1", "in_port=2")), choice(OTHERS)]
        if self.chance.random() < 0.6:
            parts += ["udp", choice(PORTS), choice(ADDRESSES)]
        text = ",".join(filter(None, parts))
        return f"{text},priority={zlib.crc32(text.encode()) % 60000}"

    def actions(self, table: int) -> str:
        chance = self.chance
        parts = [chance.choice(ACTIONS) for _ in range(chance.randrange(3))]
        if table + 1 < TABLES:
            parts += [f"resubmit(,{chance.randrange(table + 1, TABLES)})" for _ in range(chance.randrange(3))]
        if "drop" in parts or not parts:
            return "drop"
        if chance.random() < 0.1:
            parts.append(LEARN)
        chance.shuffle(parts)
        return ",".join(parts)

    def flow(self) -> str:
        match = self.match()
        return f"{match},actions={self.actions(int(match[6]))}"

    def packet(self) -> tuple[bytes, int]:
        chance = self.chance
        payload = build.udp(chance.randrange(4), chance.randrange(6), bytes(18))
        data = build.ipv4(0x0A000000 + chance.randrange(3), 0x0A000000 + chance.randrange(3), 17, payload)
        return build.ethernet(chance.choice(MACS), chance.choice(MACS), 0x0800, data), chance.randrange(1, 3)

    def change(self, switches: tuple[Bridge, ...]) -> None:
        """Do the same to all of them."""
        kind = self.chance.choice(("add", "add", "add", "modify", "delete", "delete strict", "group", "port", "time"))
        flow, match = self.flow(), self.match()
        loose = ",".join(part for part in match.split(",") if not part.startswith("priority="))
        actions = flow.partition(",actions=")[2]
        number, seconds = self.chance.randrange(3, 5), self.chance.choice((0.3, 4, 400))
        buckets = "".join(f",bucket=output:{self.chance.randrange(2, 5)}" for _ in range(self.chance.randrange(3)))
        for switch in switches:
            with contextlib.suppress(OpenFlowError):  # of all switches alike
                if kind == "add":
                    switch.add_flow(flow)
                elif kind == "modify":
                    switch.modify_flows(f"{loose},actions={actions}")
                elif kind == "delete":
                    switch.delete_flows(loose)
                elif kind == "delete strict":
                    switch.delete_flows(match, strict=True)
                elif kind == "group":
                    switch.modify_group(f"group_id=1,type=all{buckets}")
                elif kind == "port":
                    _plug(switch, number)
                else:
                    switch.advance(seconds)


def _plug(switch: Bridge, number: int) -> None:
    if number in switch.datapath.ports:
        switch.datapath.ports.remove(number)
    else:
        switch.datapath.ports.add(f"again{number}", number)
    switch.process()


def sent(switch: Bridge, data: bytes, in_port: int) -> list[tuple[int, bytes]]:
    found = sorted((each.port, each.packet) for each in switch.receive(data, in_port))
    switch.advance(0.6)  # what packets teach by megaflows is learned when they are counted
    return found


def counted(switch: Bridge) -> list[tuple[int, int, str, int, int]]:
    flows = switch.dump_flows()
    return sorted((flow.table, flow.priority, repr(flow.match), flow.packets, flow.bytes) for flow in flows)


def tell(seed: int) -> dict[str, int]:
    """A story with both switches; what became of the megaflows."""
    story = Story(seed)
    with Bridge.simulate(4, fail_mode="secure") as kept, Bridge.simulate(4, fail_mode="secure") as fresh:
        switches = (kept, fresh)
        for switch in switches:
            switch.add_group("group_id=1,type=all,bucket=output:2")
        for _ in range(10):
            flow = story.flow()
            for switch in switches:
                with contextlib.suppress(OpenFlowError):
                    switch.add_flow(flow)
        for step in range(STEPS):
            if story.chance.random() < 0.7:
                data, in_port = story.packet()
                fresh.datapath.flows.flush()
                wanted = sent(fresh, data, in_port)
                assert sent(kept, data, in_port) == wanted, f"seed {seed}, step {step}"
            else:
                story.change(switches)
        assert kept.datapath.last_failure is None
        assert counted(kept) == counted(fresh), f"seed {seed}"
        return kept.stats()


@pytest.mark.parametrize("looked_at_again", [True, False], ids=["looked at again", "withdrawn at once"])
def test_megaflows_never_say_what_the_tables_do_not(looked_at_again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not looked_at_again:
        monkeypatch.setattr(revalidation, "LOOK_AGAIN", 0)
    stats = [tell(seed) for seed in range(8 * TIMES)]
    assert sum(each["withdrawn"] for each in stats) > 200
    assert sum(each["misses"] for each in stats) < 0.6 * 0.7 * STEPS * len(stats), "most packets meet megaflows"
