"""Flows that are made from packets: Nicira's learn action, and fin_timeout. Nothing is changed here; both are effects.

A learned flow is a flow-mod that changes the flow of just this match and priority, or adds it if there is none, and
counts as use of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vswitch.messages import actions as a
from vswitch.messages.flows import FlowCommand, FlowFlags, FlowMod
from vswitch.messages.match import FlowMatch, SubField
from vswitch.ofproto.places import ETH_TYPE, IP_PROTO, PLACES
from vswitch.ofproto.run import Run, bits_place
from vswitch.ofproto.translation import FinTimedOut, Learned

__all__ = ["DO_LEARN", "learned_flow"]

_FIN_OR_RST = PLACES["tcp_flags"].put(0x005)


def _value(run: Run, spec: a.LearnSpec) -> int:
    """What a step copies: of the packet, or a constant."""
    if spec.source is None:
        return spec.value
    place, bits = bits_place(spec.source)
    if not run.packet.has(place):
        return 0
    return place.get(run.packet.consult(bits)) >> spec.source.start


def _port(value: int, bits: int) -> int:
    """OpenFlow's reserved ports have 32 bits."""
    return value | 0xFFFF0000 if bits <= 16 and 0xFF00 <= value <= 0xFFFF else value


def learned_flow(run: Run, action: a.Learn) -> FlowMod:
    """The flow that this packet teaches."""
    value = mask = 0
    actions: list[a.FlowAction] = []
    if action.fin_idle_timeout_s or action.fin_hard_timeout_s:
        actions.append(a.FinTimeout(action.fin_idle_timeout_s, action.fin_hard_timeout_s))
    for spec in action.specs:
        taken = _value(run, spec)
        if spec.kind == "output":
            port = _port(taken, spec.bits)
            actions.append(a.Output(port, 0))
            continue
        assert spec.destination is not None, "a step that copies has a destination"
        if spec.kind == "load":
            actions.append(a.RegLoad(spec.destination, taken & (1 << spec.bits) - 1))
            continue
        place, bits = bits_place(spec.destination)
        if place.name == "in_port":
            taken = _port(taken, spec.bits)
            bits = place.bits
        value = value & ~bits | place.put(taken << spec.destination.start) & bits
        mask |= bits
    return FlowMod(
        FlowCommand.MODIFY_STRICT,
        FlowMatch.from_ints(value, mask),
        tuple(actions),
        action.priority,
        action.table,
        action.cookie,
        idle_timeout_s=action.idle_timeout_s,
        hard_timeout_s=action.hard_timeout_s,
        flags=int(FlowFlags.SEND_FLOW_REM) if action.send_flow_rem else 0,
    )


def _learn(run: Run, action: a.Learn) -> None:
    flow_mod = learned_flow(run, action)
    run.effects.append(Learned(flow_mod, action.limit, action.delete_learned, run.stage.rule))
    if action.limit and action.result is not None:
        _tell(run, flow_mod, action.limit, action.result)


def _tell(run: Run, flow_mod: FlowMod, limit: int, result: SubField) -> None:
    """Whether there is room for it goes into a bit of the packet."""
    table = flow_mod.table or 0
    run.depends.add(("table", table))
    place, bits = bits_place(result)
    if run.packet.has(place):
        answer = int(run.view.tables[table].may_learn(flow_mod, limit))
        run.packet.write(place, bits, place.put(answer << result.start))


def _fin_timeout(run: Run, action: a.FinTimeout) -> None:
    """Only TCP has flags that say so."""
    packet = run.packet
    if ETH_TYPE.take(packet.consult(ETH_TYPE.mask)) not in (0x0800, 0x86DD):
        return
    if IP_PROTO.take(packet.consult(IP_PROTO.mask)) != 6:
        return
    if packet.consult(_FIN_OR_RST) and run.stage.rule is not None:
        run.effects.append(FinTimedOut(run.stage.rule, action.idle_timeout_s, action.hard_timeout_s))


DO_LEARN: dict[type, Callable[[Run, Any], None]] = {a.Learn: _learn, a.FinTimeout: _fin_timeout}
