"""Actions that send the packet somewhere: ports, controllers, groups, tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.openflow import PIPELINE_SLOTS
from vswitch.messages import actions as a
from vswitch.messages.flows import PacketInReason
from vswitch.messages.ports import PortConfig
from vswitch.ofproto.action_set import output_port, written
from vswitch.ofproto.normal import normal
from vswitch.ofproto.places import IN_PORT, PRIORITY
from vswitch.ofproto.rule import Rule
from vswitch.ofproto.run import TABLES, UNSET, Halt, Run, Stop, TranslationError, bits_place
from vswitch.ofproto.select import hash_named, heaviest, mix
from vswitch.ofproto.translation import ANY_PORT_CHANGE

__all__ = ["DO_OUTPUT", "flood", "is_live_port", "output"]

_IN_PORT, _TABLE, _NORMAL, _FLOOD, _ALL, _CONTROLLER, _LOCAL, _ANY = (
    OPENFLOW_PORTS[name] for name in ("IN_PORT", "TABLE", "NORMAL", "FLOOD", "ALL", "CONTROLLER", "LOCAL", "ANY")
)
_FIRST_RESERVED = 0xFFFFFF00
_CLOSED = PortConfig.NO_FWD | PortConfig.DOWN
_REASONS = {"group": PacketInReason.GROUP, "action_set": PacketInReason.ACTION_SET,
            "packet_out": PacketInReason.PACKET_OUT}  # fmt: skip
_ACTION_SET_OUTPUT = PIPELINE_SLOTS["actset_output"]
_DOWN_STATES = 1 << 0 | 1 << 1  # link down, blocked


def _note(run: Run, text: str) -> None:
    if run.recorder is not None:
        run.recorder.note(text)


def to_port(run: Run, port: int, truncate: int = 0) -> None:
    """Out of a port that is none of the reserved ones but LOCAL, if it is there and open."""
    # hot: once per output
    found = run.view.ports.get(port)
    run.depends.add(("port", port))
    if found is None:
        _note(run, ">> Nonexistent output port")
    elif found.config & _CLOSED:
        _note(run, ">> skipping output: the port is down or does not forward")
    else:
        run.output(port, truncate)


def output(run: Run, port: int, max_len: int = 0xFFFF, truncate: int = 0) -> None:
    """Out of any port of OpenFlow."""
    if port < _FIRST_RESERVED or port == _LOCAL:
        if port == IN_PORT.take(run.packet.key):
            _note(run, ">> skipping output to input port")
        else:
            to_port(run, port, truncate)
    elif port == _IN_PORT:
        to_port(run, IN_PORT.take(run.packet.key), truncate)
    elif port == _CONTROLLER:
        _to_controller(run, max_len)
    elif port == _NORMAL:
        normal(run)
    elif port in (_FLOOD, _ALL):
        flood(run, everywhere=port == _ALL)
    elif port == _TABLE:
        run.deeper()
        run.lookup(0, honour_miss=True)
        run.depth -= 1


def flood(run: Run, *, everywhere: bool) -> None:
    """Out of all ports but the one that it came in by; of those that are not to be flooded only with `everywhere`."""
    in_port = IN_PORT.take(run.packet.key)
    run.depends.add(ANY_PORT_CHANGE)
    for port in run.view.ports:
        if port.number == in_port or port.config & _CLOSED:
            continue
        if everywhere or not port.config & PortConfig.NO_FLOOD:
            run.output(port.number)


def _to_controller(run: Run, max_len: int) -> None:
    rule = run.stage.rule
    reason = _REASONS.get(run.stage.kind, PacketInReason.ACTION)
    rest = reason is PacketInReason.ACTION and _takes_the_rest(rule)
    run.send(run.controller_send(PacketInReason.NO_MATCH if rest else reason, max_len, rest=rest))


def _takes_the_rest(rule: Rule | None) -> bool:
    """Whether the flow is its table's for packets that no other takes (OpenFlow 1.3.5 section 5.4)."""
    return rule is not None and not rule.priority and not rule.match.mask


def is_live_port(run: Run, number: int) -> bool:
    """Whether a port is there, up and has a link."""
    run.depends.add(("port", number))
    port = run.view.ports.get(number)
    return port is not None and not port.config & PortConfig.DOWN and not port.state & _DOWN_STATES


# ---- the actions


def _output(run: Run, action: a.Output) -> None:
    output(run, action.port, action.max_len, action.truncate)


def _output_reg(run: Run, action: a.OutputReg) -> None:
    place, bits = bits_place(action.source)
    port = place.get(run.packet.consult(bits)) >> action.source.start
    if action.source.bits <= 16 and 0xFF00 <= port <= 0xFFFF:
        port |= 0xFFFF0000
    output(run, port, action.max_len)


def _controller(run: Run, action: a.Controller) -> None:
    rest = action.reason == PacketInReason.ACTION and _takes_the_rest(run.stage.rule)
    send = run.controller_send(
        PacketInReason.NO_MATCH if rest else action.reason,
        action.max_len,
        controller_id=action.controller_id,
        userdata=action.userdata,
        meter=action.meter,
        rest=rest,
    )
    if action.pause:
        run.halt_for(Stop("pause", send=send))
    else:
        run.send(send)


