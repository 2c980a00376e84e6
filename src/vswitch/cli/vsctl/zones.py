"""Commands on datapaths: timeouts of conntrack zones, and what a datapath can do."""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError, check
from vswitch.cli.vsctl.values import parse_atom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vswitch.cli.vsctl.options import Call
    from vswitch.cli.vsctl.plan import Plan
    from vswitch.cli.vsctl.rows import Row

__all__ = ["add_zone_tp", "del_zone_tp", "list_dp_cap", "list_zone_tp"]


def _datapath(plan: Plan, name: str, missing: str) -> Row:
    uuid = dict(plan.rows.root()["datapaths"]).get(name)
    row = None if uuid is None else plan.rows.find("Datapath", uuid)
    if row is None:
        raise CommandError(missing)
    return row


def _zone(word: str) -> int:
    text = word.removeprefix("zone=")
    check(text.isdigit() and text.isascii(), f"zone {word!r} is not of the form zone=NUMBER")
    return int(text)


def add_zone_tp(plan: Plan, call: Call) -> None:
    """`add-zone-tp`."""
    name, zone, *policies = call.words
    datapath = _datapath(plan, name, f"datapath {name} does not exist")
    number = _zone(zone)
    timeouts = _timeouts(plan, policies)
    there = dict(datapath["ct_zones"]).get(number)
    policy = _policy(plan, timeouts)
    if there is None:
        row = plan.rows.insert("CT_Zone")
        plan.rows.put(datapath, "ct_zones", ((number, row.uuid),))
    elif "--may-exist" in call.options:
        found = plan.rows.find("CT_Zone", there)
        assert found is not None, "the server keeps what is referred to"
        row = found
    else:
        raise CommandError(f"zone id {number} already exists")
    plan.rows.write(row, "timeout_policy", (policy.uuid,))


def _timeouts(plan: Plan, policies: list[str]) -> tuple[tuple[str, int], ...]:
    kind = plan.schema["CT_Timeout_Policy"]["timeouts"].type
    assert kind.value is not None
    found: dict[Any, Any] = {}
    for word in policies:
        key, equals, value = word.partition("=")
        check(equals, f"policy {word!r} is not of the form NAME=SECONDS")
        found[parse_atom(kind.key, key, plan.resolve)] = parse_atom(kind.value, value, plan.resolve)
    return tuple(sorted(found.items()))


def _policy(plan: Plan, timeouts: tuple[tuple[str, int], ...]) -> Row:
    """One that is there is shared."""
    for row in plan.rows.of("CT_Timeout_Policy"):
        if row["timeouts"] == timeouts:
            return row
    row = plan.rows.insert("CT_Timeout_Policy")
    plan.rows.write(row, "timeouts", timeouts)
    return row


def del_zone_tp(plan: Plan, call: Call) -> None:
    """`del-zone-tp`."""
    name, zone = call.words
    datapath = _datapath(plan, name, f"datapath {name} does not exist")
    number = _zone(zone)
    there = dict(datapath["ct_zones"]).get(number)
    if there is None:
        check("--if-exists" in call.options, f"zone id {number} does not exist")
        return
    plan.rows.take(datapath, "ct_zones", ((number, there),))


def list_zone_tp(plan: Plan, call: Call) -> None:
    """`list-zone-tp`."""
    datapath = _datapath(plan, call.words[0], f"datapath: {call.words[0]} record not found")
    for number, uuid in datapath["ct_zones"]:
        zone = plan.rows.find("CT_Zone", uuid)
        policies = list(plan.rows.referred(zone, "timeout_policy")) if zone is not None else []
        if policies:
            texts = " ".join(f"{key}={value}" for key, value in policies[0]["timeouts"])
            plan.out.line(f"Zone:{number}, Timeout Policies: {texts}")
        else:
            plan.out.line(f"Zone:{number}, Timeout Policies: system default")


def list_dp_cap(plan: Plan, call: Call) -> None:
    """`list-dp-cap`."""
    datapath = _datapath(plan, call.words[0], f'datapath "{call.words[0]}" record not found')
    plan.out.line(" ".join(f"{key}={value}" for key, value in datapath["capabilities"]))
