"""Random pipelines in an Open vSwitch and in translation: what both make of the same packets.

`python -m tests.trace_peer 240` compares so many pipelines and prints how the megaflows stand to each other.

Known differences, which the cases keep out of: Open vSwitch sees and keeps two VLAN tags at most; a tag that is
pushed has no values of the one that was there (OpenFlow 1.3.5 section 5.12.1 says it has); after check_pkt_larger the
action set is carried out more than once; NORMAL takes two tags off a packet whose first has neither VLAN nor priority.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.megaflow_oracle import compare, naive_switch
from tests.ofctl_peer import BRIDGE, OpenVswitch
from tests.pipeline import LOCAL, PlainView, set_field
from tests.pipeline_machine import Machine
from tests.pipeline_random import random_frame, random_switch
from vswitch.datapath.simulated.execute import SimulatedPacket
from vswitch.fields.openflow import FlowField
from vswitch.fields.registry import FIELDS
from vswitch.messages import actions as a
from vswitch.messages.flows import FlowCommand, FlowMod, GroupType
from vswitch.messages.match import FlowMatch, SubField, missing_need
from vswitch.model.actions import Action
from vswitch.ofproto.translation import Config
from vswitch.packet.code_points import VLAN_PROTOCOLS
from vswitch.packet.parse import parse
from vswitch.text.actions import parse_actions
from vswitch.text.flow import format_flow_mod
from vswitch.text.flow_actions_format import format_flow_actions

LOCAL_OF_DUMMY = 100
PACKETS = 16
KINDS = {GroupType.ALL: "all", GroupType.INDIRECT: "indirect", GroupType.FAST_FAILOVER: "ff"}
Seen = Counter[tuple[str, str]]


def told(switch: OpenVswitch, frame: bytes, in_port: int) -> str:
    switch.appctl("fdb/flush", BRIDGE)  # a trace learns, too
    return switch.appctl("ofproto/trace", BRIDGE, f"in_port={in_port}", frame.hex())


def fields_of(action: a.FlowAction) -> list[FlowField]:
    match action:
        case a.SetField(field):
            return [field]
        case a.RegLoad(SubField(field)) | a.StackPop(SubField(field)) | a.StackPush(SubField(field)):
            return [field]
        case a.RegMove(SubField(source), SubField(destination)):
            return [source, destination]
    return []


def fit(match: FlowMatch | None, actions: Iterable[a.FlowAction]) -> tuple[a.FlowAction, ...]:
    """Those that Open vSwitch takes with this match, and means as we do."""
    found: list[a.FlowAction] = []
    for action in actions:
        if match is not None and any(missing_need(match, each) for each in fields_of(action)):
            continue
        match action:
            case a.ModVlanVid() | a.ModVlanPcp() | a.CheckPacketLarger():
                continue
            case a.DecTtl() if match is not None and match.take("eth_type")[0] not in (0x0800, 0x86DD):
                continue
            case a.DecMplsTtl() | a.SetMplsLabel() | a.SetMplsTc() | a.SetMplsTtl() | a.PopMpls():
                if match is not None and match.take("eth_type")[0] not in (0x8847, 0x8848):
                    continue
            case a.WriteActions(inner):
                action = a.WriteActions(fit(match, inner))
            case a.Clone(inner):
                action = a.Clone(fit(match, inner))
        found.append(action)
        if isinstance(action, a.PushVlan):
            found += [set_field("vlan_vid", 0x1003), set_field("vlan_pcp", 2)]
    return tuple(found)


def of_some_type(chance: Random, match: FlowMatch) -> FlowMatch:
    """Flows of one Ethernet type may do more."""
    if match.mask & FIELDS["eth_type"].mask or chance.random() < 0.3:
        return match
    fields = {each.name: (value, mask) for each, value, mask in match.fields()}
    return FlowMatch(eth_type=chance.choice((0x0800, 0x0800, 0x86DD, 0x8847, 0x0806)), **fields)


def install(switch: OpenVswitch, chance: Random, view: PlainView) -> int:
    """The same groups and flows there and here; those that are refused there are left out. How many flows there are."""
    for number, group in sorted(view.groups.items()):
        buckets = []
        for bucket in group.buckets:
            watched = bucket.watch_port if bucket.watch_port < 0xFF00 else 2
            buckets.append(replace(bucket, actions=fit(None, bucket.actions), watch_port=watched))
        text = f"group_id={number},type={KINDS[group.type]}"
        for bucket in buckets:
            watch = f"watch_port:{bucket.watch_port}," if group.type == GroupType.FAST_FAILOVER else ""
            text += f",bucket={watch}actions={format_flow_actions(bucket.actions) or 'drop'}"
        if switch.ovs_ofctl("-OOpenFlow15", "add-group", BRIDGE, text).status:
            view.groups[number] = replace(group, buckets=())
            switch.ovs_ofctl("-OOpenFlow15", "add-group", BRIDGE, f"group_id={number},type={KINDS[group.type]}")
        else:
            view.groups[number] = replace(group, buckets=tuple(buckets))
    count = 0
    for table in view.tables[:4]:
        for rule in list(table.classifier):
            table.classifier.remove(rule)
            match = of_some_type(chance, rule.match) if rule.priority else rule.match
            actions = fit(match, rule.actions)
            mod = FlowMod(FlowCommand.ADD, match, actions, rule.priority, rule.table)
            text = format_flow_mod(mod).removeprefix("ADD ")
            if not switch.ovs_ofctl("-OOpenFlow15", "add-flow", BRIDGE, text).status:
                view.add(rule.table, match, *actions, priority=rule.priority)
                count += 1
    return count


def told_actions(text: str) -> tuple[tuple[Action, ...], int] | None:
    """The datapath's actions in a trace, and how often it sends to a controller; None if that is not all of it."""
    actions = text.rpartition("Datapath actions: ")[2].strip().splitlines()[0]
    if "recirc(" in actions or "Translation failed" in text:
        return None
    parts, count = re.subn(r"userspace\(pid=\d+,controller\([^)]*\)\)", "", actions)
    parts = re.sub(r",+", ",", parts).strip(",")
    parts = re.sub(r"(?<=\(),", "", re.sub(r",(?=\))", "", parts))
    parts = re.sub(rf"(?<![\w(=]){LOCAL_OF_DUMMY}(?!\w)", "0", parts)
    return ((), count) if parts in ("drop", "") else (parse_actions(parts), count)