def _bundle(run: Run, action: a.Bundle) -> None:
    live = [member for member in action.members if is_live_port(run, member)]
    chosen: int | None
    if action.algorithm == "active_backup":
        chosen = live[0] if live else None
    else:
        hashed = hash_named(run.packet, action.fields, action.basis)
        chosen = heaviest(hashed, [(member, 1) for member in live])
    if action.destination is None:
        if chosen is not None:
            output(run, chosen)
        return
    place, bits = bits_place(action.destination)
    if run.packet.has(place):
        port = 0xFFFF if chosen is None else chosen
        value = port & (1 << action.destination.bits) - 1
        run.packet.write(place, bits, place.put(value << action.destination.start))


def _multipath(run: Run, action: a.Multipath) -> None:
    place, bits = bits_place(action.destination)
    if not run.packet.has(place):
        return
    hashed = hash_named(run.packet, action.fields, action.basis)
    links = action.max_link + 1
    if action.algorithm == "modulo_n":
        link = hashed % links
    elif action.algorithm == "hash_threshold":
        link = (hashed & 0xFFFFFFFF) * links >> 32
    elif action.algorithm == "hrw":
        link = heaviest(hashed, [(each, 1) for each in range(links)]) or 0
    else:  # iter_hash: hash anew until it fits
        size = 1 << (links - 1).bit_length()
        link, tries = hashed % size, 0
        while link >= links:
            tries += 1
            link = mix(hashed, action.argument, tries) % size
    value = link & (1 << action.destination.bits) - 1
    run.packet.write(place, bits, place.put(value << action.destination.start))


def _queue_priority(queue: int) -> int | None:
    """As a qdisc class 1:n has it, n being one more than the queue; None for those that have none."""
    return 1 << 16 | queue + 1 if queue < 0xF000 else None


def _set_priority(run: Run, priority: int, sources: int = 0) -> None:
    run.packet.write(PRIORITY, PRIORITY.bits, PRIORITY.put(priority), sources)


def _set_queue(run: Run, action: a.SetQueue) -> None:
    priority = _queue_priority(action.queue)
    if priority is not None:
        _set_priority(run, priority)


def _pop_queue(run: Run, _action: a.PopQueue) -> None:
    """As it came: that must be known then."""
    packet = run.packet
    if packet.fresh & PRIORITY.bits != PRIORITY.bits:
        value, sources = run.priority
        _set_priority(run, value, sources)


def _enqueue(run: Run, action: a.Enqueue) -> None:
    priority = _queue_priority(action.queue)
    if priority is None:
        output(run, action.port)
        return
    packet = run.packet
    before, sources = PRIORITY.get(packet.key), packet.sources(PRIORITY.bits)
    _set_priority(run, priority)
    output(run, action.port)
    _set_priority(run, before, sources)


# ---- tables


def _goto_table(run: Run, action: a.GotoTable) -> None:
    run.lookup(action.table, honour_miss=True)


def _resubmit(run: Run, action: a.Resubmit) -> None:
    table = action.table
    if table == 255:
        table = run.stage.table or 0
    if table >= TABLES:
        raise TranslationError(f"resubmit to table {table} exceeds the last table {TABLES - 1}")
    in_port = action.in_port
    run.lookup(table, None if in_port in (None, _IN_PORT, _ANY) else in_port)


def _write_actions(run: Run, action: a.WriteActions) -> None:
    run.action_set = written(run.action_set, action.actions)
    _note_output(run)
    if run.recorder is not None:
        run.recorder.action_set(run.action_set)


def _clear_actions(run: Run, _action: a.ClearActions) -> None:
    run.action_set = ()
    _note_output(run)


def _note_output(run: Run) -> None:
    """Where the set sends to is a field of the packet."""
    port = output_port(run.action_set)
    run.packet.assign(_ACTION_SET_OUTPUT.mask, _ACTION_SET_OUTPUT.place(UNSET if port is None else port))


def _clone(run: Run, action: a.Clone) -> None:
    run.packet.commit()
    run.on_copy(lambda: run.act(action.actions, run.stage), action_set=True)


def _exit(run: Run, _action: a.Exit) -> None:
    run.halt = Halt.EXIT


def _meter(run: Run, action: a.Meter) -> None:
    run.meter(action.id)


def _check_packet_larger(run: Run, action: a.CheckPacketLarger) -> None:
    place, _ = bits_place(action.destination)
    if run.packet.has(place):
        run.halt_for(Stop("length", action.length, action.destination))


def _nothing(_run: Run, _action: Any) -> None:
    """A note, or the clause of a conjunction."""


def _sample(run: Run, _action: a.Sample) -> None:
    """There are no collectors here; nothing is sampled."""
    _note(run, ">> no collector for the sample")


def _debug_recirculate(run: Run, _action: a.DebugRecirculate) -> None:
    run.halt_for(Stop("parse"))


DO_OUTPUT: dict[type, Callable[[Run, Any], None]] = {
    a.Output: _output,
    a.OutputReg: _output_reg,
    a.Enqueue: _enqueue,
    a.Controller: _controller,
    a.Bundle: _bundle,
    a.Multipath: _multipath,
    a.SetQueue: _set_queue,
    a.PopQueue: _pop_queue,
    a.GotoTable: _goto_table,
    a.Resubmit: _resubmit,
    a.WriteActions: _write_actions,
    a.ClearActions: _clear_actions,
    a.Clone: _clone,
    a.Exit: _exit,
    a.Meter: _meter,
    a.CheckPacketLarger: _check_packet_larger,
    a.Note: _nothing,
    a.Conjunction: _nothing,
    a.Sample: _sample,
    a.DebugRecirculate: _debug_recirculate,
}