def compare_pipeline(switch: OpenVswitch, seed: int) -> Seen:
    """One random pipeline in both, and random packets: they leave alike, by megaflows that stand to each other as is
    told (`megaflow_oracle.compare`). What was seen, how often."""
    chance = Random(seed)
    view, _ = random_switch(chance)
    view.config = Config(miss="drop")
    view.macs.flush()
    for number in (LOCAL, 1, 2, 3):
        view.configure(number, 0)
    view.ports.remove(4)
    switch.reset()
    seen: Seen = Counter()
    seen["", "flows"] += install(switch, chance, view)
    machine, naive, flips = Machine(view), naive_switch(view), Random(seed)
    for _ in range(PACKETS):
        frame, in_port = random_frame(chance), chance.choice((1, 2, 3))
        if FIELDS["cvlan_present"].take(parse(frame)):
            continue
        text = told(switch, frame, in_port)
        wanted = told_actions(text)
        if wanted is None:
            seen["", "packets that come back, left out"] += 1
            continue
        actions, controllers = wanted
        theirs = Machine(view)
        theirs.execute(SimulatedPacket(frame, in_port), actions)
        machine.receive(frame, in_port)
        if any(FIELDS["eth_type"].take(parse(each.packet)) in VLAN_PROTOCOLS for each in machine.sent):
            seen["", "packets with a third tag, left out"] += 1
            continue
        assert Counter((each.port, each.packet) for each in machine.sent) == Counter(
            (each.port, each.packet) for each in theirs.sent
        ), (seed, frame.hex(), text)
        assert len(machine.up) == controllers, (seed, frame.hex(), text)
        megaflow = re.search(r"^Megaflow: (.*)$", text, re.MULTILINE)
        assert megaflow is not None, text
        seen += compare(view, machine, naive, flips, frame, in_port, megaflow[1])
        seen["", "packets"] += 1
    return seen


def table(seen: Seen) -> str:
    """What was seen, a line for each field."""
    fields = sorted({name for name, _ in seen if name})
    kinds = sorted({kind for name, kind in seen if name})
    lines = [f"{kind}: {count}" for (name, kind), count in sorted(seen.items()) if not name]
    lines += ["", " | ".join(("field", *kinds))]
    lines += [" | ".join((name, *(str(seen[name, kind]) for kind in kinds))) for name in fields]
    totals = (str(sum(count for (name, of), count in seen.items() if name and of == kind)) for kind in kinds)
    return "\n".join([*lines, " | ".join(("all", *totals))])


def main() -> None:
    seen: Seen = Counter()
    with tempfile.TemporaryDirectory() as folder:
        switch = OpenVswitch(Path(folder))
        try:
            switch.vsctl("set", "open_vswitch", ".", "other_config:vlan-limit=2")
            for seed in range(int(sys.argv[1])):
                seen += compare_pipeline(switch, seed)
        finally:
            switch.close()
    print(table(seen))


if __name__ == "__main__":
    main()
